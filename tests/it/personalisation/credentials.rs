//! Credentials: Authorization, and the cookies that distinguish users.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{as_user, counted, page_of, personal};
use crate::harness::{Cache, Origin, Reply};

#[test]
fn authorization_is_a_credential_as_cookies_are() {
    let origin = Origin::start(personal);
    let cache = Cache::start(&origin);
    let with = |value| cache.get_with("/", &[("Authorization", value)]);
    as_user(&cache, "").check(200, page_of(None, None), "stored");
    with("Basic eDp5").check(200, page_of(None, None), "hit");
    with("Basic eDp6").check(200, page_of(None, Some("Basic eDp6")), "detail=personalised");
    as_user(&cache, "").check(200, page_of(None, None), "hit");
    let row = &cache.stats()["personalised"]["urls"][0];
    assert_eq!(row["differed"], json!(["Authorization"]));
    assert!(row["fix"].as_str().unwrap().starts_with("Send `Vary: Authorization`"), "{row}");
}

#[test]
fn cookies_that_do_not_count_are_no_credentials() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup| setup.rule.key_cookies = Box::new(["lang".into()]));
    as_user(&cache, "_ga=GA1.2; _gid=1").check(200, "x", "stored");
    as_user(&cache, "_ga=GA1.3; __utma=7").check(200, "x", "hit");
    as_user(&cache, "").check(200, "x", "hit");
    as_user(&cache, "lang=de; _fbp=1").check(200, "x", "stored");
    as_user(&cache, "lang=de").check(200, "x", "hit");
    assert_eq!(origin.count(), 2);
    as_user(&cache, "consent=1; _ga=1").check(200, "x", "hit");
    assert_eq!(origin.count(), 3, "a user with a cookie that counts is compared");
}

#[test]
fn a_user_whose_other_cookies_change_shares_nothing_with_others() {
    let (origin, _) = counted(|request| {
        let cookies = request.header("cookie").unwrap_or_default();
        let user = cookies.split("; ").find_map(|pair| pair.strip_prefix("sid=")).unwrap_or("nobody");
        Reply::fresh(format!("page of {user}"))
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "sid=alice; seen=1").check(200, "page of alice", "stored");
    as_user(&cache, "sid=alice; seen=2").check(200, "page of alice", "detail=probation");
    as_user(&cache, "sid=alice; seen=3; theme=dark").check(200, "page of alice", "hit");
    for _ in 0..3 {
        assert_eq!(as_user(&cache, "sid=bob; seen=1").text(), "page of bob");
        assert_eq!(as_user(&cache, "").text(), "page of nobody");
    }
}

#[test]
fn a_cookie_with_one_value_for_all_prevents_no_sharing() {
    let (origin, count) = counted(|_| Reply::fresh("for all"));
    let cache = Cache::start(&origin);
    for user in 0..20 {
        assert_eq!(as_user(&cache, &format!("consent=yes; sid={user}")).text(), "for all");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2, "the fill and one comparison");
    as_user(&cache, "consent=no; sid=20").check(200, "for all", "detail=probation");
    as_user(&cache, "sid=21").check(200, "for all", "hit");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}
