//! Tables per section of RFC 9112, and a property test: splitting a stream changes nothing.

use http::StatusCode;
use proptest::prelude::*;

use super::limits::TARGET_BYTES_MAX;
use super::*;

const LIMITS: ScreenLimits = ScreenLimits { head_bytes_max: 4 << 10 };

/// Feeds a stream in pieces that end at `cuts`.
fn feed(stream: &[u8], cuts: &[usize]) -> ScreenSummary {
    screen(stream, cuts, LIMITS.head_bytes_max)
}

/// Checks the result of a stream, whole and byte by byte.
#[track_caller]
fn check(stream: impl AsRef<[u8]>, expected: Option<u16>) {
    let stream = stream.as_ref();
    let whole = feed(stream, &[]);
    let shown = String::from_utf8_lossy(&stream[..stream.len().min(200)]);
    assert_eq!(whole.refusal.map(|status| status.as_u16()), expected, "{shown:?}");
    if expected.is_none() {
        assert_eq!(whole.passed, stream.len(), "{shown:?}");
    }
    let bytewise: Vec<usize> = (0..stream.len()).collect();
    let stepwise = feed(stream, &bytewise);
    assert_eq!(stepwise, whole, "{shown:?}");
}

/// Checks a GET with these field lines after its Host.
#[track_caller]
fn check_fields(lines: &str, expected: Option<u16>) {
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), expected);
}

/// Checks a request line, with a Host after it.
#[track_caller]
fn check_line(line: &str, expected: Option<u16>) {
    check(format!("{line}\r\nHost: a\r\n\r\n"), expected);
}

/// Checks chunked content.
#[track_caller]
fn check_chunks(chunks: impl AsRef<[u8]>, expected: Option<u16>) {
    let mut stream = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    stream.extend_from_slice(chunks.as_ref());
    if expected.is_none() {
        stream.extend_from_slice(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    check(stream, expected);
}

#[test]
fn s2_2_lines_end_with_crlf() {
    check("GET / HTTP/1.1\nHost: a\n\n", Some(400));
    check("GET / HTTP/1.1\r\nHost: a\n\r\n", Some(400));
    check("GET / HTTP/1.1\r\nHost: a\r\n\n", Some(400));
    check("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Some(400));
    check("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(400));
    check("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(400));
    check("\r\n\r\n\r\n", Some(400));
    check("\x16\x03\x01\x02", Some(400));
}

#[test]
fn s3_a_request_line_has_three_parts_and_two_spaces() {
    for line in [
        "GET / HTTP/1.1",
        "GET / HTTP/1.0",
        "get /a?b HTTP/1.1",
        "M-SEARCH /%zz HTTP/1.1",
        "G!#$%&'*+-.^_`|~ / HTTP/1.1",
    ] {
        check_line(line, None);
    }
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / a HTTP/1.1",
        "GET",
        "GET ",
        "GET /",
        "GET / ",
        "GE(T / HTTP/1.1",
        "GET: / HTTP/1.1",
        "GET / HTTP/11",
        "GET / HTTP/1",
        "GET / HTTP/1.1.1",
        "GET / HTTP/1.10",
        "GET / http/1.1",
        "GET / XTTP/1.1",
        "GET / HTTP 1.1",
        "GET / HTTP/+1.1",
        "GET / HTTP/a.b",
    ] {
        check_line(line, Some(400));
    }
    for line in ["GET / HTTP/0.9", "GET / HTTP/1.2", "GET / HTTP/2.0", "PRI * HTTP/2.0", "GET / HTTP/3.0"] {
        check_line(line, Some(505));
    }
}

#[test]
fn s3_2_targets_have_four_forms() {
    for target in [
        "/",
        "//a",
        "/a?b?c",
        "/?`",
        "/\"{}|\\^",
        "/caf\u{e9}",
        "http://a",
        "http://a/",
        "HTTP://A:80/?b",
        "http://a?b",
    ] {
        check_line(&format!("GET {target} HTTP/1.1"), None);
    }
    check_line("OPTIONS * HTTP/1.1", None);
    for target in [
        "*",
        "a",
        "a:80",
        "a/b",
        "?a",
        "/a#b",
        "#",
        "/<",
        "/?<",
        "/?\"",
        "http://a%2e/",
        "/`",
        "ftp://a/",
        "http:/a",
        "http:///",
        "http://",
        "http://u@a/",
        "http://b/",
        "http://a:81/",
    ] {
        check_line(&format!("GET {target} HTTP/1.1"), Some(400));
    }
    check(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Some(400));
    check_line("CONNECT a:80 HTTP/1.1", Some(501));
    check("GET http://a:81/ HTTP/1.1\r\nHost: A:81\r\n\r\n", None);
    check("GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n", None);
    check("GET http://a80/ HTTP/1.1\r\nHost: a\r\n\r\n", Some(400));
    check("GET http://a/ HTTP/1.0\r\n\r\n", None);
}

#[test]
fn s3_2_there_is_one_host() {
    check("GET / HTTP/1.1\r\n\r\n", Some(400));
    check("GET / HTTP/1.0\r\n\r\n", None);
    check("GET / HTTP/1.1\r\nHost:\r\n\r\n", None);
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Some(400));
    check("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Some(400));
    check("GET / HTTP/1.1\r\nhOsT:a\r\n\r\n", None);
}

#[test]
fn s5_fields_are_written_in_one_way() {
    for lines in ["X:\r\n", "X: \t a \t\r\n", "X: a\tb\r\n", "X: \u{e9}\r\n", "!#$%&'*+-.^_`|~9: a\r\n", "X::\r\n"] {
        check_fields(lines, None);
    }
    for lines in [
        " X: a\r\n",
        "\tX: a\r\n",
        "X: a\r\n b\r\n",
        "X : a\r\n",
        "X\t: a\r\n",
        ": a\r\n",
        "X\r\n",
        "X Y: a\r\n",
        "X(: a\r\n",
        "X: a\0\r\n",
        "X: a\x01\r\n",
        "X: a\x7f\r\n",
        "X: a\rb\r\n",
        "X: a\x0b\r\n",
        "X\0: a\r\n",
        "\u{e9}: a\r\n",
        "X: a\nY: b\r\n",
    ] {
        check_fields(lines, Some(400));
    }
    check_fields(&"X: a\r\n".repeat(99), None);
    check_fields(&"X: a\r\n".repeat(100), Some(431));
}

#[test]
fn s6_2_a_length_is_a_number_and_stands_once() {
    let post = |lines: &str, content: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{content}");
    check(post("Content-Length: 3\r\n", "abc"), None);
    check(post("Content-Length: 003\r\n", "abc"), None);
    check(post("Content-Length: 0\r\n", ""), None);
    check(post("", ""), None);
    for value in [
        "",
        "+3",
        "-3",
        "3, 3",
        "3,3",
        "3 3",
        "0x3",
        "3.0",
        "\"3\"",
        "3;",
        "a",
        "9223372036854775808",
        "99999999999999999999",
    ] {
        check(post(&format!("Content-Length: {value}\r\n"), ""), Some(400));
    }
    check(post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), Some(400));
    check(post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), Some(400));
    check("POST / HTTP/1.0\r\n\r\n", Some(411));
    check("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n", None);
    check("DELETE / HTTP/1.0\r\n\r\n", None);
}

#[test]
fn s6_1_the_one_transfer_coding_is_chunked() {
    let coded = |value: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {value}\r\n\r\n0\r\n\r\n");
    check(coded("chunked"), None);
    check(coded("ChunkeD"), None);
    for value in [
        "",
        "identity",
        "xchunked",
        "chunkedx",
        "chunked;a=b",
        "chunked, chunked",
        "chunked, gzip",
        "gzip",
        "chunked,",
        ",chunked",
        "gzip chunked",
        "\"chunked\"",
        "chunked\u{b}",
    ] {
        check(coded(value), Some(400));
    }
    check(coded("gzip, chunked"), Some(501));
    check_fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Some(400));
    check_fields("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", Some(400));
    check_fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Some(400));
    check_fields("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Some(400));
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Some(400));
}

#[test]
fn s7_1_chunks() {
    for chunks in [
        "0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "a\r\n0123456789\r\n00\r\n\r\n",
        "003\r\nabc\r\n0\r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n",
    ] {
        check_chunks(chunks, None);
    }
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 \r\na\r\n",
        "1\na\r\n",
        "1\r\na\n0\r\n",
        "1\r\nab\r\n",
        "1\r\na0\r\n",
        "8000000000000000\r\n",
        "ffffffffffffffff\r\n",
        "00000000000000001\r\n",
        "1_0\r\n",
        "0\n\n",
        "0\r\n\n",
        "1\r\na\r\r\n",
        "0\rX\r\n",
    ] {
        check_chunks(chunks, Some(400));
    }
    check_chunks(format!("1{}", ";a".repeat(200)), Some(400));
}

#[test]
fn s7_1_1_extensions_are_well_formed_and_bounded() {
    for line in ["1;a", "1;a=b", "1;a=b;c", "1;a=\"b;\\\"\t\"", "1;a=\"\""] {
        check_chunks(format!("{line}\r\nx\r\n0;z\r\n\r\n"), None);
    }
    for line in [
        "1;",
        "1;;a",
        "1;a=",
        "1 ;a",
        "1; a",
        "1;a =b",
        "1;a=\"b",
        "1;a=\"b\"c",
        "1;a\rb",
        "1;a=\"\x01\"",
        "1,a",
        "1;a=\"\\",
    ] {
        check_chunks(format!("{line}\r\nx\r\n0\r\n\r\n"), Some(400));
    }
    let chunk = format!("1;{}\r\nx\r\n", "a".repeat(200));
    check_chunks(chunk.repeat(20) + "0\r\n\r\n", None);
    check_chunks(chunk.repeat(21) + "0\r\n\r\n", Some(400));
}

#[test]
fn s7_1_2_trailers_are_fields_that_may_come_late() {
    check_chunks("0\r\nX-Checksum: a\r\nETag: \"b\"\r\n\r\n", None);
    for line in [
        "Host: b",
        "content-length: 5",
        "Transfer-Encoding: chunked",
        "Authorization: x",
        "X-Forwarded-For: x",
        "Cookie: a",
        "Trailer: x",
        "Connection: close",
        "If-Match: x",
        "X: a\n",
        "X : a",
        " X: a",
        "X",
        "X: \0",
    ] {
        check_chunks(format!("0\r\n{line}\r\n\r\n"), Some(400));
    }
    check_chunks(format!("0\r\n{}\r\n", "X: a\r\n".repeat(101)), Some(400));
    check_chunks(format!("0\r\nX: {}\r\n\r\n", "a".repeat(9_000)), Some(400));
}

#[test]
fn sizes_are_bounded() {
    check(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5_000)), Some(414));
    check(format!("GET /{}", "a".repeat(5_000)), Some(414));
    check_fields(&format!("X: {}\r\n", "a".repeat(5_000)), Some(431));
    let exactly = LIMITS.head_bytes_max - "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    check_fields(&format!("X: {}\r\n", "a".repeat(exactly)), None);
    check_fields(&format!("X: {}\r\n", "a".repeat(exactly + 1)), Some(431));
    let mut screen = RequestScreen::new(ScreenLimits { head_bytes_max: 1 << 20 });
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(TARGET_BYTES_MAX));
    assert!(
        matches!(screen.feed(long.as_bytes()).then, ScreenStep::RefuseHead(refusal) if refusal.status.as_u16() == 414)
    );
}

#[test]
fn bytes_before_a_refused_head_pass_and_nothing_after_it() {
    let sound = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    let stream = format!("{sound}{sound}GET /x HTTP/1.1\n\n{sound}");
    let summary = feed(stream.as_bytes(), &[]);
    assert_eq!(summary, ScreenSummary { passed: 2 * sound.len(), heads: 2, refusal: Some(StatusCode::BAD_REQUEST) });
}

#[test]
fn rfc9110_s7_8_after_an_upgrade_request_its_response_is_awaited() {
    let mut screen = RequestScreen::new(LIMITS);
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let stream = format!("{upgrade}\x01\x02 anything");
    assert_eq!(screen.feed(stream.as_bytes()), ScreenResult { pass_bytes: upgrade.len(), then: ScreenStep::Wait });
    assert_eq!(screen.feed(b"\x01\x02 anything"), ScreenResult { pass_bytes: 0, then: ScreenStep::Wait });
    assert!(screen.resume() && !screen.resume());
    assert!(matches!(screen.feed(b"\x01\x02 anything").then, ScreenStep::RefuseHead(_)));
    for plain in ["Connection: upgrade\r\n", "Upgrade: websocket\r\n", "Connection: upgraded\r\nUpgrade: a\r\n"] {
        assert_eq!(
            RequestScreen::new(LIMITS).feed(format!("GET / HTTP/1.1\r\nHost: a\r\n{plain}\r\n").as_bytes()).then,
            ScreenStep::More
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn splitting_a_stream_changes_nothing(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\n", "Host: a\r\n", "\r\n", "Content-Length: 3\r\n", "abc", "Transfer-Encoding: chunked\r\n",
            "3\r\n", "0\r\n", "X: y\r\n", "\r", "\n", "Connection: upgrade\r\n", "Upgrade: w\r\n", "1;a=b\r\n", "z",
        ]), 0..24),
        cuts in prop::collection::vec(0..300_usize, 0..12),
    ) {
        let stream = pieces.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < stream.len()).collect();
        cuts.sort_unstable();
        prop_assert_eq!(feed(&stream, &cuts), feed(&stream, &[]));
    }
}
