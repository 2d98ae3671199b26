//! Compression (RFC 9110 §12.5.3): text is stored as zstd from its first hit on, and every client
//! gets the coding it accepts.

use std::io::Read;

use crate::harness::{Cache, Gate, Origin, Reply, Response, eventually};

/// A page worth compressing.
fn page() -> String {
    (0..400).map(|at| format!("<li>line {at} of a page that repeats itself</li>\n")).collect()
}

fn text() -> Reply {
    Reply::fresh(page()).header("Content-Type", "text/html; charset=utf-8").header("ETag", "\"v1\"")
}

/// Starts a cache that stores `/` as zstd.
fn packed(origin: &Origin) -> Cache {
    let cache = Cache::start(origin);
    cache.get("/");
    pack(&cache, "/");
    cache
}

/// Requests `target`, a stored page, until the page is stored as zstd.
#[track_caller]
fn pack(cache: &Cache, target: &str) {
    let accept = [("Accept-Encoding", "zstd")];
    eventually("the page is stored as zstd", || {
        cache.get_with(target, &accept).header("content-encoding").as_deref() == Some("zstd")
    });
}

/// Decodes a response's content.
fn decoded(response: &Response) -> String {
    let mut text = String::new();
    let body = response.body.as_slice();
    match response.header("content-encoding").as_deref() {
        None => text.push_str(&response.text()),
        Some("zstd") => drop(zstd::Decoder::new(body).unwrap().read_to_string(&mut text).unwrap()),
        Some("gzip") => drop(flate2::read::GzDecoder::new(body).read_to_string(&mut text).unwrap()),
        Some("br") => drop(brotli::Decompressor::new(body, 4096).read_to_string(&mut text).unwrap()),
        Some(other) => panic!("{other} is a coding that the client did not accept"),
    }
    text
}

#[test]
fn every_client_gets_the_coding_it_asks_for() {
    let origin = Origin::start(|_| text());
    let cache = packed(&origin);
    for (accept, coding, etag) in [
        ("zstd", Some("zstd"), "W/\"v1\""),
        ("gzip", Some("gzip"), "W/\"v1\""),
        ("br", Some("br"), "W/\"v1\""),
        ("gzip, deflate, br, zstd", Some("zstd"), "W/\"v1\""),
        ("zstd;q=0.1, gzip;q=0.9", Some("gzip"), "W/\"v1\""),
        ("identity", None, "\"v1\""),
        ("compress", None, "\"v1\""),
        ("zstd;q=0", None, "\"v1\""),
    ] {
        let response = cache.get_with("/", &[("Accept-Encoding", accept)]);
        assert_eq!(response.header("content-encoding").as_deref(), coding, "{accept}");
        assert_eq!(response.header("etag").as_deref(), Some(etag), "{accept}");
        assert_eq!(response.header("vary").map(|vary| vary.to_lowercase()).as_deref(), Some("accept-encoding"));
        assert!(response.is_hit() && decoded(&response) == page(), "{accept}");
        let length = response.header("content-length").unwrap();
        assert_eq!(length.parse::<usize>().unwrap(), response.body.len(), "{accept}");
    }
    let plain = cache.get("/");
    assert!(plain.header("content-encoding").is_none() && plain.text() == page());
    // RFC 9111 §5.2.1.6: the client may insist on the app's own form.
    let untransformed = [("Accept-Encoding", "zstd, gzip"), ("Cache-Control", "no-transform")];
    let plain = cache.get_with("/", &untransformed);
    assert!(plain.is_hit() && plain.header("content-encoding").is_none() && plain.text() == page(), "{plain:?}");
    assert_eq!(origin.count(), 1);
    assert_eq!(origin.last().header("accept-encoding").as_deref(), Some("identity"));
}

#[test]
fn text_is_stored_smaller_than_it_arrived() {
    let origin = Origin::start(|_| text());
    let cache = Cache::start(&origin);
    let miss = cache.get_with("/", &[("Accept-Encoding", "zstd")]);
    assert_eq!(miss.header("vary").map(|vary| vary.to_lowercase()).as_deref(), Some("accept-encoding"));
    let store = cache.stats()["store"].clone();
    assert_eq!(store["compressed_bytes"], store["raw_bytes"], "pages without a hit are not compressed");
    pack(&cache, "/");
    eventually("the plain form was dropped", || {
        let store = cache.stats()["store"].clone();
        store["compressed_bytes"].as_u64().unwrap() * 4 < store["raw_bytes"].as_u64().unwrap()
    });
}

#[test]
fn a_304_matches_the_form_that_the_client_has() {
    let origin = Origin::start(|_| text());
    let cache = packed(&origin);
    for (accept, etag) in [("zstd", "W/\"v1\""), ("gzip", "W/\"v1\""), ("identity", "\"v1\"")] {
        let fields = [("Accept-Encoding", accept), ("If-None-Match", etag)];
        let unchanged = cache.get_with("/", &fields);
        assert_eq!((unchanged.status(), unchanged.header("etag").as_deref()), (304, Some(etag)), "{accept}");
        assert_eq!(unchanged.header("vary").map(|vary| vary.to_lowercase()).as_deref(), Some("accept-encoding"));
        assert!(unchanged.header("content-encoding").is_none(), "{accept}");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn ranges_are_cut_from_identity() {
    let origin = Origin::start(|_| text());
    let cache = packed(&origin);
    let total = page().len();
    for accept in ["zstd", "gzip", "identity"] {
        let part = cache.get_with("/", &[("Accept-Encoding", accept), ("Range", "bytes=100-299")]);
        part.check(206, &page().as_bytes()[100..300], "hit");
        assert_eq!(part.header("content-range").as_deref(), Some(format!("bytes 100-299/{total}").as_str()));
        assert!(part.header("content-encoding").is_none(), "{accept}");
    }
    // A weak entity-tag does not hold for ranges (RFC 9110 §13.1.5): the client of a compressed
    // form gets the whole body.
    let fields = [("Accept-Encoding", "identity"), ("Range", "bytes=0-1"), ("If-Range", "W/\"v1\"")];
    assert_eq!(cache.get_with("/", &fields).status(), 200);
}

#[test]
fn rfc9110_s13_1_5_a_date_does_not_identify_the_coding_of_a_clients_part() {
    const MODIFIED: &str = "Mon, 01 Dec 2025 00:00:00 GMT";
    let check = |fields: &[(&str, &str)], status: u16| {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>();
        let origin = Origin::start(move |_| {
            let dated = text().header("Last-Modified", MODIFIED);
            fields.iter().fold(dated, |reply, (name, value)| reply.header(name, value))
        });
        let cache = Cache::start(&origin);
        cache.get("/");
        for accept in ["zstd", "gzip", "identity"] {
            let fields = [("Accept-Encoding", accept), ("Range", "bytes=5-"), ("If-Range", MODIFIED)];
            assert_eq!(cache.get_with("/", &fields).status(), status, "{accept}");
        }
    };
    check(&[], 200);
    check(&[("Cache-Control", "no-transform")], 206);
}

#[test]
fn a_head_describes_the_form_that_a_get_receives() {
    let origin = Origin::start(|_| text());
    let cache = packed(&origin);
    let accept = [("Accept-Encoding", "zstd")];
    let get = cache.get_with("/", &accept);
    let head = cache.request("HEAD", "/", &accept, b"");
    for name in ["content-encoding", "content-length", "etag", "vary"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[test]
fn encoded_and_untransformable_responses_stay_as_they_are() {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/no-transform" => {
            let lifetime = "max-age=60, no-transform";
            Reply::ok().header("Cache-Control", lifetime).header("Content-Type", "text/html").body(page())
        }
        "/encoded" => Reply::fresh(page()).header("Content-Type", "text/html").header("Content-Encoding", "x-own"),
        "/image" => Reply::fresh(page()).header("Content-Type", "image/png"),
        "/small" => Reply::fresh(&page()[..1_399]).header("Content-Type", "text/html"),
        _ => text(),
    });
    let cache = Cache::start(&origin);
    let accept = [("Accept-Encoding", "zstd, gzip, br")];
    let targets = ["/no-transform", "/encoded", "/image", "/small"];
    for target in targets {
        cache.get_with(target, &accept);
        cache.get_with(target, &accept);
    }
    // Pages worth compressing have been compressed in the meantime.
    cache.get("/");
    pack(&cache, "/");
    for target in targets {
        let response = cache.get_with(target, &accept);
        let coding = (target == "/encoded").then(|| "x-own".to_owned());
        assert_eq!(response.header("content-encoding"), coding, "{target}");
        assert!(page().starts_with(&response.text()) && response.is_hit(), "{target}");
        assert!(response.header("vary").is_none(), "{target}: every client gets the same form");
    }
}

#[test]
fn nothing_is_compressed_where_it_is_turned_off() {
    let origin = Origin::start(|_| text());
    let cache = Cache::with(&origin, |setup| setup.config.proxy.compress = false);
    for _ in 0..3 {
        let response = cache.get_with("/", &[("Accept-Encoding", "zstd")]);
        assert!(response.header("content-encoding").is_none() && response.text() == page());
        assert!(response.header("vary").is_none());
    }
}

#[test]
fn a_compressed_entry_is_revalidated_with_its_original_entity_tag() {
    let origin = Origin::start(|request| match request.header("if-none-match").as_deref() {
        Some("\"v1\"") => Reply::not_modified().header("ETag", "\"v1\"").header("Cache-Control", "max-age=60"),
        _ => text(),
    });
    let cache = packed(&origin);
    cache.step(61);
    let confirmed = cache.get_with("/", &[("Accept-Encoding", "gzip")]);
    assert_eq!((decoded(&confirmed) == page(), confirmed.status()), (true, 200));
    assert!(confirmed.has("fwd-status=304"), "{}", confirmed.cache_status());
    assert_eq!(origin.count(), 2);
}

#[test]
fn rfc9111_s4_3_4_an_entry_compressed_during_validation_is_confirmed_too() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| {
            let lifetime = ("Cache-Control", "max-age=10, stale-while-revalidate=60");
            match request.header("if-none-match") {
                Some(_) => Reply::not_modified().header("ETag", "\"v1\"").header(lifetime.0, lifetime.1).hold(&gate),
                None => Reply::ok()
                    .header("Content-Type", "text/html")
                    .header("ETag", "\"v1\"")
                    .header(lifetime.0, lifetime.1)
                    .body(page()),
            }
        })
    };
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(15);
    // The first use finds the entry stale, and starts compression and refresh together.
    cache.client().get("/");
    gate.arrived(1);
    eventually("the page is stored as zstd", || {
        let used = cache.client().exchange("GET", "/", &[("Accept-Encoding", "zstd")], b"");
        used.header("content-encoding").as_deref() == Some("zstd")
    });
    gate.open();
    cache.settle();
    let confirmed = cache.get_with("/", &[("Accept-Encoding", "zstd")]);
    assert_eq!((confirmed.is_hit(), confirmed.ttl()), (true, Some(10)), "{}", confirmed.cache_status());
    assert_eq!(confirmed.header("content-encoding").as_deref(), Some("zstd"));
    assert_eq!(origin.count(), 2);
}

#[test]
fn variants_by_coding_stay_apart_where_the_origin_gets_the_clients_codings() {
    let origin = Origin::start(|request| {
        let accept = request.header("accept-encoding").unwrap_or_default();
        let reply = Reply::fresh(accept.clone()).header("Vary", "Accept-Encoding");
        if accept.contains("gzip") { reply.header("Content-Encoding", "gzip") } else { reply }
    });
    let cache = Cache::with(&origin, |setup| setup.config.proxy.ask_identity = false);
    for round in ["miss", "hit"] {
        for accept in ["gzip", "br"] {
            let response = cache.get_with("/", &[("Accept-Encoding", accept)]);
            assert_eq!((response.text().as_str(), response.is_hit()), (accept, round == "hit"));
        }
    }
    assert_eq!(origin.count(), 2);
}
