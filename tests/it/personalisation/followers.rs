//! Clients that ask while a body fills, or while it is being compared.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{as_user, page_of};
use crate::harness::{Cache, Client, Gate, Origin, Reply, Response};

/// Starts a fill as user 1 whose body pauses halfway, and lets others ask: some more requests of
/// user 1, and many other users. Returns the responses of both groups.
fn crowd_on_a_fill(gate: &Gate, cache: &Cache, origin: &Origin) -> (Vec<Response>, Vec<Response>) {
    let mut leader = cache.client();
    leader.ask("GET", "/", &[("Cookie", "user=1")], b"");
    origin.wait_for(1);
    let started = |user: usize| {
        let mut client = cache.client();
        client.ask("GET", "/", &[("Cookie", &format!("user={user}"))], b"");
        client
    };
    leader.final_head();
    let mut own: Vec<Client> = (0..5).map(|_| started(1)).collect();
    let others: Vec<Client> = (2..22).map(started).collect();
    // The other requests of user 1 read while the body fills, since nobody has to be compared with
    // them.
    let heads: Vec<_> = own.iter_mut().map(|client| client.final_head()).collect();
    assert_eq!(origin.count(), 1, "the origin has received one request");
    gate.open();
    let own = own.iter_mut().zip(heads).map(|(client, head)| client.rest(head)).collect();
    let others = others.into_iter().map(|mut client| client.response()).collect();
    cache.settle();
    (own, others)
}

#[test]
fn followers_with_other_credentials_wait_for_one_comparison() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh("for ").wait(&held).body("all"));
    let cache = Cache::start(&origin);
    let (own, others) = crowd_on_a_fill(&gate, &cache, &origin);
    own.iter().chain(&others).for_each(|response| assert_eq!(response.text(), "for all"));
    assert_eq!(origin.count(), 2, "the fill and the comparison");
    assert!(own.iter().all(|response| response.has("collapsed")));
    assert_eq!(others.iter().filter(|response| response.has("detail=probation")).count(), 1);
}

#[test]
fn followers_with_other_credentials_get_their_own_page() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let page = page_of(request.header("cookie").as_deref(), None);
        Reply::fresh(&page[..8]).wait(&held).body(&page[8..])
    });
    let cache = Cache::start(&origin);
    let (own, others) = crowd_on_a_fill(&gate, &cache, &origin);
    own.iter().for_each(|response| assert_eq!(response.text(), page_of(Some("user=1"), None)));
    for (response, user) in others.iter().zip(2..) {
        assert_eq!(response.text(), page_of(Some(&format!("user={user}")), None), "{}", response.cache_status());
    }
    assert_eq!(origin.count(), 21, "one request for each user");
    assert_eq!(cache.stats()["store"]["entries"], 0);
}

#[test]
fn a_failed_comparison_settles_nothing_and_each_client_asks_alone() {
    let gate = Gate::new();
    let (held, asked) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::status("500 Oops").body("oops").hold(&held),
        _ => Reply::fresh("for all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1");
    let mut first = cache.client();
    first.ask("GET", "/", &[("Cookie", "user=2")], b"");
    gate.arrived(1);
    let mut second = cache.client();
    second.ask("GET", "/", &[("Cookie", "user=3")], b"");
    gate.open();
    first.response().check(500, "oops", "detail=probation");
    second.response().check(200, "for all", "detail=probation");
    assert_eq!((origin.count(), cache.stats()["personalised"]["found"].as_u64()), (3, Some(0)));
    as_user(&cache, "user=1").check(200, "for all", "hit");
}

#[test]
fn the_verdict_does_not_need_the_compared_client() {
    let gate = Gate::new();
    let (held, asked) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::fresh("for all"),
        _ => Reply::fresh("for ").wait(&held).body("all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1");
    let mut first = cache.client();
    first.ask("GET", "/", &[("Cookie", "user=2")], b"");
    first.final_head();
    drop(first);
    gate.open();
    cache.settle();
    as_user(&cache, "user=3").check(200, "for all", "hit");
    assert_eq!(origin.count(), 2);
}
