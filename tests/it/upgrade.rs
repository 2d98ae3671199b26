//! Upgrades of Larder itself: a new process takes over the listening sockets from the running one,
//! and no request fails.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::harness::{Client, End, Gate, Origin, Process, Reply, eventually, process};

const SOCKET: &str = "reload_on_change = false\nserver.upgrade_socket = \"upgrade.sock\"";

/// Sends requests on one connection until the server closes it, and then connects again, until
/// `done`.
fn load(addr: SocketAddr, done: &AtomicBool, served: &AtomicU64, connects: &AtomicU64) {
    while !done.load(Ordering::Relaxed) {
        let mut client = Client::connect(addr);
        connects.fetch_add(1, Ordering::Relaxed);
        loop {
            let nth = served.fetch_add(1, Ordering::Relaxed);
            let target = if nth.is_multiple_of(3) { format!("/miss/{nth}") } else { "/hit".to_owned() };
            let response = client.get(&target);
            assert_eq!((response.status(), response.end), (200, End::Clean), "{target}");
            let is_last = response.header("connection").is_some_and(|value| value == "close");
            // Some connections are short, so that one is always waiting to be accepted.
            if is_last || done.load(Ordering::Relaxed) || nth.is_multiple_of(20) {
                break;
            }
        }
    }
}

#[test]
fn an_upgrade_under_load_fails_no_request() {
    let origin = Origin::unrecorded(|_| Reply::fresh("hello"));
    let mut larder = Process::serve(&origin, &format!("{SOCKET}\nserver.workers = 3\nserver.drain_timeout = \"1h\""));
    let mode = std::fs::metadata(larder.folder().join("upgrade.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let addr = larder.addr();
    let (done, served, connects) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load(addr, &done, &served, &connects));
        }
        let ended = SetOnDrop(&done);
        // More workers than before, then fewer: each inherited socket is still accepted from.
        for workers in [4, 2, 1] {
            let before = served.load(Ordering::Relaxed);
            eventually("requests are served", || served.load(Ordering::Relaxed) > before + 50);
            larder.configure(&format!("{SOCKET}\nserver.workers = {workers}\nserver.drain_timeout = \"1h\""));
            let next = larder.successor(&origin);
            assert_eq!(next.addr(), addr);
            // The old process ends once its connections have ended by themselves. The drain, which
            // has an hour, cuts none off.
            let (status, _) = std::mem::replace(&mut larder, next).ended();
            assert_eq!(status.code(), Some(0));
        }
        let before = served.load(Ordering::Relaxed);
        eventually("the last one serves", || served.load(Ordering::Relaxed) > before + 50);
        drop(ended);
    });
    assert_eq!(larder.stats()["requests"]["by_outcome"]["failed"], 0);
    larder.terminate();
    assert_eq!(larder.ended().0.code(), Some(0));
}

/// Ends the load, even where the test fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn the_old_process_answers_one_more_request_per_connection_and_finishes_what_is_in_flight() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.target().as_str() {
            "/slow" => Reply::fresh("first ").wait(&gate).body("last"),
            _ => Reply::fresh("hello"),
        })
    };
    let larder = Process::serve(&origin, SOCKET);
    let (mut slow, mut idle, mut fresh) = (larder.client(), larder.client(), larder.client());
    idle.get("/page").check(200, "hello", "stored");
    slow.ask("GET", "/slow", &[], b"");
    let head = slow.final_head();
    gate.arrived(1);
    let accepted = || larder.stats()["server"]["accepted"].as_u64().unwrap();
    eventually("all are accepted", || accepted() >= 3);

    let next = larder.successor(&origin);
    // The new process serves for a moment before the old one knows, and until then the old
    // connections go on.
    for client in [&mut idle, &mut fresh] {
        eventually("the response ends the connection", || {
            let response = client.get("/page");
            assert_eq!((response.status(), response.text().as_str()), (200, "hello"));
            let is_last = response.header("connection").as_deref() == Some("close");
            // A purge would reach only the new process, so the old one must not answer from its
            // store.
            assert!(!is_last || !response.is_hit(), "{}", response.cache_status());
            is_last
        });
        assert_eq!(client.closed(), End::Clean);
    }
    gate.open();
    assert_eq!(slow.rest(head).text(), "first last");
    drop((slow, idle, fresh));
    assert_eq!(larder.ended().0.code(), Some(0));
    let mut client = next.client();
    client.get("/page").check(200, "hello", "stored");
    assert_eq!(client.get("/page").header("connection"), None);
}

#[test]
fn a_new_process_that_cannot_serve_changes_nothing() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let mut larder = Process::serve(&origin, SOCKET);
    let socket = larder.folder().join("upgrade.sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let file = larder.folder().join("bad.toml");
    let lines = format!(
        "listen = \"127.0.0.1:0\"\nadmin.listen = \"{}\"\nserver.upgrade_socket = {socket:?}\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(&file, lines).unwrap();
    let arguments = ["serve", "--origin", "http://127.0.0.1:1", "--config", file.to_str().unwrap()];
    let ran = process::run(&[&arguments[..], &["--takeover"]].concat());
    assert_eq!(ran.code, Some(1), "{}", ran.output);
    assert!(ran.output.contains(&taken.local_addr().unwrap().to_string()), "{}", ran.output);
    let ran = process::run(&arguments);
    assert!(ran.output.contains("a Larder is already running"), "{}", ran.output);
    assert!(!larder.has_ended());
    larder.client().get("/").check(200, "hello", "stored");
    larder.terminate();
    assert_eq!(larder.ended().0.code(), Some(0));
    assert!(!socket.exists(), "the upgrade socket is removed");
}

#[test]
fn a_takeover_reports_what_it_needs() {
    let ran = process::run(&["serve", "--origin", "http://127.0.0.1:1", "--takeover"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.output.contains("upgrade_socket = \"/run/larder/upgrade.sock\""), "{}", ran.output);
}

#[test]
fn a_socket_held_by_systemd_replaces_listen() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    // The client connects before Larder has started, as happens while a service restarts.
    let mut early = Client::connect(addr);
    early.ask("GET", "/", &[], b"");
    let larder = Process::activated(&origin, "server.workers = 3", socket);
    assert_eq!(larder.addr(), addr);
    early.response().check(200, "hello", "stored");
    larder.client().get("/").check(200, "hello", "hit");
    larder.terminate();
    drop(early);
    assert_eq!(larder.ended().0.code(), Some(0));
}
