//! Interim responses (RFC 9110 §15.2): before the final response, and for their own request only.

use super::*;

#[test]
fn s15_2_interim_responses_precede_the_final_one_and_reach_only_their_own_request() {
    let late = Arc::new(parking_lot::Mutex::new(None));
    let server = TestServer::start(PATIENT, move |peer, request| {
        let Some(interim) = peer.interim.clone() else { return Answer::Now(Response::new(whole("none"))) };
        let mut hint = HeaderMap::new();
        hint.insert("link", "</style.css>".parse().unwrap());
        match request.uri().path() {
            "/hints" => {
                let late = Arc::clone(&late);
                Answer::Later(Box::pin(async move {
                    interim.push(StatusCode::EARLY_HINTS, &hint);
                    tokio::task::yield_now().await;
                    // Pushed in the same poll that makes the response.
                    interim.push(StatusCode::PROCESSING, &HeaderMap::new());
                    *late.lock() = Some(interim);
                    Response::new(whole("final"))
                }))
            }
            _ => {
                if let Some(late) = late.lock().take() {
                    late.push(StatusCode::EARLY_HINTS, &hint);
                }
                Answer::Later(Box::pin(async { Response::new(whole("second")) }))
            }
        }
    });
    let mut client = server.client();
    let first = client.send(&get("/hints")).until("final");
    let heads: Vec<&str> = first.split("\r\n\r\n").map(|head| head.lines().next().unwrap_or_default()).collect();
    assert_eq!(heads, ["HTTP/1.1 103 Early Hints", "HTTP/1.1 102 Processing", "HTTP/1.1 200 OK", "final"]);
    assert!(first.contains("link: </style.css>"));
    let second = client.send(&get("/second")).until("second");
    assert!(second.starts_with("HTTP/1.1 200 OK"), "{second}");
    assert!(server.client().send("GET /hints HTTP/1.0\r\n\r\n").text().ends_with("none"));
}

#[test]
fn s15_2_a_late_interim_response_reaches_nobody() {
    let server = TestServer::start(PATIENT, |peer, request| {
        if request.uri().path() == "/first" {
            // No one takes it: the response is ready already.
            peer.interim.as_ref().unwrap().push(StatusCode::EARLY_HINTS, &HeaderMap::new());
            return echo_path(peer, request);
        }
        Answer::Later(Box::pin(async { Response::new(whole("second")) }))
    });
    let mut client = server.client();
    client.send(&get("/first")).until("/first");
    let second = client.send(&get("/second")).until("second");
    assert!(second.starts_with("HTTP/1.1 200 OK"), "{second}");
}

#[test]
fn s15_2_an_interim_response_does_not_wait_for_the_final_one() {
    let go = Arc::new(Notify::new());
    let released = Arc::clone(&go);
    let server = TestServer::start(PATIENT, move |peer, _| {
        let interim = peer.interim.clone().unwrap();
        // Pushed by another task, as the origin's connection does.
        tokio::spawn(async move { interim.push(StatusCode::EARLY_HINTS, &HeaderMap::new()) });
        when(&released, "final")
    });
    let mut client = server.client();
    assert_eq!(client.send(&get("/")).until("\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\n\r\n");
    go.notify_one();
    assert!(client.until("final").starts_with("HTTP/1.1 200 OK"));
}
