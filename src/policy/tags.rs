//! The tags that an origin names its responses by, so that they can be purged together (RFC 9875, and what CDNs made
//! common before it).

use http::{HeaderMap, HeaderName};

/// The fields that name tags. `Cache-Groups` is a list of quoted strings (RFC 9875 §2), the others are lists of words.
const GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const COMMA_SEPARATED: HeaderName = HeaderName::from_static("cache-tag");
const SPACE_SEPARATED: [HeaderName; 2] = [HeaderName::from_static("surrogate-key"), HeaderName::from_static("xkey")];

/// Returns the tags of a response, exact, each once, none empty.
pub fn parse(headers: &HeaderMap) -> Box<[Box<str>]> {
    let mut tags: Vec<Box<str>> = Vec::new();
    let mut add = |tag: &str| {
        if !tag.is_empty() && !tags.iter().any(|known| **known == *tag) {
            tags.push(tag.into());
        }
    };
    for value in lines(headers, &GROUPS) {
        if let Ok(list) = sfv::Parser::new(value).parse::<sfv::List>() {
            for member in list {
                if let sfv::ListEntry::Item(item) = member
                    && let sfv::BareItem::String(tag) = item.bare_item
                {
                    add(tag.as_str());
                }
            }
        }
    }
    for value in lines(headers, &COMMA_SEPARATED) {
        value.split(',').map(str::trim).for_each(&mut add);
    }
    for name in &SPACE_SEPARATED {
        for value in lines(headers, name) {
            value.split_ascii_whitespace().for_each(&mut add);
        }
    }
    tags.into_boxed_slice()
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
        headers.append("cache-groups", HeaderValue::from_static(r#""shop", "a b";x=1, token"#));
        headers.append("cache-tag", HeaderValue::from_static("one, two words,, shop"));
        headers.append("surrogate-key", HeaderValue::from_static("three  four"));
        headers.append("xkey", HeaderValue::from_static("four"));
        headers.append("xkey", HeaderValue::from_static("five"));
        let tags = parse(&headers);
        let tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
        assert_eq!(tags, ["shop", "a b", "one", "two words", "three", "four", "five"]);
        assert!(parse(&HeaderMap::new()).is_empty());
    }
}
