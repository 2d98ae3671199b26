//! Responses that suit only the leader's request: a second fetch serves the followers, at most
//! once.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Cache, Gate, Origin, Reply};

/// Has ten clients request a URL whose origin answers with `reply` the first `times` times. Returns
/// their statuses and the number of requests at the origin.
fn statuses_of_a_crowd(reply: impl Fn() -> Reply + Send + Sync + 'static, times: usize) -> (Vec<u16>, usize) {
    let gate = Gate::new();
    let origin = {
        let (gate, asked) = (gate.clone(), AtomicUsize::new(0));
        Origin::start(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
            _ if request.target() == "/after" => Reply::fresh("after"),
            at if at < times => reply().hold(&gate),
            _ => Reply::fresh("x"),
        })
    };
    let cache = Cache::start(&origin);
    let mut leader = cache.client();
    leader.ask("GET", "/", &[], b"");
    gate.arrived(1);
    let mut others: Vec<_> = (0..9).map(|_| cache.client()).collect();
    for client in &mut others {
        client.ask("GET", "/", &[], b"");
    }
    cache.catch_up("/after");
    gate.open();
    let mut statuses = vec![leader.response().status()];
    statuses.extend(others.iter_mut().map(|client| client.response().status()));
    (statuses, origin.targets().iter().filter(|target| *target == "/").count())
}

fn nonsense() -> Reply {
    Reply::raw("HTTP/1.1 nonsense\r\n\r\n")
}

#[test]
fn an_error_about_the_leaders_request_is_retried_once_for_the_followers() {
    let refused = || Reply::status("412 Precondition Failed").header("Cache-Control", "max-age=60");
    let (statuses, asked) = statuses_of_a_crowd(refused, 1);
    assert_eq!((statuses[0], &statuses[1..]), (412, &[200; 9][..]));
    assert_eq!(asked, 2);
    let (statuses, _) = statuses_of_a_crowd(refused, usize::MAX);
    assert_eq!(statuses, [412; 10]);
}

#[test]
fn a_response_that_breaks_for_the_leader_is_retried_once_for_the_followers() {
    let (statuses, asked) = statuses_of_a_crowd(nonsense, 1);
    assert_eq!((statuses[0], &statuses[1..]), (502, &[200; 9][..]));
    assert_eq!(asked, 2);
}

#[test]
fn a_response_that_breaks_twice_fails_all_followers() {
    let (statuses, asked) = statuses_of_a_crowd(nonsense, usize::MAX);
    assert_eq!(statuses, [502; 10]);
    // A request that was read late may have led a flight of its own, but no request went alone.
    assert!((2..=4).contains(&asked), "{asked}");
}
