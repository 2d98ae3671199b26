//! Following requests live: `GET /log`, and `larder log`.

use std::time::Instant;

use serde_json::Value;

use crate::harness::{BOUND, Cache, Client, Origin, Reply, eventually, process};

/// A follower of the log.
struct Follower {
    client: Client,
    text: Vec<u8>,
}

impl Follower {
    /// Begins to follow: requests sent from now on are seen.
    #[track_caller]
    fn start(mut client: Client, query: &str) -> Self {
        client.ask("GET", &format!("/log{query}"), &[], b"");
        let head = client.head();
        assert_eq!((head.status, head.header("content-type").as_deref()), (200, Some("application/x-ndjson")));
        Self { client, text: Vec::new() }
    }

    /// Reads the next line that is not empty.
    #[track_caller]
    fn next(&mut self) -> Value {
        // An empty line now and then keeps the connection from its own timeout, so the wait needs a
        // bound.
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < BOUND, "no line arrived");
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                if end > 0 {
                    return serde_json::from_slice(&line).unwrap();
                }
            } else {
                self.text.extend(self.client.at_least(1));
            }
        }
    }

    /// Reads the targets of the next `N` lines.
    #[track_caller]
    fn targets<const N: usize>(&mut self) -> [String; N] {
        std::array::from_fn(|_| self.next()["target"].as_str().unwrap().to_owned())
    }
}

fn origin() -> Origin {
    Origin::start(|request| match request.target().as_str() {
        "/private" => Reply::ok().header("Cache-Control", "private").body("mine"),
        "/gone" => Reply::status("404 Not Found").body("no"),
        "/broken" => Reply::status("503 Service Unavailable").body("oh"),
        _ => Reply::fresh("hello"),
    })
}

#[test]
fn followers_see_filtered_requests_as_the_access_log_has_them() {
    let origin = origin();
    let cache = Cache::configured(&origin, "[[route]]\npath = '/shop/'\n");
    cache.get("/before");
    let follow = |query: &str| Follower::start(cache.admin(), query);
    let mut all = follow("");
    let mut hits = follow("?outcome=hit&outcome=stale");
    let mut private = follow("?reason=private");
    let mut shop = follow("?path=/shop/&status=200");
    let mut globbed = follow("?path=/**/*.png");
    let mut errors = follow("?status=404&status=5xx");
    let mut routed = follow("?route=1");
    let asked = ["/page?x=1", "/page?x=1", "/private", "/shop/1", "/shopping", "/shop/a/b.png", "/gone", "/broken"];
    for target in asked {
        cache.get_with(target, &[("User-Agent", "a \"test\""), ("Cookie", "secret=1")]);
    }
    cache.client().host("a b").get("/");
    assert_eq!(all.targets(), asked.map(str::to_owned));
    let refused = all.next();
    assert_eq!(
        (&refused["outcome"], &refused["status"], &refused["target"]),
        (&"refused".into(), &400.into(), &"-".into())
    );
    let hit = hits.next();
    assert_eq!((&hit["target"], &hit["reason"], &hit["method"]), (&"/page?x=1".into(), &"fresh".into(), &"GET".into()));
    assert_eq!((&hit["bytes"], &hit["user_agent"]), (&5.into(), &"a \"test\"".into()));
    assert!(!hit.to_string().contains("secret"), "no cookies: {hit}");
    assert_eq!(private.targets(), ["/private"]);
    assert_eq!(shop.targets(), ["/shop/1", "/shop/a/b.png"]);
    assert_eq!(globbed.targets(), ["/shop/a/b.png"]);
    assert_eq!(errors.targets(), ["/gone", "/broken"]);
    assert_eq!(routed.targets(), ["/shop/1", "/shop/a/b.png"]);
}

#[test]
fn invalid_filters_are_refused_and_followers_are_bounded() {
    let origin = origin();
    let cache = Cache::start(&origin);
    let refused = |query: &str, text: &str| {
        let response = cache.admin().get(&format!("/log{query}"));
        assert_eq!(response.status(), 400, "{query}");
        assert!(response.text().contains(text), "{query}: {}", response.text());
    };
    refused("?outcome=hits", "use one of hit, stale");
    refused("?reason=%22", "use one of fresh, uri-miss");
    refused("?path=shop", "does not start with");
    refused("?status=abc", "5xx");
    refused("?colour=red", "outcome, reason, path, status, route");
    let mut seats: Vec<_> = (0..8).map(|_| Follower::start(cache.admin(), "")).collect();
    let full = cache.admin().get("/log");
    assert_eq!((full.status(), full.header("retry-after").as_deref()), (503, Some("10")));
    seats.pop();
    eventually("a new follower is accepted", || {
        let mut client = cache.admin();
        client.ask("GET", "/log", &[], b"");
        client.head().status == 200
    });
}

#[test]
fn a_slow_follower_loses_lines_and_learns_how_many_while_requests_go_on() {
    const REQUESTS: u64 = 6_000;
    let origin = origin();
    let cache = Cache::start(&origin);
    let admin = cache.admin_addr();
    let mut slow = Follower::start(Client::slow(admin).host(&admin.to_string()), "");
    let target = format!("/{}", "x".repeat(2_000));
    let mut client = cache.client();
    for _ in 0..REQUESTS {
        assert_eq!(client.get(&target).status(), 200);
    }
    let (mut seen, mut lost) = (0, 0);
    while seen + lost < REQUESTS {
        let line = slow.next();
        match line["lost"].as_u64() {
            Some(more) => lost += more,
            None => seen += 1,
        }
    }
    assert_eq!(seen + lost, REQUESTS);
    assert!(lost > 0, "its buffers have room for less than {REQUESTS} lines of 2 KB");
    cache.get("/after");
    assert_eq!(slow.targets(), ["/after"]);
}

#[test]
fn followers_stay_across_a_reload() {
    let origin = origin();
    let larder = process::Process::serve(&origin, "");
    let mut follower = Follower::start(larder.admin(), "?status=404");
    assert_eq!(larder.reload().0, 200);
    larder.client().get("/page");
    larder.client().get("/gone");
    assert_eq!(follower.targets(), ["/gone"]);
}

#[test]
fn the_command_prints_one_line_per_request_and_stops_after_the_count() {
    let origin = origin();
    let cache = Cache::start(&origin);
    let admin = cache.admin_addr().to_string();
    let follow = |flags: &[&str]| {
        let arguments = [&["log", "--admin", &admin, "-n", "2", "--path", "/page"], flags].concat();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| process::run(&arguments));
            // The command gives no sign once it has begun to follow.
            eventually("larder log ends", || {
                cache.client().get("/page?x=1");
                cache.client().get("/other");
                running.is_finished()
            });
            running.join().unwrap()
        })
    };
    let readable = follow(&[]);
    assert_eq!((readable.code, readable.output.lines().count()), (Some(0), 2), "{readable:?}");
    let is_told = |line: &str| line.contains(" 200 ") && line.ends_with(" GET example.org/page?x=1");
    assert!(readable.output.lines().all(is_told), "{readable:?}");
    let json = follow(&["--json", "--outcome", "hit,stale", "--status", "2xx"]);
    assert_eq!(json.code, Some(0), "{json:?}");
    for line in json.output.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["outcome"], "hit", "{line}");
    }
    let wrong = process::run(&["log", "--admin", &admin, "--reason", "nonsense"]);
    assert!(wrong.code == Some(1) && wrong.output.contains("unknown reason `nonsense`; use one of fresh"), "{wrong:?}");
    let nobody = process::run(&["log", "--admin", "127.0.0.1:1"]);
    assert!(nobody.code == Some(1) && nobody.output.contains("is Larder running"), "{nobody:?}");
}
