//! The selectors of a purge, made canonical by the same code as keys.
//!
//! - `url`, `urls`: `http://host[:port]/path[?query]`. Covers every variant, whatever the route
//!   adds to the key. Query parameters that the route drops are dropped here too.
//! - `prefix`, `prefixes`: `host/path`, preceded by `http://` or `https://` to select one scheme.
//!   `/shop/` covers `/shop/` and everything below it, but neither `/shop` nor `/shopping`. `/shop`
//!   also covers `/shop` itself, with any query, but not `/shopping`.
//! - `host`, `hosts`: `host[:port]`. Covers every URL of the host, with either scheme.
//! - `tag`, `tags`: covers everything with exactly this tag, by `Surrogate-Key`, `Cache-Tag`,
//!   `xkey` or `Cache-Groups`, on every host.
//! - `all`: `true` covers everything.

use serde::Deserialize;

use crate::key::{CanonicalUrl, Scheme};
use crate::proxy::purge::PurgeTarget;
use crate::store::{PurgeKind, Selector};

/// The maximum number of targets in one request. Each takes a record of the ledger, which merges
/// its oldest records when there are many.
const TARGETS_MAX: usize = 1_000;

/// The maximum number of characters of a faulty value that an answer repeats.
const QUOTE_CHARS_MAX: usize = 200;

/// A purge as written in JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object of selectors")]
pub(super) struct PurgeRequest {
    url: Option<String>,
    urls: Option<Vec<String>>,
    prefix: Option<String>,
    prefixes: Option<Vec<String>>,
    host: Option<String>,
    hosts: Option<Vec<String>>,
    tag: Option<String>,
    tags: Option<Vec<String>>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    kind: KindName,
}

/// The names of the kinds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    #[default]
    Hard,
    Validate,
    Soft,
}

impl PurgeRequest {
    /// Returns the targets, at least one and at most [`TARGETS_MAX`], and the kind of the purge.
    ///
    /// # Errors
    /// The first fault.
    pub(super) fn read(self) -> Result<(Vec<PurgeTarget>, PurgeKind), String> {
        let mut targets = Vec::new();
        collect(("url", "urls"), (self.url, self.urls), &mut targets, url)?;
        collect(("prefix", "prefixes"), (self.prefix, self.prefixes), &mut targets, prefix)?;
        collect(("host", "hosts"), (self.host, self.hosts), &mut targets, host)?;
        collect(("tag", "tags"), (self.tag, self.tags), &mut targets, tag)?;
        if self.all {
            if !targets.is_empty() {
                return Err("`all` covers everything: leave out the other selectors, or `all`".to_owned());
            }
            targets.push(PurgeTarget::Wide(Selector::All));
        }
        if targets.is_empty() {
            return Err("nothing to purge: give `url`, `prefix`, `host`, `tag` (or `urls`, `prefixes`, `hosts`, \
                        `tags`), or `all`"
                .to_owned());
        }
        if targets.len() > TARGETS_MAX {
            return Err(format!("too many selectors: {} (at most {TARGETS_MAX})", targets.len()));
        }
        let kind = match self.kind {
            KindName::Hard => PurgeKind::Hard,
            KindName::Validate => PurgeKind::Validate,
            KindName::Soft => PurgeKind::Soft,
        };
        Ok((targets, kind))
    }
}

/// Reads the values of a field in its two forms.
fn collect(
    (one, many): (&str, &str),
    values: (Option<String>, Option<Vec<String>>),
    targets: &mut Vec<PurgeTarget>,
    read: fn(&str) -> Result<Vec<PurgeTarget>, String>,
) -> Result<(), String> {
    let values = match values {
        (Some(_), Some(_)) => return Err(format!("give `{one}` or `{many}`, not both")),
        (Some(value), None) => vec![value],
        (None, Some(values)) if values.is_empty() => return Err(format!("`{many}` is empty")),
        (None, values) => values.unwrap_or_default(),
    };
    if values.len() > TARGETS_MAX {
        return Err(format!("too many `{many}`: {} (at most {TARGETS_MAX})", values.len()));
    }
    for value in values {
        let quote: String = value.chars().take(QUOTE_CHARS_MAX).collect();
        targets.extend(read(&value).map_err(|error| format!("{quote:?} is not a valid {one}: {error}"))?);
    }
    Ok(())
}

fn url(text: &str) -> Result<Vec<PurgeTarget>, String> {
    Ok(vec![PurgeTarget::Url(CanonicalUrl::parse_absolute(text).map_err(|error| error.to_string())?)])
}

fn prefix(text: &str) -> Result<Vec<PurgeTarget>, String> {
    if text.contains(['?', '#']) {
        return Err("a prefix has no query".to_owned());
    }
    if text.ends_with('*') {
        return Err("`*` is not a wildcard here: end the prefix with `/`".to_owned());
    }
    if text.starts_with('/') {
        return Err(format!("it has no host; use example.org{text}"));
    }
    let read = |url: String| CanonicalUrl::parse_absolute(&url).map_err(|error| error.to_string());
    let urls = if text.contains("://") {
        vec![read(text.to_owned())?]
    } else {
        vec![read(format!("http://{text}"))?, read(format!("https://{text}"))?]
    };
    Ok(urls.iter().map(|url| PurgeTarget::Wide(Selector::Prefix(url.as_str().into()))).collect())
}

fn host(text: &str) -> Result<Vec<PurgeTarget>, String> {
    if text.contains("://") {
        return Err("it is a URL; give a host such as example.org:8080".to_owned());
    }
    let mut hosts: Vec<PurgeTarget> = Vec::with_capacity(2);
    // A key does not contain the default port of its scheme, so the canonical host depends on the
    // scheme.
    for scheme in [Scheme::Http, Scheme::Https] {
        let url = CanonicalUrl::new(scheme, text, "/").map_err(|error| error.to_string())?;
        let target = PurgeTarget::Wide(Selector::Host(url.authority().into()));
        if !hosts.contains(&target) {
            hosts.push(target);
        }
    }
    Ok(hosts)
}

fn tag(text: &str) -> Result<Vec<PurgeTarget>, String> {
    if text.is_empty() || text.trim() != text || !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err("a tag is printable ASCII, not empty, without spaces at its ends".to_owned());
    }
    Ok(vec![PurgeTarget::Wide(Selector::Tag(text.into()))])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<(Vec<PurgeTarget>, PurgeKind), String> {
        serde_json::from_str::<PurgeRequest>(text).unwrap().read()
    }

    /// Writes a target as a letter for its kind, and its text.
    fn target_text(target: &PurgeTarget) -> String {
        match target {
            PurgeTarget::Url(url) => format!("u:{}", url.as_str()),
            PurgeTarget::Wide(Selector::All) => "a:".to_owned(),
            PurgeTarget::Wide(Selector::Prefix(prefix)) => format!("p:{prefix}"),
            PurgeTarget::Wide(Selector::Host(host)) => format!("h:{host}"),
            PurgeTarget::Wide(Selector::Tag(tag)) => format!("t:{tag}"),
            PurgeTarget::Wide(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn targets_become_canonical() {
        let check = |text: &str, expected: &[&str], kind: PurgeKind| {
            let (targets, found) = read(text).unwrap();
            assert_eq!(targets.iter().map(target_text).collect::<Vec<_>>(), expected, "{text}");
            assert_eq!(found, kind, "{text}");
        };
        check(
            r#"{"url": "http://EXAMPLE.org:80/x/../%7ea?b=1", "kind": "soft"}"#,
            &["u:http://example.org/~a?b=1"],
            PurgeKind::Soft,
        );
        check(r#"{"urls": ["https://a", "http://b/"]}"#, &["u:https://a/", "u:http://b/"], PurgeKind::Hard);
        check(r#"{"prefix": "https://A:443/shop/./"}"#, &["p:https://a/shop/"], PurgeKind::Hard);
        check(r#"{"prefix": "a/shop"}"#, &["p:http://a/shop", "p:https://a/shop"], PurgeKind::Hard);
        check(r#"{"prefixes": ["http://a", "http://a/x/../y/"]}"#, &["p:http://a/", "p:http://a/y/"], PurgeKind::Hard);
        check(r#"{"host": "EXAMPLE.org"}"#, &["h:example.org"], PurgeKind::Hard);
        check(r#"{"host": "a:443"}"#, &["h:a:443", "h:a"], PurgeKind::Hard);
        check(r#"{"hosts": ["[::1]:8080"]}"#, &["h:[::1]:8080"], PurgeKind::Hard);
        check(r#"{"tags": ["a", "a b"], "kind": "validate"}"#, &["t:a", "t:a b"], PurgeKind::Validate);
        check(r#"{"all": true}"#, &["a:"], PurgeKind::Hard);
        check(r#"{"tag": "a", "url": "http://a/", "host": "a"}"#, &["u:http://a/", "h:a", "t:a"], PurgeKind::Hard);
    }

    #[test]
    fn faulty_selectors_are_reported() {
        let many = json!({ "urls": vec!["http://example.org/"; TARGETS_MAX + 1] }).to_string();
        let many_in_all = json!({ "tags": vec!["a"; TARGETS_MAX], "host": "a" }).to_string();
        for (text, part) in [
            ("{}", "nothing to purge"),
            (r#"{"all": false}"#, "nothing to purge"),
            (r#"{"all": true, "tag": "a"}"#, "leave out"),
            (r#"{"urls": []}"#, "`urls` is empty"),
            (r#"{"url": "http://a/", "urls": ["http://a/"]}"#, "give `url` or `urls`, not both"),
            (r#"{"url": "/a"}"#, "\"/a\" is not a valid url"),
            (r#"{"urls": ["http://a/", "ftp://a/"]}"#, "\"ftp://a/\" is not a valid url"),
            (r#"{"prefix": "/shop/"}"#, "use example.org/shop/"),
            (r#"{"prefix": "a/shop/*"}"#, "end the prefix with `/`"),
            (r#"{"prefix": "a/shop?x"}"#, "a prefix has no query"),
            (r#"{"prefix": "ftp://a/"}"#, "neither http nor https"),
            (r#"{"host": "*.example.org"}"#, "a character that no host name has"),
            (r#"{"host": "http://a"}"#, "\"http://a\" is not a valid host: it is a URL"),
            (r#"{"host": "a/b"}"#, "a character that no host name has"),
            (r#"{"tag": ""}"#, "a tag is printable ASCII"),
            (r#"{"tag": " a"}"#, "a tag is printable ASCII"),
            (r#"{"tag": "\na"}"#, "a tag is printable ASCII"),
            (many.as_str(), "at most 1000"),
            (many_in_all.as_str(), "too many selectors: 1001"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text:.80}: {error}");
        }
    }
}
