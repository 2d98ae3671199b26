//! A thousand users and anonymous visitors over many expiries: nobody receives another user's page,
//! and an app with one page for all loses little.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{as_user, counted, page_of, personal};
use crate::harness::{Cache, End, Origin, Reply, Response};

/// The number of users, besides the anonymous one.
const USERS: usize = 1_000;

/// The number of times that the page expires.
const EXPIRIES: usize = 20;

/// The number of clients that ask at once.
const CROWD: usize = 8;

/// Requests the page once for each user and [`CROWD`] times as nobody, [`CROWD`] requests at a
/// time, and passes each response to `check`.
fn everybody(cache: &Cache, check: impl Fn(Option<&str>, Response) + Sync) {
    std::thread::scope(|scope| {
        for lane in 0..CROWD {
            let check = &check;
            scope.spawn(move || {
                let mut client = cache.client();
                for user in (lane..USERS).step_by(CROWD) {
                    let (user, analytics) = (format!("user={user}"), format!("user={user}; _ga={user}"));
                    check(Some(&user), client.exchange("GET", "/", &[("Cookie", &analytics)], b""));
                }
                check(None, client.get("/"));
            });
        }
    });
}

#[test]
fn nobody_sees_anothers_page_on_an_app_that_forgot_vary() {
    let (origin, _) = counted(personal);
    // Shorter than the page's lifetime, so that every refill is tried anew.
    let cache = Cache::with(&origin, |setup| setup.config.proxy.personalised_for = std::time::Duration::from_secs(30));
    let visitors = page_of(None, None);
    for expiry in 0..EXPIRIES {
        let leader = (expiry % 2 == 1).then(|| format!("user={}", expiry * 7));
        as_user(&cache, leader.as_deref().unwrap_or("")).check(200, page_of(leader.as_deref(), None), "stored");
        everybody(&cache, |user, response| {
            // As long as nobody knows the app, anybody may see the page of anonymous visitors.
            let may_be_visitors = expiry == 0 && response.text() == visitors;
            assert!(may_be_visitors || response.text() == page_of(user, None), "{user:?}: {}", response.text());
            assert_eq!(response.end, End::Clean);
        });
        cache.settle();
        let found = cache.stats()["personalised"]["found"].as_u64().unwrap();
        assert!(found > expiry as u64, "the body of expiry {expiry} was found to be personal: {found}");
        // Anonymous visitors lose at most one hit: the next request is served from the store.
        as_user(&cache, "").check(200, &visitors, "hit");
        cache.step(61);
    }
    let stats = cache.stats();
    assert!(stats["requests"]["by_reason"]["personalised"].as_u64().unwrap() > (EXPIRIES * USERS / 2) as u64);
    assert!(stats["store"]["entries"].as_u64().unwrap() <= 1, "there is never a copy per cookie");
}

#[test]
fn an_app_with_one_page_for_all_gets_one_extra_request_per_fill_and_the_samples() {
    let (origin, count) = counted(|_| Reply::fresh("for all"));
    let cache = Cache::start(&origin);
    for expiry in 0..EXPIRIES {
        as_user(&cache, if expiry % 2 == 0 { "" } else { "user=1" }).check(200, "for all", "stored");
        everybody(&cache, |_, response| assert_eq!((response.text(), response.end), ("for all".into(), End::Clean)));
        cache.settle();
        cache.step(61);
    }
    let (asked, each) = (count.load(Ordering::SeqCst), 1 + USERS + CROWD);
    let samples = each / 200 + 1;
    assert!((EXPIRIES * 2..=EXPIRIES * (2 + samples)).contains(&asked), "{asked} requests to the app");
    let stats = cache.stats();
    assert_eq!(stats["personalised"], json!({"found": 0, "urls": []}));
    // A user had half of the bodies stored, and each of those costs one more hit. Samples cost
    // none.
    assert_eq!(stats["requests"]["by_reason"]["probation"], EXPIRIES / 2);
    assert_eq!(stats["requests"]["by_outcome"]["hit"], EXPIRIES * each - EXPIRIES - EXPIRIES / 2);
}

#[test]
fn an_anonymous_visitors_page_answers_users_and_is_checked_in_the_background() {
    let origin = Origin::start(personal);
    let cache = Cache::start(&origin);
    let visitors = page_of(None, None);
    as_user(&cache, "").check(200, &visitors, "stored");
    as_user(&cache, "user=1").check(200, &visitors, "hit");
    assert_eq!(origin.last().header("cookie").as_deref(), Some("user=1"));
    as_user(&cache, "user=1").check(200, page_of(Some("user=1"), None), "detail=personalised");
    as_user(&cache, "").check(200, &visitors, "hit");
    // The app is known by now, so the anonymous page is compared before a user gets it.
    cache.step(601);
    as_user(&cache, "").check(200, &visitors, "stored");
    as_user(&cache, "user=1").check(200, page_of(Some("user=1"), None), "detail=probation");
    as_user(&cache, "user=2").check(200, page_of(Some("user=2"), None), "detail=personalised");
    as_user(&cache, "").check(200, &visitors, "hit");
}

#[test]
fn anonymous_requests_are_never_compared() {
    let (origin, count) = counted(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for nth in 0..500 {
        as_user(&cache, "").check(200, "x", if nth == 0 { "stored" } else { "hit" });
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
