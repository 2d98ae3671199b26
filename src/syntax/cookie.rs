//! The request's cookies (RFC 6265 §4.2.1).

use http::header::{self, HeaderMap};

/// One cookie of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie<'a> {
    /// The whole pair, trimmed.
    pub pair: &'a [u8],
    /// The name: the text before the first `=`, trimmed.
    pub name: &'a [u8],
    /// The value: the text behind the first `=`, trimmed; `None` if there is no `=`. Apps disagree
    /// about such a pair: for some it is a name with an empty value, for others a value without a
    /// name.
    pub value: Option<&'a [u8]>,
}

/// Iterates over the cookies of one Cookie line. Empty pairs are left out.
pub(crate) fn cookies_of(line: &[u8]) -> impl Iterator<Item = Cookie<'_>> {
    line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = match equals {
            Some(at) => (&pair[..at], Some(pair[at + 1..].trim_ascii_start())),
            None => (pair, None),
        };
        Cookie { pair, name: name.trim_ascii_end(), value }
    })
}

/// Iterates over the cookies of all Cookie lines: HTTP/2 splits them into lines (RFC 9113 §8.2.3).
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = Cookie<'_>> {
    headers.get_all(header::COOKIE).into_iter().flat_map(|line| cookies_of(line.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn rfc6265_s4_2_1_pairs_are_split_at_semicolons_and_the_first_equals_sign() {
        let read = |line: &'static str| -> Vec<_> {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            let cookies = cookies_of(line.as_bytes());
            cookies.map(|cookie| (text(cookie.pair), text(cookie.name), cookie.value.map(text))).collect()
        };
        assert_eq!(read("a=1; b=2=3"), [("a=1", "a", Some("1")), ("b=2=3", "b", Some("2=3"))]);
        assert_eq!(read(" ;; a = \"x\" ;b="), [("a = \"x\"", "a", Some("\"x\"")), ("b=", "b", Some(""))]);
        assert_eq!(read("flag;=v"), [("flag", "flag", None), ("=v", "", Some("v"))]);
        assert_eq!(read(""), []);
    }

    #[test]
    fn rfc9113_s8_2_3_all_lines_count() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; b=2"));
        headers.append(header::COOKIE, HeaderValue::from_static("a=3"));
        assert!(cookies(&headers).map(|cookie| cookie.pair).eq([b"a=1", b"b=2", b"a=3"]));
    }
}
