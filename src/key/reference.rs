//! Absolute URLs, and references relative to one, from purges, Location and Content-Location (RFC
//! 3986 §5.2).

use super::{CanonicalUrl, Scheme, TargetError};

impl CanonicalUrl {
    /// Makes the canonical form of an absolute `http` or `https` URL. The fragment is dropped.
    ///
    /// # Errors
    /// Another scheme, no authority, or an error of [`CanonicalUrl::new`].
    pub fn parse_absolute(url: &str) -> Result<Self, TargetError> {
        let (scheme, rest) = split_scheme(url).ok_or(TargetError("the URL has no scheme"))?;
        let scheme = match scheme {
            _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
            _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
            _ => return Err(TargetError("the URL's scheme is neither http nor https")),
        };
        let rest = rest.strip_prefix("//").ok_or(TargetError("the URL has no host"))?;
        at_authority(scheme, without_fragment(rest))
    }

    /// Resolves `reference` against this URL ([RFC 3986 §5.2]). `None` if the result is not an
    /// `http` or `https` URL, or has no canonical form.
    ///
    /// [RFC 3986 §5.2]: https://www.rfc-editor.org/rfc/rfc3986#section-5.2
    pub fn join(&self, reference: &str) -> Option<Self> {
        if split_scheme(reference).is_some() {
            return Self::parse_absolute(reference).ok();
        }
        let reference = without_fragment(reference);
        let here = |target: &str| Self::new(self.scheme(), self.authority(), target).ok();
        if let Some(rest) = reference.strip_prefix("//") {
            at_authority(self.scheme(), rest).ok()
        } else if reference.starts_with('/') {
            here(reference)
        } else if reference.is_empty() {
            Some(self.clone())
        } else if reference.starts_with('?') {
            here(&format!("{}{reference}", self.path()))
        } else {
            let folder = self.path().rfind('/').map_or("/", |slash| &self.path()[..=slash]);
            here(&format!("{folder}{reference}"))
        }
    }
}

/// Makes a URL from the text after the `//`: authority, then path and query.
fn at_authority(scheme: Scheme, rest: &str) -> Result<CanonicalUrl, TargetError> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    CanonicalUrl::new(scheme, &rest[..end], &rest[end..])
}

/// Splits off the scheme, which ends at a colon that no `/`, `?` or `#` precedes (RFC 3986 §4.2).
fn split_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some((scheme, rest))
}

fn without_fragment(reference: &str) -> &str {
    reference.split_once('#').map_or(reference, |(before, _)| before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, reference: &str, expected: Option<&str>) {
        let found = CanonicalUrl::parse_absolute(base).unwrap().join(reference);
        assert_eq!(found.as_ref().map(CanonicalUrl::as_str), expected, "{reference}");
    }

    #[test]
    fn s5_4_1_normal_examples() {
        for (reference, expected) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../g", "http://a/g"),
        ] {
            check("http://a/b/c/d;p?q", reference, Some(expected));
        }
    }

    #[test]
    fn s5_4_2_abnormal_examples() {
        for (reference, expected) in [
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("/a:b", "http://a/a:b"),
            ("./a:b", "http://a/b/c/a:b"),
            ("?a:b", "http://a/b/c/d;p?a:b"),
        ] {
            check("http://a/b/c/d;p?q", reference, Some(expected));
        }
    }

    #[test]
    fn absolute_references_stand_for_themselves_or_are_none() {
        check("http://a/b", "HTTPS://B:443/c/../%7e#d", Some("https://b/~"));
        check("https://a/b", "//c:443?d", Some("https://c/?d"));
        for reference in
            ["http:g", "g:h", "ftp://a/", "http://", "http:///x", "//", "http://u@a/", "http://a:0/", "/\u{1}"]
        {
            check("http://a/b", reference, None);
        }
    }

    #[test]
    fn a_url_to_purge_is_absolute() {
        for text in ["", "/a", "a.org/b", "a.org:80/b", "//a.org/b", "http:/a.org", "http://a\\@b/", "http://a b/"] {
            assert!(CanonicalUrl::parse_absolute(text).is_err(), "{text}");
        }
    }
}
