//! The token of the admin interface (`Authorization: Bearer`, RFC 6750 §2.1).

use std::fmt;

use axum::http::header::{self, HeaderMap};

use crate::syntax::list::FieldLines;

/// A token, stored as its digest: comparing takes the same time however much of a guess is right,
/// and the token never appears in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(blake3::Hash);

impl Token {
    /// Makes a token from its text.
    pub fn new(text: &str) -> Self {
        Self(blake3::hash(text.as_bytes()))
    }

    /// Tells whether `text` is the token; digests compare in constant time.
    pub(in crate::admin) fn is(&self, text: &[u8]) -> bool {
        blake3::hash(text) == self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

/// Returns the token in a request; `None` if there is none, or more than one.
pub(in crate::admin) fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let FieldLines::One(line) = FieldLines::of(headers, header::AUTHORIZATION) else { return None };
    let (scheme, rest) = line.as_bytes().split_at_checked(6)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer") && rest.first() == Some(&b' ');
    is_bearer.then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_only_itself_and_is_never_shown() {
        let token = Token::new("correct horse");
        assert!(token.is(b"correct horse"));
        for other in [&b""[..], b"correct hors", b"correct horsee", b"Correct horse"] {
            assert!(!token.is(other));
        }
        assert!(!format!("{token:?}").contains("horse"));
    }

    #[test]
    fn rfc6750_s2_1_one_bearer_token_in_authorization() {
        let check = |lines: &[&str], expected: Option<&str>| {
            let headers = lines.iter().map(|line| (header::AUTHORIZATION, line.parse().unwrap()));
            let headers: HeaderMap = headers.collect();
            assert_eq!(presented(&headers), expected.map(str::as_bytes), "{lines:?}");
        };
        check(&["Bearer abc"], Some("abc"));
        check(&["bearer  abc "], Some("abc"));
        check(&["Bearer "], Some(""));
        check(&["Bearerabc"], None);
        check(&["Basic abc"], None);
        check(&["Bear"], None);
        check(&["Bearer a", "Bearer b"], None);
        check(&[], None);
    }
}
