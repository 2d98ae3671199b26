//! Ranges (RFC 9110 §14): cut from a stored response, or the reason to fetch the whole.

use crate::harness::{Cache, Origin, Reply, pattern};

#[test]
fn rfc9110_s14_ranges_are_cut_from_the_stored_response() {
    let body = pattern(1_000);
    let origin = Origin::replies([Reply::fresh(&body).header("ETag", "\"v1\"").header("Content-Type", "text/x")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    for (range, expected, content_range) in [
        ("bytes=0-0", &body[..1], "bytes 0-0/1000"),
        ("bytes=990-", &body[990..], "bytes 990-999/1000"),
        ("bytes=-5", &body[995..], "bytes 995-999/1000"),
        ("bytes=500-5000", &body[500..], "bytes 500-999/1000"),
    ] {
        let part = cache.get_with("/", &[("Range", range)]);
        part.check(206, expected, "hit");
        assert_eq!(part.header("content-range").as_deref(), Some(content_range));
    }

    let parts = cache.get_with("/", &[("Range", "bytes=0-1, 10-11")]);
    assert_eq!(parts.status(), 206);
    let content_type = parts.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap().trim_matches('"').to_owned();
    let pieces: Vec<_> = parts.text().split(&format!("--{boundary}")).map(str::to_owned).collect();
    assert_eq!(pieces.len(), 4, "a preamble, two parts, the end");
    for (piece, content_range, at) in [(&pieces[1], "bytes 0-1/1000", 0), (&pieces[2], "bytes 10-11/1000", 10)] {
        let (head, content) = piece.split_once("\r\n\r\n").unwrap();
        assert!(head.to_lowercase().contains(&format!("content-range: {content_range}")), "{head}");
        assert_eq!(content.trim_end_matches("\r\n").as_bytes(), &body[at..at + 2]);
    }

    let beyond = cache.get_with("/", &[("Range", "bytes=1000-")]);
    assert_eq!((beyond.status(), beyond.header("content-range").as_deref()), (416, Some("bytes */1000")));
    cache.get_with("/", &[("Range", "lines=1-2")]).check(200, &body, "hit");
    cache.get_with("/", &[("Range", "bytes=0-1"), ("If-Range", "\"v1\"")]).check(206, &body[..2], "hit");
    cache.get_with("/", &[("Range", "bytes=0-1"), ("If-Range", "\"v2\"")]).check(200, &body, "hit");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_cold_range_is_passed_and_the_next_is_fetched_whole() {
    let body = pattern(1_000);
    let whole = body.clone();
    let origin = Origin::start(move |request| match request.header("range") {
        Some(_) => Reply::status("206 Partial Content")
            .header("Cache-Control", "max-age=60")
            .header("ETag", "\"v1\"")
            .header("Content-Range", "bytes 0-9/1000")
            .body(&whole[..10]),
        None => Reply::fresh(&whole).header("ETag", "\"v1\""),
    });
    let cache = Cache::start(&origin);
    let range = [("Range", "bytes=0-9")];
    let cold = cache.get_with("/", &range);
    assert_eq!((cold.status(), cold.body.as_slice()), (206, &body[..10]));
    assert!(cold.has("detail=range-miss"), "{}", cold.cache_status());
    assert_eq!(origin.last().header("range").as_deref(), Some("bytes=0-9"));

    cache.get_with("/", &range).check(206, &body[..10], "stored");
    assert_eq!(origin.last().header("range"), None);
    cache.get("/").check(200, &body, "hit");
    assert_eq!(origin.count(), 2);
}

#[test]
fn after_an_origin_ignored_a_range_the_whole_is_fetched() {
    let origin = Origin::start(|_| Reply::fresh("the whole page"));
    let cache = Cache::start(&origin);
    let range = [("Range", "bytes=4-8")];
    cache.get_with("/", &range).check(200, "the whole page", "detail=range-miss");
    cache.get_with("/", &range).check(206, "whole", "stored");
    cache.get_with("/", &range).check(206, "whole", "hit");
    assert_eq!(origin.count(), 2);
}
