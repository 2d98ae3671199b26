//! Upgrades (RFC 9110 §7.8), granted and declined.

use super::*;

#[test]
fn s7_8_an_upgraded_socket_writes_through() {
    let server = TestServer::start(PATIENT, |_, mut request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut tunnel = TokioIo::new(upgrade.await.unwrap());
            let mut byte = [0];
            // The tunnel reads first: the 101 has to go out all the same.
            while tunnel.read(&mut byte).await.unwrap() == 1 {
                tunnel.write_all(&[byte[0].to_ascii_uppercase()]).await.unwrap();
                tunnel.flush().await.unwrap();
            }
            tunnel.write_all(b"bye").await.unwrap();
            tunnel.shutdown().await.unwrap();
        });
        let mut response = Response::new(whole(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        Answer::Now(response)
    });
    let mut client = server.client();
    let head = client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nab").until("AB");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.send("hello").until("HELLO"), "HELLO");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.text(), "bye");
}

#[test]
fn s7_8_a_client_whose_upgrade_is_declined_gets_the_whole_response() {
    /// Less than the buffer of a socket that is full.
    const STEP: usize = 3 << 10;
    let server = TestServer::start(PATIENT, |_, request| {
        let steps: usize = request.uri().path()[1..].parse().unwrap();
        let (frames, body) = channel_body(None);
        (0..steps).for_each(|_| frames.send(Ok(Bytes::from(vec![b'x'; STEP]))).unwrap());
        Answer::Now(Response::new(body))
    });
    // One of these lengths is what an unread socket takes, without the buffer.
    for steps in 1..(1 << 20) / STEP {
        let mut client = server.client();
        client.send(&format!("GET /{steps} HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n"));
        std::thread::sleep(Duration::from_millis(4));
        let text = client.text();
        assert!(text.ends_with("\r\n0\r\n\r\n"), "{steps}: {} bytes", text.len());
    }
}

#[test]
fn s9_6_a_client_whose_upgrade_is_declined_and_that_still_sends_gets_the_response() {
    let server = TestServer::start(PATIENT, |_, _| Answer::Now(Response::new(whole("no"))));
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 1000000\r\n\r\n");
    // Bytes that arrive after the close of a socket that does not linger reset it.
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(5));
        client.0.write_all(&[b'x'; 4 << 10]).unwrap();
    }
    assert!(client.text().ends_with("\r\n\r\nno"));
}
