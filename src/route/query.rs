//! The query parameters of a key, chosen by patterns of their names.

use crate::key::CanonicalUrl;

/// The query parameters that a key keeps. All others are dropped from the origin's request too.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum QueryRule {
    /// All parameters, in order of arrival.
    #[default]
    All,
    /// No parameter.
    None,
    /// Parameters whose name matches one of these patterns (`*` stands for any run of characters).
    Keep(Box<[Box<str>]>),
    /// Parameters whose name matches none of these patterns.
    Drop(Box<[Box<str>]>),
}

impl QueryRule {
    /// Returns `url` with the parameters that the rule keeps. Names are compared percent-decoded
    /// and case-sensitively.
    pub fn apply(&self, url: CanonicalUrl) -> CanonicalUrl {
        let any = |patterns: &[Box<str>], name: &str| patterns.iter().any(|pattern| wildcard(pattern, name));
        match self {
            Self::All => url,
            Self::None => url.without_query(),
            Self::Keep(patterns) => url.retain_query(|name| any(patterns, name)),
            Self::Drop(patterns) => url.retain_query(|name| !any(patterns, name)),
        }
    }
}

/// Returns whether `name` matches `pattern`, in which each `*` stands for any run of characters.
pub fn wildcard(pattern: &str, name: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    // Each inner piece matches at its first occurrence, which leaves the most text for the rest.
    while let Some((piece, rest)) = pattern.split_once('*') {
        let Some(at) = name.find(piece) else { return false };
        name = &name[at + piece.len()..];
        pattern = rest;
    }
    name.ends_with(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    #[test]
    fn wildcards_stand_for_any_run() {
        for (pattern, yes, no) in [
            ("a", &["a"][..], &["", "ab", "A"][..]),
            ("*", &["", "a", "utm_x"], &[]),
            ("utm_*", &["utm_", "utm_source"], &["utm", "xutm_a"]),
            ("*_id", &["_id", "a_id_id"], &["_idx", "id"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc", "abcbc"], &["ac", "acb", "abcd"]),
            ("ab*ba", &["abba", "ab1ba"], &["aba"]),
        ] {
            assert!(yes.iter().all(|name| wildcard(pattern, name)), "{pattern}");
            assert!(!no.iter().any(|name| wildcard(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn a_query_rule_keeps_order_and_spelling() {
        let names = |list: &[&str]| list.iter().map(|&name| name.into()).collect();
        for (rule, query, expected) in [
            (QueryRule::All, "?b=2&a=1&&", "?b=2&a=1&&"),
            (QueryRule::None, "?b=2", ""),
            (QueryRule::None, "?", ""),
            (QueryRule::None, "", ""),
            (QueryRule::Keep(names(&["a", "c"])), "?c=%2f&b=2&a=1&a", "?c=%2F&a=1&a"),
            (QueryRule::Keep(names(&["a[*"])), "?a%5B%5D=1&a[]=2&A[=3", "?a%5B%5D=1&a[]=2"),
            (QueryRule::Keep(names(&["x"])), "?a=x", ""),
            (QueryRule::Drop(names(&["utm_*"])), "?utm_a=1&b=utm_&%75tm_c=3", "?b=utm_"),
            (QueryRule::Drop(names(&["utm_*"])), "?utm_a=1", ""),
            (QueryRule::Drop(names(&["utm_*"])), "?", "?"),
        ] {
            let found = rule.apply(url(&format!("http://x.org/p{query}")));
            assert_eq!(found.path_and_query(), format!("/p{expected}"), "{rule:?} {query}");
            assert_eq!(found, url(found.as_str()), "the layout fits the text");
        }
    }
}
