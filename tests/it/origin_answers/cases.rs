//! The cases: responses of the origin, each with the RFC's section and the effect that a client
//! observes.

use super::Observation::{Cut, Passed, PassedOnce, Refused, Unanswered};

use super::{AnswerCase, Observation};
use crate::harness::WEBSOCKET;

/// A response to a plain GET, on a connection that stays open.
pub(super) fn case(section: &'static str, answer: impl Into<Vec<u8>>, seen: Observation) -> AnswerCase {
    AnswerCase { section, method: "GET", fields: &[], answer: answer.into(), closes: false, seen }
}

/// A response after which the origin closes the connection.
fn closing(section: &'static str, answer: impl Into<Vec<u8>>, seen: Observation) -> AnswerCase {
    AnswerCase { closes: true, ..case(section, answer, seen) }
}

/// A 200 with these field lines, each with its line end, and this content.
pub(super) fn ok(lines: &str, content: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{lines}\r\n{content}")
}

/// A status line in front of an otherwise valid response.
fn status_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok").into()
}

pub(super) fn status_lines() -> Vec<AnswerCase> {
    let mut cases: Vec<_> = [
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\x01K",
        "HTTP/1.1 OK",
        "HTTP/1.1",
        "http/1.1 200 OK",
        "HTTP/11 200 OK",
        "HTTP/1.1.1 200 OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        "GET / HTTP/1.1",
        "SSH-2.0-OpenSSH_9.6",
        "{\"ok\": true}",
    ]
    .into_iter()
    .map(|line| case("§4", status_line(line), Refused))
    .collect();
    for version in ["HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "HTTP/2", "HTTP/3"] {
        cases.push(case("§2.3", status_line(&format!("{version} 200 OK")), Refused));
    }
    for status in ["000", "001", "099", "600", "999"] {
        cases.push(case("RFC 9110 §15", status_line(&format!("HTTP/1.1 {status} Odd")), Refused));
    }
    cases.push(closing("RFC 1945 §6 (HTTP/0.9)", "<html>hello</html>", Refused));
    cases.push(closing("RFC 1945 §6 (HTTP/0.9)", "hello", Refused));
    cases.push(case("§4", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], Refused));
    cases.push(closing("§8", "", Unanswered));
    cases.push(closing("§8", "HTTP/1.1 20", Unanswered));
    cases.push(closing("§8", "HTTP/1.1 200 OK\r\nContent-Len", Unanswered));
    cases.push(case("§4", status_line("HTTP/1.1 200"), Passed(200, "ok")));
    cases.push(case("§4", status_line("HTTP/1.1 200 "), Passed(200, "ok")));
    cases.push(case("§4", status_line("HTTP/1.1 299 Odd"), Passed(299, "ok")));
    cases.push(case("§4", status_line("HTTP/1.1 599 Odd"), Passed(599, "ok")));
    cases.push(case("§9.3", status_line("HTTP/1.0 200 OK"), PassedOnce(200, "ok")));
    cases
}

pub(super) fn field_lines() -> Vec<AnswerCase> {
    let length = "Content-Length: 2\r\n";
    let mut cases: Vec<_> = [
        ("§5", "no colon\r\n"),
        ("§5", ": no name\r\n"),
        ("§5.1", "A : b\r\n"),
        ("§5.1", "A\t: b\r\n"),
        ("§5.1", "Content-Length : 2\r\n"),
        ("§5.2", "A: b\r\n c\r\n"),
        ("§5.2", "A: b\r\n\tc\r\n"),
        ("§5.2", "A: b\r\n \r\n"),
        ("RFC 9110 §5.1", "A b: c\r\n"),
        ("RFC 9110 §5.1", "A(b): c\r\n"),
        ("RFC 9110 §5.1", "Ä: c\r\n"),
        ("RFC 9110 §5.1", "A\0: c\r\n"),
        ("RFC 9110 §5.5", "A: b\0c\r\n"),
        ("RFC 9110 §5.5", "A: b\x01c\r\n"),
        ("RFC 9110 §5.5", "A: b\x7fc\r\n"),
        ("§2.2", "A: b\n"),
        ("§2.2", "A: b\nC: d\r\n"),
        ("§2.2", "A: b\rC: d\r\n"),
        ("§2.2", "A: b\r\r\n"),
    ]
    .into_iter()
    .map(|(section, line)| case(section, ok(&format!("{line}{length}"), "ok"), Refused))
    .collect();
    cases.push(case(
        "§2.2",
        ok(&format!(" A: b\r\n{length}"), "ok").replacen("Cache-Control: max-age=60\r\n", "", 1),
        Refused,
    ));
    cases.push(case("§2.2", ok(length, "ok").replace("\r\n", "\n"), Refused));
    cases.push(case("§2.2", format!("HTTP/1.1 200 OK\r\n{length}\nok"), Refused));
    cases.push(case("RFC 9110 §5.4", ok(&format!("{}{length}", "A: b\r\n".repeat(101)), "ok"), Refused));
    cases.push(case("RFC 9110 §5.4", ok(&format!("A: {}\r\n{length}", "b".repeat(300_000)), "ok"), Refused));
    let obs_text = [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: caf\xe9\r\n\r\nok"[..]].concat();
    cases.push(case("RFC 9110 §5.5", obs_text, Passed(200, "ok")));
    cases.push(case("RFC 9110 §5.5", ok(&format!("A:\r\nB:  \t c \t\r\n{length}"), "ok"), Passed(200, "ok")));
    cases
}

pub(super) fn lengths() -> Vec<AnswerCase> {
    let chunked = "2\r\nok\r\n0\r\n\r\n";
    let mut cases: Vec<_> = [
        "",
        "x",
        "+2",
        "-2",
        "0x2",
        "2 2",
        "2.0",
        "2;",
        "2,",
        ",2",
        "2, 3",
        "\u{ff12}",
        "18446744073709551616",
        "99999999999999999999999",
    ]
    .into_iter()
    .map(|length| case("§6.3 item 5", ok(&format!("Content-Length: {length}\r\n"), "ok"), Refused))
    .collect();
    cases.push(case("§6.3 item 5", ok("Content-Length: 2\r\nContent-Length: 3\r\n", "ok"), Refused));
    cases.push(case("§6.3 item 5", ok("Content-Length: 3\r\nContent-Length: 2\r\n", "ok"), Refused));
    cases.push(case("§6.3 item 5", ok("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), Passed(200, "ok")));
    cases.push(case("§6.3 item 5", ok("Content-Length: 2, 2\r\n", "ok"), Passed(200, "ok")));
    cases.push(case("RFC 9110 §8.6", ok("Content-Length: 002\r\n", "ok"), Passed(200, "ok")));
    for lines in
        ["Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 12\r\n"]
    {
        cases.push(case("§6.3 item 3", ok(lines, chunked), Refused));
        cases.push(AnswerCase { method: "HEAD", ..case("§6.3 item 3", ok(lines, ""), Refused) });
    }
    for coding in [
        "",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;a=b",
        "xchunked",
        "chunked x",
        "\u{b}chunked",
    ] {
        cases.push(case("§6.1", ok(&format!("Transfer-Encoding: {coding}\r\n"), chunked), Refused));
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    cases.push(case("§6.1", ok(twice, chunked), Refused));
    cases.push(case("§6.1", ok("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", chunked), Refused));
    let old = ok("Transfer-Encoding: chunked\r\n", chunked).replacen("1.1", "1.0", 1);
    cases.push(case("§6.1", old, Refused));
    let empty = |lines: &str, content: &str| format!("HTTP/1.1 204 No Content\r\n{lines}\r\n{content}");
    cases.push(case("§6.1", empty("Transfer-Encoding: chunked\r\n", chunked), Refused));
    cases.push(case("RFC 9110 §8.6", empty("Content-Length: 2\r\n", "ok"), Refused));
    cases.push(case("RFC 9110 §8.6", empty("Content-Length: 0\r\n", ""), Passed(204, "")));
    cases.push(AnswerCase { method: "HEAD", ..case("§6.3 item 5", ok("Content-Length: x\r\n", ""), Refused) });
    cases.push(AnswerCase { method: "HEAD", ..case("§6.3 item 5", ok("Content-Length: 2, 3\r\n", ""), Refused) });
    cases.push(case("§7.1", ok("Transfer-Encoding: Chunked\r\n", chunked), Passed(200, "ok")));
    cases.push(closing("§6.3 item 8", ok("", "until the end"), PassedOnce(200, "until the end")));
    cases.push(closing(
        "§6.3 item 4",
        ok("Transfer-Encoding: unheard-of\r\n", "as it is"),
        PassedOnce(200, "as it is"),
    ));
    cases
}

pub(super) fn unasked() -> Vec<AnswerCase> {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let good = ok("Content-Length: 2\r\n", "ok");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let other = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    let silent = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n";
    let asked: &[_] = &WEBSOCKET;
    let partial = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: bytes 0-1/2\r\n\
                   Content-Length: 2\r\n\r\nok";
    let confirmed = "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\r\n";
    vec![
        case("RFC 9110 §7.8", switch, Refused),
        case("RFC 9110 §7.8", format!("{switch}{good}"), Refused),
        case("RFC 9110 §7.8", format!("{early}{switch}"), Refused),
        AnswerCase { fields: asked, ..case("RFC 9110 §7.8", other, Refused) },
        AnswerCase { fields: asked, ..case("RFC 9110 §7.8", silent, Refused) },
        case("RFC 9110 §15.3.7", partial, Refused),
        case("RFC 9110 §15.3.7", partial.replace("bytes 0-1/2", "bytes 0-1/9"), Refused),
        case("RFC 9110 §15.3.7", partial.replace("Content-Range: bytes 0-1/2\r\n", ""), Refused),
        AnswerCase { fields: &[("Range", "bytes=0-1")], ..case("RFC 9110 §15.3.7", partial, Passed(206, "ok")) },
        case("RFC 9110 §15.4.5", confirmed, Refused),
        case("RFC 9110 §15.4.5", format!("{confirmed}ok"), Refused),
        AnswerCase { fields: &[("If-None-Match", "\"1\"")], ..case("RFC 9110 §15.4.5", confirmed, Passed(304, "")) },
        case("RFC 9110 §15.2", early.repeat(10_000), Refused),
        case("RFC 9110 §15.2", format!("{}{good}", early.repeat(101)), Refused),
        case("RFC 9110 §15.2", format!("{}{good}", early.repeat(100)), Passed(200, "ok")),
        case("RFC 9110 §15.2", format!("HTTP/1.1 100 Continue\r\n\r\n{good}"), Passed(200, "ok")),
        case("RFC 9110 §15.2", format!("HTTP/1.1 103 Early Hints\n\n{good}"), Refused),
        closing("RFC 9110 §15.2", early, Unanswered),
    ]
}

/// Bytes beyond the announced length: they answer no request.
pub(super) fn excess() -> Vec<AnswerCase> {
    let smuggled = ok("Content-Length: 8\r\n", "smuggled");
    vec![
        case("§6.3 item 6", ok("Content-Length: 2\r\n", "ok and more"), PassedOnce(200, "ok")),
        case("§6.3 item 6", ok("Content-Length: 2\r\n", &format!("ok{smuggled}")), PassedOnce(200, "ok")),
        case("§6.3 item 6", ok("Content-Length: 0\r\n", &smuggled), PassedOnce(200, "")),
        case(
            "§7.1",
            ok("Transfer-Encoding: chunked\r\n", &format!("2\r\nok\r\n0\r\n\r\n{smuggled}")),
            PassedOnce(200, "ok"),
        ),
        case("§6.3 item 1", format!("HTTP/1.1 204 No Content\r\n\r\n{smuggled}"), PassedOnce(204, "")),
        AnswerCase {
            fields: &[("If-None-Match", "\"1\"")],
            ..case(
                "§6.3 item 1",
                format!("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n{smuggled}"),
                PassedOnce(304, ""),
            )
        },
    ]
}

/// Content that breaks its framing once the head is out.
pub(super) fn contents() -> Vec<AnswerCase> {
    let mut cases: Vec<_> = [
        "x\r\n",
        "-2\r\nok\r\n",
        "+2\r\nok\r\n",
        "0x2\r\nok\r\n",
        "2 2\r\nok\r\n",
        "\r\n2\r\nok\r\n",
        "2\nok\n0\n\n",
        "2\r\nokX",
        "2\r\nok\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "ffffffffffffffffff\r\nok\r\n",
        "2\0\r\nok\r\n",
        "2\r\nok\r\n0\r\nno colon\r\n\r\n",
        "2\r\nok\r\n0\r\nA: b\0\r\n\r\n",
    ]
    .into_iter()
    .map(|content| case("§7.1", ok("Transfer-Encoding: chunked\r\n", content), Cut))
    .collect();
    let endless = format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(100_000));
    cases.push(case("§7.1.1", ok("Transfer-Encoding: chunked\r\n", &endless), Cut));
    for content in ["", "2", "2\r\n", "2\r\nok", "2\r\nok\r\n", "2\r\nok\r\n0\r\n"] {
        cases.push(closing("§8", ok("Transfer-Encoding: chunked\r\n", content), Cut));
    }
    for content in ["", "o"] {
        cases.push(closing("§8", ok("Content-Length: 2\r\n", content), Cut));
    }
    cases
}
