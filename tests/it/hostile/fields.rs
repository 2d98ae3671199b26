//! Field lines: names, values, folding, controls.

use super::{Case, bad, get, judge, passed};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(bad(
        "RFC 9112 §5.1",
        [
            "X : a\r\n",
            "X\t: a\r\n",
            "X\u{b}: a\r\n",
            " X: a\r\n",
            "\tX: a\r\n",
            ": a\r\n",
            " : a\r\n",
            "X\r\n",
            "X\r\n: a\r\n",
            "\0: a\r\n",
            "GET / HTTP/1.1\r\n",
        ]
        .map(get),
    ));
    all.extend(bad(
        "RFC 9112 §5.2",
        ["X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "X: a\r\n \r\n", "X:\r\n a\r\n", "X: a\r\n  b\r\n c\r\n"].map(get),
    ));
    all.extend(bad(
        "RFC 9110 §5.1",
        [
            "X Y: a\r\n",
            "X(: a\r\n",
            "X\"Y\": a\r\n",
            "X\": a\r\n",
            "\": a\r\n",
            "X/Y: a\r\n",
            "X@Y: a\r\n",
            "X[0]: a\r\n",
            "X\\Y: a\r\n",
            "{X}: a\r\n",
            "X,Y: a\r\n",
            "X;Y: a\r\n",
            "X=Y: a\r\n",
            "X?Y: a\r\n",
            "<X>: a\r\n",
            "X\u{e9}: a\r\n",
            "X\u{7f}: a\r\n",
            "X\u{a0}: a\r\n",
        ]
        .map(get),
    ));
    all.extend(bad(
        "RFC 9110 §5.5",
        [
            "X: \0\r\n",
            "X: a\0b\r\n",
            "X: \u{1}\r\n",
            "X: \u{8}\r\n",
            "X: \u{b}\r\n",
            "X: \u{c}\r\n",
            "X: \u{1b}[0m\r\n",
            "X: \u{1f}\r\n",
            "X: \u{7f}\r\n",
            "X: a\rb\r\n",
            "X: a\nY: b\r\n",
            "X: a\r\r\n",
            "X: a\r\n\rY: b\r\n",
            "X:\u{b}a\r\n",
            "Cookie: a\0=b\r\n",
            "Host\0: b\r\n",
        ]
        .map(get),
    ));
    for lines in [
        "X:\r\n",
        "X: \r\n",
        "X:a\r\n",
        "X: \t a \t \r\n",
        "X: a\tb\r\n",
        "X: a:b:c\r\n",
        "X: \u{e9}\u{20ac}\r\n",
        "!#$%&'*+-.^_`|~9: a\r\n",
        "X: \"a\\\"b\"\r\n",
        "X: a\r\nX: b\r\nx: c\r\n",
        "X::\r\n",
        "X: (a (b))\r\n",
    ] {
        all.push(passed("RFC 9110 §5.5", get(lines), "GET", "/", ""));
    }
    all
}

#[test]
fn fields() {
    judge(&cases());
}
