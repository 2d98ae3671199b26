//! Comma lists (RFC 9110 §5.6.1), and fields that have one line or several.
//!
//! The functions know no quoted strings: a comma inside of one ends a member. Cache-Control, Vary's
//! normalised values and entity-tags, in which quoted commas occur, have readers of their own.

use http::header::{AsHeaderName, HeaderMap, HeaderValue};

/// The lines of a field that should have at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldLines<'a> {
    /// The field is absent.
    None,
    /// The field has one line: its value as written.
    One(&'a HeaderValue),
    /// The field has several lines.
    Several,
}

impl<'a> FieldLines<'a> {
    /// Finds the lines of the field `name`.
    pub(crate) fn of(headers: &'a HeaderMap, name: impl AsHeaderName) -> Self {
        let mut lines = headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (None, _) => Self::None,
            (Some(line), None) => Self::One(line),
            (Some(_), Some(_)) => Self::Several,
        }
    }
}

/// Iterates over the members of one line: trimmed, without the empty ones, which a recipient
/// ignores (RFC 9110 §5.6.1.2).
pub(crate) fn members(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    members_or_gaps(line).filter(|member| !member.is_empty())
}

/// Iterates over the members of one line, the empty ones included: for fields in which an empty
/// member is a fault, such as Content-Length.
pub(crate) fn members_or_gaps(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Iterates over the members of all lines of the field `name` (RFC 9110 §5.3).
pub(crate) fn field_members(headers: &HeaderMap, name: impl AsHeaderName) -> impl DoubleEndedIterator<Item = &[u8]> {
    headers.get_all(name).into_iter().flat_map(|line| members(line.as_bytes()))
}

/// Tells whether the field `name` lists `member`, in any case.
pub(crate) fn lists(headers: &HeaderMap, name: impl AsHeaderName, member: &[u8]) -> bool {
    field_members(headers, name).any(|listed| listed.eq_ignore_ascii_case(member))
}

/// Returns the trimmed value of a field that has exactly one line; `None` if it has none or
/// several.
pub(crate) fn only_line(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&[u8]> {
    match FieldLines::of(headers, name) {
        FieldLines::One(line) => Some(line.as_bytes().trim_ascii()),
        FieldLines::None | FieldLines::Several => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderValue, VARY};

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(VARY, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn s5_6_1_2_members_are_trimmed_and_empty_ones_ignored() {
        let check = |line: &str, expected: &[&str]| {
            let found: Vec<_> = members(line.as_bytes()).map(|member| std::str::from_utf8(member).unwrap()).collect();
            assert_eq!(found, expected, "{line:?}");
        };
        check("", &[]);
        check(" ,\t, ", &[]);
        check("a", &["a"]);
        check(" a b ,,\tc\t,", &["a b", "c"]);
        check("\"a,b\"", &["\"a", "b\""]);
        assert!(members(b"a, b,, c").rev().eq([b"c", b"b", b"a"]));
        assert!(members_or_gaps(b"a,, b ").eq([&b"a"[..], b"", b"b"]));
        assert!(members_or_gaps(b"").eq([b""]));
    }

    #[test]
    fn s5_3_lines_are_one_list() {
        let both = headers(&["a, b", "", "C"]);
        assert!(field_members(&both, VARY).eq([b"a", b"b", b"C"]));
        assert!(lists(&both, VARY, b"c") && lists(&both, "vary", b"B") && !lists(&both, VARY, b"d"));
        assert_eq!(only_line(&both, VARY), None);
        assert_eq!(only_line(&headers(&["\ta "]), VARY), Some(&b"a"[..]));
        assert_eq!(only_line(&headers(&[]), VARY), None);
        assert_eq!(FieldLines::of(&both, VARY), FieldLines::Several);
        assert_eq!(FieldLines::of(&headers(&["a "]), VARY), FieldLines::One(&HeaderValue::from_static("a ")));
        assert_eq!(FieldLines::of(&headers(&[]), VARY), FieldLines::None);
    }
}
