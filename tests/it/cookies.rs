//! Apps that set a session cookie on every page, as many frameworks do by default, and the effect
//! of each `set_cookie` setting on them.
//!
//! Three kinds of app: a signed cookie that holds the session (Rails), a rolling session (Express),
//! a CSRF token (Django). `tests/apps/run` starts the real ones; `tests/apps/heads` has the exact
//! heads of their responses, which this file replays.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use larder::route::SetCookie;

use crate::harness::origin::{Request, chunk};
use crate::harness::{Cache, Origin, Reply, Response, eventually};

/// A framework: the name of its cookie, and the attributes behind the cookie's value.
#[derive(Clone, Copy, Debug)]
struct Framework {
    cookie: &'static str,
    attributes: &'static str,
    vary: Option<&'static str>,
}

const FRAMEWORKS: [Framework; 3] = [
    Framework { cookie: "_shop_session", attributes: "path=/; httponly; samesite=lax", vary: None },
    Framework {
        cookie: "connect.sid",
        attributes: "Path=/; Expires=Fri, 02 Jan 2026 00:00:00 GMT; HttpOnly",
        vary: None,
    },
    Framework {
        cookie: "csrftoken",
        attributes: "expires=Thu, 31 Dec 2026 00:00:00 GMT; Max-Age=31449600; Path=/; SameSite=Lax",
        vary: Some("Cookie"),
    },
];

/// The Cache-Control fields that such apps send with a page.
const LIFETIMES: [&str; 3] = ["max-age=60", "public, max-age=60", "public, s-maxage=60"];

/// Returns the session that a request carries, else a new one.
fn session(framework: Framework, request: &Request, number: &AtomicUsize) -> String {
    let cookies = request.header("cookie").unwrap_or_default();
    let own = cookies
        .split("; ")
        .find_map(|cookie| Some(cookie.strip_prefix(framework.cookie)?.strip_prefix('=')?.to_owned()));
    own.unwrap_or_else(|| format!("s{}", number.fetch_add(1, Ordering::SeqCst)))
}

/// Starts an app whose every page sets the visitor's session; `page` turns the session into the
/// page's content.
fn app(framework: Framework, lifetime: &'static str, page: fn(&str) -> String) -> Origin {
    let number = AtomicUsize::new(0);
    Origin::start(move |request| {
        let session = session(framework, request, &number);
        let field = format!("{}={session}; {}", framework.cookie, framework.attributes);
        let reply = Reply::ok().header("Cache-Control", lifetime).header("Set-Cookie", &field).body(page(&session));
        match framework.vary {
            Some(vary) => reply.header("Vary", vary),
            None => reply,
        }
    })
}

/// A browser, which keeps the session that it is given.
#[derive(Default)]
struct Browser {
    session: Option<String>,
}

impl Browser {
    fn signed_in() -> Self {
        Self { session: Some("signed-in".to_owned()) }
    }

    fn open(&mut self, cache: &Cache, framework: Framework) -> Response {
        let carried = self.session.as_ref().map(|session| format!("{}={session}", framework.cookie));
        let fields: Vec<_> = carried.iter().map(|cookie| ("Cookie", cookie.as_str())).collect();
        let response = cache.get_with("/", &fields);
        if let Some(field) = response.header("set-cookie") {
            let value = field.split_once('=').unwrap().1;
            self.session = Some(value.split(';').next().unwrap().to_owned());
        }
        response
    }
}

/// Visits every framework with every lifetime, behind a cache with this setting.
fn each(set_cookie: SetCookie, page: fn(&str) -> String, visit: impl Fn(&Cache, Framework, &str)) {
    for framework in FRAMEWORKS {
        for lifetime in LIFETIMES {
            let origin = app(framework, lifetime, page);
            let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = set_cookie);
            visit(&cache, framework, lifetime);
        }
    }
}

#[test]
fn by_default_nobody_is_given_anothers_cookie_or_page() {
    assert_eq!(larder::route::Rule::default().set_cookie, SetCookie::NeverStore);
    each(
        SetCookie::NeverStore,
        |session| format!("Hello {session}"),
        |cache, framework, lifetime| {
            let sessions = Arc::<Mutex<HashMap<String, usize>>>::default();
            let mut visitors: Vec<_> = (0..20).map(|_| Browser::default()).collect();
            visitors.insert(7, Browser::signed_in());
            for round in 0..3 {
                for (nth, visitor) in visitors.iter_mut().enumerate() {
                    let response = visitor.open(cache, framework);
                    let what = format!("{framework:?} {lifetime} round {round}: {}", response.cache_status());
                    let own = visitor.session.clone().expect("every visitor has a session of its own");
                    assert_eq!(response.text(), format!("Hello {own}"), "{what}");
                    assert_eq!(*sessions.lock().unwrap().entry(own).or_insert(nth), nth, "{what}");
                }
            }
            assert_eq!(cache.stats()["storing"]["with_cookie"], 0);
        },
    );
}

#[test]
fn strip_stores_the_page_without_its_cookie() {
    each(
        SetCookie::Strip,
        |_| "page".to_owned(),
        |cache, framework, lifetime| {
            for nth in 0..5 {
                let response = Browser::default().open(cache, framework);
                assert_eq!((response.text().as_str(), response.header("set-cookie")), ("page", None), "{lifetime}");
                assert_eq!(response.is_hit(), nth > 0, "{framework:?} {lifetime} {nth}");
            }
            assert_eq!(cache.stats()["storing"]["with_cookie"], 0);
        },
    );
}

#[test]
fn obey_replays_the_cookie_reports_it_and_stops_where_cookies_differ() {
    each(
        SetCookie::Obey,
        |_| "page".to_owned(),
        |cache, framework, lifetime| {
            let first = Browser::default().open(cache, framework).header("set-cookie");
            let second = Browser::default().open(cache, framework);
            assert!(second.is_hit() && second.header("set-cookie") == first, "{framework:?} {lifetime}");
            let stats = cache.stats();
            assert_eq!(stats["storing"]["with_cookie"], 1);
            let warnings = stats["warnings"].to_string();
            assert!(warnings.contains("were stored with their Set-Cookie"), "{warnings}");
            // Pages that say `public` or vary by Cookie are shared as they say.
            if lifetime != "max-age=60" || framework.vary.is_some() {
                return;
            }
            Browser::signed_in().open(cache, framework);
            eventually("the difference is found", || cache.stats()["personalised"]["found"] == 1);
            let later = [(); 5].map(|()| Browser::default().open(cache, framework).header("set-cookie"));
            let distinct: HashSet<_> = later[1..].iter().collect();
            assert_eq!(distinct.len(), 4, "{framework:?} {later:?}");
        },
    );
}

#[test]
fn the_response_to_a_post_is_judged_by_the_route_of_its_get() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let cookie = format!("sid=s{}", number.fetch_add(1, Ordering::SeqCst));
        Reply::ok()
            .header("Cache-Control", "public, max-age=60")
            .header("Content-Location", "/mixed")
            .header("Set-Cookie", &cookie)
            .body("page")
    });
    for set_cookie in ["strip", "obey"] {
        let lines = format!("[[route]]\npath = \"/mixed\"\nmethods = [\"POST\"]\nset_cookie = \"{set_cookie}\"");
        let cache = Cache::configured(&origin, &lines);
        let posted = cache.request("POST", "/mixed", &[], b"x");
        assert_eq!(posted.status(), 200);
        for _ in 0..2 {
            let got = cache.get("/mixed");
            assert!(!got.is_hit() && got.header("set-cookie") != posted.header("set-cookie"), "{set_cookie}");
        }
    }
}

#[test]
fn a_stored_cookie_is_counted_once_and_not_at_each_confirmation() {
    let origin = Origin::start(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("ETag", "\"1\"").header("Cache-Control", "max-age=60"),
        None => Reply::fresh("page").header("ETag", "\"1\"").header("Set-Cookie", "a=b"),
    });
    let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = SetCookie::Obey);
    cache.get("/");
    for _ in 0..3 {
        cache.step(61);
        cache.get("/").check(200, "page", "fwd-status=304");
    }
    assert_eq!(cache.stats()["storing"]["with_cookie"], 1);
}

/// The heads that a real app sent for one path: to a new visitor, to a visitor with a session, to
/// the signed-in user.
struct Recorded {
    path: String,
    heads: [String; 3],
}

/// Reads the recorded heads of a framework, for the pages that have all three.
fn recorded(framework: &str) -> Vec<Recorded> {
    let file = format!("{}/tests/apps/heads/{framework}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut pages: Vec<(String, Vec<String>)> = Vec::new();
    for block in text.split("# GET ").skip(1) {
        let (request, head) = block.split_once('\n').unwrap();
        let path = request.split(',').next().unwrap().to_owned();
        let head = head.trim_end().replace('\n', "\r\n");
        match pages.last_mut() {
            Some((last, heads)) if *last == path => heads.push(head),
            _ => pages.push((path, vec![head])),
        }
    }
    let three = pages.into_iter().filter_map(|(path, heads)| Some(Recorded { path, heads: heads.try_into().ok()? }));
    three.collect()
}

/// Puts a body behind a recorded head, in the head's own framing.
fn with_body(head: &str, page: &str) -> Vec<u8> {
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
    let body = match length {
        Some(length) => format!("{page:length$}").into_bytes(),
        None => [chunk(page.as_bytes()), chunk(b"")].concat(),
    };
    [head.as_bytes(), b"\r\n\r\n", &body].concat()
}

#[test]
fn the_recorded_heads_of_real_apps_give_nobody_anothers_cookie_or_page() {
    const KINDS: [Option<&str>; 3] = [None, Some("kind=known"), Some("kind=user")];
    let mut replayed = 0;
    for framework in ["express", "rails", "django"] {
        for Recorded { path, heads } in recorded(framework) {
            // `/page` shows whose page it is. The other pages are the same for everybody, apart
            // from the cookies in their heads.
            let is_personal = path.starts_with("/page/");
            let page = move |kind: usize| if is_personal { format!("page {kind}") } else { "page".to_owned() };
            let origin = {
                let heads = heads.clone();
                Origin::start(move |request| {
                    let cookie = request.header("cookie");
                    let kind = KINDS.iter().position(|kind| *kind == cookie.as_deref()).unwrap();
                    Reply::raw(with_body(&heads[kind], &page(kind)))
                })
            };
            let cache = Cache::start(&origin);
            for round in 0..3 {
                for kind in [0, 0, 1, 2, 0, 2, 1] {
                    let fields: Vec<_> = KINDS[kind].iter().map(|cookie| ("Cookie", *cookie)).collect();
                    let response = cache.get_with(&path, &fields);
                    let what = format!("{framework} {path} {round} {kind}: {}", response.cache_status());
                    assert_eq!(response.text().trim_end(), page(kind), "{what}");
                    let own = |cookie: &String| heads[kind].contains(cookie.as_str());
                    let cookies = response.head.headers("set-cookie");
                    assert!(cookies.iter().all(own), "{what}: {cookies:?}");
                    assert!(!response.is_hit() || cookies.is_empty(), "{what}");
                }
            }
            replayed += 1;
        }
    }
    assert_eq!(replayed, 6 + 6 + 9);
}
