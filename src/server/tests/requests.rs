//! Requests and their responses: order, refusals, content and bodies.

use super::*;

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start(PATIENT, echo_path);
    let mut client = server.client();
    let requests: String = (0..40).map(|n| get(&format!("/{n}"))).collect();
    let answers = client.send(&requests).send("GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").text();
    let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).collect();
    let paths: Vec<String> = bodies.iter().map(|body| body.split("HTTP/1.1").next().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..40).map(|n| format!("/{n}")).chain(["/end".to_owned()]).collect();
    assert_eq!(paths, expected);
}

#[test]
fn a_request_in_pieces_followed_by_fin_is_answered() {
    let server = TestServer::start(PATIENT, echo_path);
    let mut client = server.client();
    for piece in ["P", "OST /pi", "ece HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: cl", "ose\r\n\r\n"] {
        client.send(piece);
    }
    client.0.shutdown(Shutdown::Write).unwrap();
    assert!(client.text().ends_with("/piece"));
    let mut client = server.client();
    client.send("PRI");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.text(), "");
}

#[test]
fn a_malformed_or_large_head_is_answered_although_the_client_still_sends() {
    let server = TestServer::start(PATIENT, echo_path);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(200_000));
    for (bytes, status) in [("GET\r\n\r\n", " 400 "), (large.as_str(), " 431 ")] {
        let mut client = server.client();
        // The server may shut down before all is sent; for that case it lingers.
        let _ = client.0.write_all(bytes.as_bytes());
        let head = client.until("\r\n\r\n");
        assert!(head.contains(status), "{head}");
    }
}

/// A head that is refused, and after it bytes that would be taken for another request.
const REFUSED: &str = "GET /x HTTP/1.1\nHost: a\n\nGET /behind HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_refused_head_is_answered_after_the_requests_before_it() {
    let go = Arc::new(Notify::new());
    let released = Arc::clone(&go);
    let server = TestServer::start(PATIENT, move |_, request| {
        let (path, go) = (request.uri().path().to_owned(), Arc::clone(&released));
        Answer::Later(Box::pin(async move {
            if path == "/slow" {
                go.notified().await;
            }
            Response::new(whole(path))
        }))
    });
    let mut client = server.client();
    client.send(&get("/slow")).send(&get("/next")).send(REFUSED);
    go.notify_one();
    let all = client.text();
    let statuses: Vec<&str> = all.match_indices("HTTP/1.1 ").map(|(at, _)| &all[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{all}");
    assert!(all.find("/slow") < all.find("/next") && !all.contains("/behind"), "{all}");
}

#[test]
fn a_refusal_waits_for_a_client_that_reads_slowly() {
    const LARGE: usize = 16 << 20;
    let server = TestServer::start(PATIENT, |_, _| Answer::Now(Response::new(whole(vec![b'x'; LARGE]))));
    let mut client = server.client();
    client.send(&(get("/") + REFUSED));
    client.until("\r\n\r\n");
    let mut body = vec![0; LARGE];
    client.0.read_exact(&mut body).unwrap();
    assert!(body.iter().all(|&byte| byte == b'x'));
    assert!(client.text().starts_with("HTTP/1.1 400 "));
}

#[test]
fn s7_8_bytes_after_an_upgrade_request_are_screened_if_the_connection_stays_http() {
    let server = TestServer::start(PATIENT, echo_path);
    let upgrade = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let mut client = server.client();
    client.send(&format!("{upgrade}{}{upgrade}{REFUSED}", get("/b")));
    let all = client.text();
    let statuses: Vec<&str> = all.match_indices("HTTP/1.1 ").map(|(at, _)| &all[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "200", "400"], "{all}");
}

#[test]
fn large_bodies_pass_whole_and_in_pieces() {
    let piece: Bytes = (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let twin = piece.clone();
    let server = TestServer::start(PATIENT, move |_, request| {
        let (sender, body) = channel_body(None);
        for chunk in piece.chunks(if request.uri().path() == "/small" { 1_000 } else { 100_000 }) {
            sender.send(Ok(piece.slice_ref(chunk))).unwrap();
        }
        Answer::Later(Box::pin(async move { Response::new(body) }))
    });
    for path in ["/small", "/large"] {
        let mut client = server.client();
        client.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).until("\r\n\r\n");
        let (all, end) = client.rest();
        end.unwrap();
        assert!(all == twin, "{path}: {} bytes", all.len());
    }
}

#[test]
fn s10_1_1_the_client_is_told_to_continue_once_its_content_is_read() {
    let server = TestServer::start(PATIENT, |_, request| swallow(request));
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(client.send("abc").until("Ok(3)").contains(" 200 "));
}
