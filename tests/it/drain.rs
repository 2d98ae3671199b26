//! Starting and stopping the real binary: a signal lets requests in flight finish, and a taken port
//! is reported by its address.

use std::net::TcpListener;

use crate::harness::{Client, End, Gate, Origin, Process, Reply, process};

#[test]
fn sigterm_lets_requests_in_flight_finish() {
    let (begun, gate) = (Gate::new(), Gate::new());
    let origin = {
        let (begun, gate) = (begun.clone(), gate.clone());
        Origin::start(move |request| match request.target().as_str() {
            "/whole" => Reply::fresh("slow").hold(&begun).hold(&gate),
            _ => Reply::fresh("first ").wait(&gate).body("last"),
        })
    };
    let larder = Process::serve(&origin, "");
    let (mut whole, mut streamed, mut idle) = (larder.client(), larder.client(), larder.client());
    streamed.ask("GET", "/streamed", &[], b"");
    let head = streamed.final_head();
    whole.ask("GET", "/whole", &[], b"");
    begun.arrived(1);
    begun.open();
    gate.arrived(2);

    larder.terminate();
    // A connection without a request is closed at once, which shows that the drain has begun.
    assert_eq!(idle.closed(), End::Clean);
    gate.open();
    assert_eq!(whole.response().check(200, "slow", "stored").end, End::Clean);
    let rest = streamed.rest(head);
    assert_eq!((rest.text().as_str(), rest.end), ("first last", End::Clean));

    // A connection that got its last response is kept until the client has closed it too, or a
    // moment has passed.
    drop((whole, streamed, idle));
    let addr = larder.addr();
    let (status, _) = larder.ended();
    assert_eq!(status.code(), Some(0));
    assert!(std::net::TcpStream::connect(addr).is_err(), "the port is closed");
}

#[test]
fn a_drain_ends_in_time_whatever_is_in_flight() {
    let never = Gate::new();
    let origin = {
        let never = never.clone();
        Origin::start(move |_| Reply::fresh("x").hold(&never))
    };
    let larder = Process::serve(&origin, "server.drain_timeout = \"100ms\"");
    let mut client = larder.client();
    client.ask("GET", "/", &[], b"");
    never.arrived(1);
    larder.terminate();
    larder.ended();
    never.open();
    assert!(client.try_head().is_err(), "the drain cut the response off");
}

#[test]
fn a_second_signal_ends_at_once() {
    let never = Gate::new();
    let origin = {
        let never = never.clone();
        Origin::start(move |_| Reply::fresh("x").hold(&never))
    };
    let larder = Process::serve(&origin, "server.drain_timeout = \"1h\"");
    let (mut client, mut idle) = (larder.client(), larder.client());
    client.ask("GET", "/", &[], b"");
    never.arrived(1);
    larder.terminate();
    assert_eq!(idle.closed(), End::Clean, "the drain has begun");
    // A reload does not end a drain.
    larder.signal("-HUP");
    larder.signal("-INT");
    let (status, _) = larder.ended();
    never.open();
    assert_eq!(status.code(), Some(128 + 2), "the exit code of a process that SIGINT has ended");
}

#[test]
fn a_taken_port_is_an_error_that_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let ran = process::run(&["serve", "--origin", "http://127.0.0.1:1", "--listen", &addr, "--admin", "off"]);
    assert_eq!(ran.code, Some(1), "{}", ran.output);
    assert!(ran.output.contains(&addr), "{}", ran.output);
}

#[test]
fn two_larders_do_not_share_a_port() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let first = Process::serve(&origin, "");
    let addr = first.addr().to_string();
    let ran = process::run(&["serve", "--origin", "http://127.0.0.1:1", "--listen", &addr, "--admin", "off"]);
    assert_eq!(ran.code, Some(1), "{}", ran.output);
    assert!(ran.output.contains(&addr), "{}", ran.output);
    assert_eq!(Client::connect(first.addr()).get("/").status(), 200);
}
