//! Entity-tags (RFC 9110 §8.8.3).

use http::header::{self, HeaderMap};

/// A well-formed entity-tag. What is malformed is none: it could not be listed in If-None-Match safely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredTag<'a> {
    /// As it was written, with `W/` and quotes.
    pub(crate) text: &'a [u8],
    /// Whether it is weak.
    pub(crate) is_weak: bool,
}

impl<'a> StoredTag<'a> {
    /// Parses an entity-tag.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let opaque = text.strip_prefix(b"W/");
        let inside = opaque.unwrap_or(text).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let is_tag = inside.iter().all(|byte| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..));
        is_tag.then_some(Self { text, is_weak: opaque.is_some() })
    }

    /// Returns the entity-tag of a response; `None` where there is not exactly one.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(header::ETAG).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.as_bytes()),
            _ => None,
        }
    }

    /// Compares weakly: the same but for `W/` (RFC 9110 §8.8.3.2).
    pub(crate) fn is_like(self, other: StoredTag<'_>) -> bool {
        fn opaque<'a>(tag: StoredTag<'a>) -> &'a [u8] {
            tag.text.strip_prefix(b"W/").unwrap_or(tag.text)
        }
        opaque(self) == opaque(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_8_3_what_is_an_entity_tag() {
        for (text, expected) in [
            (&b"\"abc\""[..], Some(false)),
            (b"W/\"abc\"", Some(true)),
            (b"\"\"", Some(false)),
            (b"\"a,b\xfc\"", Some(false)),
            (b"abc", None),
            (b"w/\"abc\"", None),
            (b"W\\\"abc\"", None),
            (b"W\"abc\"", None),
            (b"\"a\"b\"", None),
            (b"\"a b\"", None),
            (b"\"", None),
            (b"", None),
        ] {
            assert_eq!(StoredTag::parse(text).map(|tag| tag.is_weak), expected, "{text:?}");
        }
    }

    #[test]
    fn s8_8_3_2_weak_comparison() {
        let tag = |text: &'static str| StoredTag::parse(text.as_bytes()).unwrap();
        assert!(tag("W/\"1\"").is_like(tag("\"1\"")));
        assert!(tag("W/\"1\"").is_like(tag("W/\"1\"")));
        assert!(!tag("\"1\"").is_like(tag("\"2\"")));
    }
}
