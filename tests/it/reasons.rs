//! Every reason of the closed list, produced by a real request and observed from outside: in
//! Cache-Status, or, where the reason is known only after the head, in `/stats`. A reason that no
//! request produces has no place in the list.

use std::time::Duration;

use larder::outcome::Reason;
use larder::route::{CacheMode, RouteMode};
use serde_json::Value;

use crate::harness::cache::Setup;
use crate::harness::{BlackHole, Cache, Cut, Gate, Origin, Reply, Response, WEBSOCKET, eventually};

/// The place where a reason shows.
pub(crate) enum Evidence {
    /// In the Cache-Status of this response.
    InResponse(Response),
    /// In these figures of `/stats`.
    InStats(Value),
    /// Nowhere outside the process.
    Nowhere,
}

#[test]
fn every_reason_is_produced_by_a_request() {
    let mut unseen = Vec::new();
    for &reason in Reason::ALL {
        let found = match produce(reason) {
            Evidence::InResponse(response) => in_cache_status(reason, &response),
            Evidence::InStats(stats) => in_stats(reason, &stats),
            Evidence::Nowhere => Ok(()),
        };
        unseen.extend(found.err().map(|what| format!("{reason}: {what}")));
    }
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

fn in_cache_status(reason: Reason, response: &Response) -> Result<(), String> {
    let status = response.cache_status();
    let shows = match reason {
        Reason::Fresh => response.has("hit"),
        // Shadow mode also names the outcome that live mode would have.
        Reason::Shadow => status.contains("; detail=shadow:"),
        _ => response.has(&format!("fwd={reason}")) || response.has(&format!("detail={reason}")),
    };
    if shows { Ok(()) } else { Err(status) }
}

fn in_stats(reason: Reason, stats: &Value) -> Result<(), String> {
    let maps = [&stats["requests"]["by_reason"], &stats["storing"]["not_stored"], &stats["endings"]["aborted"]];
    let shows = maps.iter().any(|map| map.get(reason.token()).is_some());
    if shows { Ok(()) } else { Err(format!("{maps:?}")) }
}

/// Starts a cache in front of an origin with this script, and hands both to `act`.
fn with(
    script: impl Fn(&crate::harness::origin::Request) -> Reply + Send + Sync + 'static,
    change: impl FnOnce(&mut Setup),
    act: impl FnOnce(&Origin, &Cache) -> Response,
) -> Evidence {
    let origin = Origin::start(script);
    let cache = Cache::with(&origin, change);
    Evidence::InResponse(act(&origin, &cache))
}

/// Sends one GET to a cache whose origin answers with `reply`.
fn one(reply: Reply, fields: &[(&str, &str)]) -> Evidence {
    with(move |_| reply.clone(), |_| {}, |_, cache| cache.get_with("/", fields))
}

/// Stores `reply`, lets `seconds` pass, and sends another GET.
fn later(reply: Reply, seconds: u64, fields: &[(&str, &str)]) -> Evidence {
    with(
        move |_| reply.clone(),
        |_| {},
        |_, cache| {
            cache.get("/");
            cache.step(seconds);
            cache.get_with("/", fields)
        },
    )
}

/// Sends one request of another kind to an empty cache.
fn other(method: &str, fields: &[(&str, &str)], body: &[u8], change: impl FnOnce(&mut Setup)) -> Evidence {
    with(|_| Reply::fresh("x"), change, |_, cache| cache.request(method, "/", fields, body))
}

/// Sends one GET to a cache whose origin is at `authority`.
fn at(authority: &str) -> Evidence {
    let change = |setup: &mut Setup| {
        setup.config.origin.authority = authority.to_owned();
        setup.config.origin.connect_timeout = Duration::from_millis(200);
    };
    with(|_| Reply::ok(), change, |_, cache| cache.get("/"))
}

fn cache_control(value: &str) -> Reply {
    Reply::ok().header("Cache-Control", value).body("x")
}

/// Produces a reason. The match is exhaustive, so that a new reason needs its request here.
pub(crate) fn produce(reason: Reason) -> Evidence {
    match reason {
        Reason::Fresh => later(Reply::fresh("x"), 0, &[]),
        Reason::UriMiss => one(Reply::fresh("x"), &[]),
        Reason::VaryMiss => later(Reply::fresh("x").header("Vary", "X-A"), 0, &[("X-A", "1")]),
        Reason::Expired => later(Reply::fresh("x"), 60, &[]),
        Reason::NoCache => later(cache_control("no-cache").header("ETag", "\"1\""), 0, &[]),
        Reason::RequestNoCache => later(Reply::fresh("x"), 0, &[("Cache-Control", "no-cache")]),
        Reason::Purged => purged(),
        Reason::Invalidated => invalidated(),
        Reason::Probation => as_users(|_| Reply::fresh("x"), &["a=1", "a=2"]),
        Reason::Method => other("POST", &[], b"form", |_| {}),
        Reason::Bypass => other("GET", &[], b"", |setup| setup.rule.cache = CacheMode::Bypass),
        Reason::Shadow => other("GET", &[], b"", |setup| setup.rule.mode = RouteMode::Shadow),
        Reason::RequestBody => other("GET", &[], b"query", |_| {}),
        Reason::Upgrade => other("GET", &WEBSOCKET, b"", |_| {}),
        Reason::RangeMiss => one(Reply::fresh("x"), &[("Range", "bytes=0-0")]),
        Reason::HitForMiss => hit_for_miss(),
        Reason::Precondition => later(Reply::fresh("x").header("ETag", "\"1\""), 0, &[("If-Match", "\"2\"")]),
        Reason::Personalised => {
            as_users(|request| Reply::fresh(request.header("cookie").unwrap_or_default()), &["a=1", "a=2", "a=3"])
        }
        Reason::NoStore => one(cache_control("no-store"), &[]),
        Reason::Private => one(cache_control("private"), &[]),
        Reason::RequestNoStore => one(Reply::fresh("x"), &[("Cache-Control", "no-store")]),
        Reason::Authorization => one(Reply::fresh("x"), &[("Authorization", "Basic eDp5")]),
        Reason::SetCookie => one(Reply::ok().header("ETag", "\"1\"").header("Set-Cookie", "a=b"), &[]),
        Reason::VaryStar => one(Reply::fresh("x").header("Vary", "*"), &[]),
        Reason::NoLifetime => one(Reply::ok().body("x"), &[]),
        Reason::AlreadyStale => one(cache_control("max-age=0, must-revalidate"), &[]),
        Reason::StatusNotUnderstood => one(cache_control("max-age=60").status_line("299 Odd", "must-understand"), &[]),
        Reason::TooLarge => {
            with(|_| Reply::fresh("12345"), |setup| setup.rule.object_bytes_max = 4, |_, cache| cache.get("/"))
        }
        Reason::Budget => with(
            |_| Reply::fresh(vec![b'x'; 300_000]),
            |setup| setup.config.store.capacity = 1 << 20,
            |_, cache| cache.get("/"),
        ),
        Reason::Unsized => one(cache_control("max-age=60").until_close(), &[]),
        Reason::TooManyTags => with(
            |_| Reply::fresh("x").header("Surrogate-Key", "a b c"),
            |setup| setup.config.store.tags_max = 2,
            |_, cache| cache.get("/"),
        ),
        Reason::WhileRevalidate => later(cache_control("max-age=60, stale-while-revalidate=60"), 61, &[]),
        Reason::IfError => stale_if_error(),
        Reason::MaxStale => later(Reply::fresh("x"), 61, &[("Cache-Control", "max-stale=9")]),
        Reason::BadRequest => other("GET", &[("Host", "another.example")], b"", |_| {}),
        Reason::SiteUnknown => {
            other("GET", &[], b"", |setup| setup.config.proxy.hosts = vec!["another.example".to_owned()])
        }
        Reason::HeadTooLarge => other("GET", &[("X-Long", &"x".repeat(40_000))], b"", |_| {}),
        Reason::RequestTooLarge => other("POST", &[], b"four", |setup| setup.config.proxy.request_body_max = 3),
        Reason::MethodRefused => other("TRACE", &[], b"", |_| {}),
        Reason::Options => other("OPTIONS", &[("Max-Forwards", "0")], b"", |_| {}),
        Reason::Purge => other("PURGE", &[], b"", |setup| {
            setup.config.proxy.purge_from = vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()];
        }),
        Reason::OnlyIfCached => other("GET", &[("Cache-Control", "only-if-cached")], b"", |_| {}),
        Reason::Overloaded => overloaded(),
        // No host answers at the broadcast address (RFC 919), and no name under `.invalid` resolves
        // (RFC 6761).
        Reason::DestinationUnavailable => at("255.255.255.255:9"),
        Reason::DnsError => at(&format!("{}.invalid:80", "a".repeat(64))),
        Reason::ConnectionRefused => refused(),
        Reason::ConnectionTimeout => connection_timeout(),
        Reason::ConnectionTerminated => one(Reply::hang_up(Cut::Fin), &[]),
        Reason::ResponseTimeout => response_timeout(),
        Reason::ProtocolError => one(Reply::raw("what is this?\r\n\r\n").cut(Cut::Fin), &[]),
        Reason::Incomplete => incomplete(),
        Reason::InvalidatedMeanwhile => invalidated_meanwhile(),
        Reason::Outdated => outdated(),
        // A request that caused a panic would be a bug to fix.
        Reason::Panic => Evidence::Nowhere,
    }
}

/// Sends one request for each of these cookies.
fn as_users(
    script: impl Fn(&crate::harness::origin::Request) -> Reply + Send + Sync + 'static,
    cookies: &[&str],
) -> Evidence {
    with(
        script,
        |_| {},
        |_, cache| {
            let mut responses: Vec<_> =
                cookies.iter().map(|cookie| cache.get_with("/", &[("Cookie", cookie)])).collect();
            responses.pop().unwrap()
        },
    )
}

fn purged() -> Evidence {
    with(
        |_| Reply::fresh("x"),
        |_| {},
        |_, cache| {
            cache.get("/");
            cache.purge(r#"{"url": "http://example.org/"}"#);
            cache.get("/")
        },
    )
}

fn invalidated() -> Evidence {
    with(
        |_| Reply::fresh("x"),
        |_| {},
        |_, cache| {
            cache.get("/");
            cache.request("POST", "/", &[], b"form");
            cache.get("/")
        },
    )
}

fn hit_for_miss() -> Evidence {
    with(
        |_| cache_control("private"),
        |_| {},
        |_, cache| {
            cache.get("/");
            cache.get("/");
            cache.get("/")
        },
    )
}

fn stale_if_error() -> Evidence {
    let mut origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    origin.stop();
    Evidence::InResponse(cache.get("/"))
}

fn overloaded() -> Evidence {
    let gate = Gate::new();
    let script = {
        let gate = gate.clone();
        move |_: &_| Reply::fresh("x").hold(&gate)
    };
    let change = |setup: &mut Setup| {
        setup.config.origin.connections_max = 1;
        setup.config.origin.permit_timeout = Duration::from_millis(20);
    };
    with(script, change, |origin, cache| {
        let mut first = cache.client();
        first.ask("GET", "/first", &[], b"");
        origin.wait_for(1);
        let second = cache.client().get("/second");
        gate.open();
        first.response();
        second
    })
}

fn refused() -> Evidence {
    let mut origin = Origin::start(|_| Reply::ok());
    origin.stop();
    let cache = Cache::start(&origin);
    Evidence::InResponse(cache.get("/"))
}

fn connection_timeout() -> Evidence {
    let nobody = BlackHole::open();
    at(&nobody.addr().to_string())
}

fn response_timeout() -> Evidence {
    let never = Gate::new();
    let script = {
        let never = never.clone();
        move |_: &_| Reply::fresh("x").hold(&never)
    };
    let change = |setup: &mut Setup| setup.config.origin.response_timeout = Duration::from_millis(50);
    with(script, change, |_, cache| {
        let response = cache.get("/");
        never.open();
        response
    })
}

fn incomplete() -> Evidence {
    let origin = Origin::start(|_| Reply::fresh("x").length(9).cut(Cut::Fin));
    let cache = Cache::start(&origin);
    cache.get("/");
    eventually("the response has ended", || cache.stats()["requests"]["total"] == 1);
    Evidence::InStats(cache.stats())
}

/// Validates while a response is under way, and receives the whole new response first.
fn outdated() -> Evidence {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.header("x-new") {
            Some(_) => Reply::fresh("new"),
            None => Reply::fresh("ol").length(3).wait(&gate).body("d"),
        })
    };
    let cache = Cache::start(&origin);
    let mut first = cache.client();
    first.ask("GET", "/", &[], b"");
    let head = first.final_head();
    cache.step(1);
    cache.client().exchange("GET", "/", &[("Cache-Control", "no-cache"), ("X-New", "1")], b"");
    gate.open();
    first.rest(head);
    eventually("both requests have ended", || cache.stats()["requests"]["total"] == 2);
    Evidence::InStats(cache.stats())
}

/// Purges while a response is under way, which is then not stored.
fn invalidated_meanwhile() -> Evidence {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| Reply::fresh("ol").wait(&gate).body("d"))
    };
    let cache = Cache::start(&origin);
    let mut first = cache.client();
    first.ask("GET", "/", &[], b"");
    first.final_head();
    cache.purge(r#"{"url": "http://example.org/"}"#);
    gate.open();
    first.at_least(3);
    eventually("the response has ended", || cache.stats()["requests"]["total"] == 1);
    Evidence::InStats(cache.stats())
}
