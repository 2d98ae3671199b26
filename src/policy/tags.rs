//! The tags that an origin gives its responses, so that they can be purged together (RFC 9875, and
//! its predecessors at CDNs).
//!
//! There are two kinds. A *group* (`Cache-Groups`) belongs to the origin of its URL, so that one of
//! several apps cannot invalidate another's responses (RFC 9875 §2.1). A tag of `Surrogate-Key`,
//! `Cache-Tag` or `xkey` belongs to the whole deployment. Both are kept in one list; a group
//! carries a mark that tells them apart ([`group`]).

use http::{HeaderMap, HeaderName};

use crate::syntax::list;

/// The fields that name tags. `Cache-Groups` is a list of quoted strings (RFC 9875 §2), the others
/// are lists of words.
const GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const COMMA_SEPARATED: HeaderName = HeaderName::from_static("cache-tag");
const SPACE_SEPARATED: [HeaderName; 2] = [HeaderName::from_static("surrogate-key"), HeaderName::from_static("xkey")];

/// The groups that a response to an unsafe request invalidates in addition to its own URL (RFC 9875
/// §3).
const INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The mark in front of a group's name: no field value contains a line feed.
const GROUP_MARK: char = '\n';

/// Returns the distinct tags of a response, none empty; groups carry their mark.
pub fn parse(headers: &HeaderMap) -> Box<[Box<str>]> {
    // Most responses have no tags, and one look at each name costs less than four searches.
    if !headers.keys().any(names_tags) {
        return Box::default();
    }
    let mut tags: Vec<Box<str>> = Vec::new();
    for name in strings(headers, &GROUPS) {
        add(&mut tags, &format!("{GROUP_MARK}{name}"));
    }
    for value in lines(headers, &COMMA_SEPARATED) {
        list::members(value.as_bytes())
            .filter_map(|tag| std::str::from_utf8(tag).ok())
            .for_each(|tag| add(&mut tags, tag));
    }
    for name in &SPACE_SEPARATED {
        for value in lines(headers, name) {
            value.split_ascii_whitespace().for_each(|tag| add(&mut tags, tag));
        }
    }
    tags.into_boxed_slice()
}

fn names_tags(name: &HeaderName) -> bool {
    matches!(name.as_str(), "cache-groups" | "cache-tag" | "surrogate-key" | "xkey")
}

/// Returns the name of a stored response's group; `None` for a tag of the whole deployment.
pub fn group(tag: &str) -> Option<&str> {
    tag.strip_prefix(GROUP_MARK)
}

/// Returns the name of a stored response's tag, of either kind.
pub fn name(tag: &str) -> &str {
    group(tag).unwrap_or(tag)
}

/// Returns the distinct groups that `Cache-Group-Invalidation` names.
pub fn invalidated_groups(headers: &HeaderMap) -> Vec<Box<str>> {
    let mut groups = Vec::new();
    strings(headers, &INVALIDATION).iter().for_each(|group| add(&mut groups, group));
    groups
}

fn add(tags: &mut Vec<Box<str>>, tag: &str) {
    if !tag.is_empty() && !tags.iter().any(|known| **known == *tag) {
        tags.push(tag.into());
    }
}

/// Returns the strings of a list field (RFC 9651 §3.1), none empty, without members of other types
/// and parameters.
///
/// A line that is not a list loses only its own members: one tag too many purges a little too much,
/// but a missing tag could not be purged.
fn strings(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut found = Vec::new();
    for value in lines(headers, name) {
        for member in sfv::Parser::new(value).parse::<sfv::List>().unwrap_or_default() {
            if let sfv::ListEntry::Item(item) = member
                && let sfv::BareItem::String(string) = item.bare_item
                && !string.as_str().is_empty()
            {
                found.push(string.as_str().to_owned());
            }
        }
    }
    found
}

fn lines<'a>(headers: &'a HeaderMap, name: &'a HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn each_field_names_tags_in_its_own_way() {
        let mut headers = HeaderMap::new();
        headers.append("cache-groups", HeaderValue::from_static(r#""shop", "a b";x=1, token, ("inner"), "", "shop""#));
        headers.append("cache-groups", HeaderValue::from_static("\"open"));
        headers.append("cache-tag", HeaderValue::from_static("one, two words,, shop"));
        headers.append("surrogate-key", HeaderValue::from_static("three  four"));
        headers.append("xkey", HeaderValue::from_static("four"));
        headers.append("xkey", HeaderValue::from_static("five"));
        let tags = parse(&headers);
        let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
        assert_eq!(tags, ["\nshop", "\na b", "one", "two words", "shop", "three", "four", "five"]);
        assert_eq!((group(tags[0]), name(tags[0])), (Some("shop"), "shop"));
        assert_eq!((group(tags[4]), name(tags[4])), (None, "shop"));
        assert!(parse(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn rfc9875_s3_invalidation_is_a_list_of_strings() {
        let check = |lines: &[&'static str], expected: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("cache-group-invalidation", HeaderValue::from_static(line));
            }
            let found = invalidated_groups(&headers);
            assert_eq!(found.iter().map(|group| &**group).collect::<Vec<_>>(), expected, "{lines:?}");
        };
        check(&[r#""a", "b";p=1"#, r#""a", "c""#], &["a", "b", "c"]);
        check(&["a, b", "?1", "1", r#""open"#, r#""""#], &[]);
        check(&[], &[]);
    }
}
