//! Entity-tags (RFC 9110 §8.8.3): the one parser, and the two comparisons.
//!
//! The grammar is the RFC's: between the quotes stands no space, no control character and no quote.
//! A text that does not fit is no entity-tag, whoever sent it: it validates nothing, matches
//! nothing, and is never sent to an origin, where it could break the list that it stands in.

use http::header::{self, HeaderMap};

use super::list;

/// A well-formed entity-tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    /// The tag as it was written, with `W/` and quotes.
    text: &'a [u8],
}

/// The two comparisons of RFC 9110 §8.8.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagComparison {
    /// Both tags are strong, and their opaque-tags are equal.
    Strong,
    /// Their opaque-tags are equal.
    Weak,
}

impl<'a> EntityTag<'a> {
    /// Parses `value`, but for white space around it, as one entity-tag.
    pub(crate) fn parse(value: &'a [u8]) -> Option<Self> {
        Self::split_first(value.trim_ascii()).filter(|(_, rest)| rest.is_empty()).map(|(tag, _)| tag)
    }

    /// Parses the entity-tag at the start of `text`, and returns it with the text that follows.
    /// `W/` is case-sensitive.
    pub(crate) fn split_first(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let is_etagc = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        let opaque = text.strip_prefix(b"W/").unwrap_or(text);
        let inside = opaque.strip_prefix(b"\"")?;
        let end = inside.iter().position(|byte| !is_etagc(byte)).filter(|end| inside[*end] == b'"')?;
        let rest = &inside[end + 1..];
        Some((Self { text: &text[..text.len() - rest.len()] }, rest))
    }

    /// Returns the entity-tag of a response; `None` if there is not exactly one.
    pub(crate) fn of(headers: &'a HeaderMap) -> Option<Self> {
        list::only_line(headers, header::ETAG).and_then(Self::parse)
    }

    /// Returns the entity-tag in the `lines` of an ETag field; `None` if there is not exactly one.
    pub(crate) fn only(mut lines: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line),
            _ => None,
        }
    }

    /// Returns the tag as it was written, with `W/` and quotes.
    pub(crate) fn text(self) -> &'a [u8] {
        self.text
    }

    /// Tells whether the tag is weak.
    pub(crate) fn is_weak(self) -> bool {
        self.text[0] == b'W'
    }

    /// Compares two tags (RFC 9110 §8.8.3.2).
    pub(crate) fn matches(self, other: EntityTag<'_>, comparison: TagComparison) -> bool {
        let both_strong = !self.is_weak() && !other.is_weak();
        self.opaque() == other.opaque() && (both_strong || comparison == TagComparison::Weak)
    }

    /// Returns the opaque-tag, with its quotes.
    fn opaque(self) -> &'a [u8] {
        self.text.strip_prefix(b"W/").unwrap_or(self.text)
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
            (b" \"a\"\t", Some(false)),
            (b"abc", None),
            (b"w/\"abc\"", None),
            (b"W\\\"abc\"", None),
            (b"W\"abc\"", None),
            (b"\"a\"b\"", None),
            (b"\"a\" \"b\"", None),
            (b"\"a b\"", None),
            (b"\"a\x7f\"", None),
            (b"\"a", None),
            (b"\"", None),
            (b"", None),
        ] {
            assert_eq!(EntityTag::parse(text).map(EntityTag::is_weak), expected, "{text:?}");
        }
    }

    #[test]
    fn s8_8_3_the_first_of_a_list_is_split_off() {
        let (tag, rest) = EntityTag::split_first(b"W/\"a,\", \"b\"").unwrap();
        assert_eq!((tag.text(), rest), (&b"W/\"a,\""[..], &b", \"b\""[..]));
        assert!(EntityTag::split_first(b" \"a\"").is_none());
    }

    #[test]
    fn s8_8_3_2_strong_and_weak_comparison() {
        let tag = |text: &'static str| EntityTag::parse(text.as_bytes()).unwrap();
        let check = |one, other, strong, weak| {
            let found = [TagComparison::Strong, TagComparison::Weak].map(|by| tag(one).matches(tag(other), by));
            assert_eq!(found, [strong, weak], "{one} {other}");
        };
        check("W/\"1\"", "W/\"1\"", false, true);
        check("W/\"1\"", "W/\"2\"", false, false);
        check("W/\"1\"", "\"1\"", false, true);
        check("\"1\"", "\"1\"", true, true);
        check("\"1\"", "\"2\"", false, false);
    }
}
