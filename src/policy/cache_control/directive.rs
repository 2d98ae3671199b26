//! The list syntax of Cache-Control (RFC 9111 §5.2): names, arguments, and text that fits no
//! grammar.
//!
//! Ambiguous text is read in the way that reuses less. Each known directive is returned together
//! with whether the text around it was sound: a directive that permits something counts only if it
//! was, one that forbids something counts wherever its name occurs. [`cache_control`](super)
//! decides what the directives mean together.

use std::time::Duration;

use crate::syntax::token::is_token_byte;

/// The directives that Larder knows, of requests and responses (RFC 9111 §5.2, RFC 5861, RFC 8246).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum DirectiveName {
    Immutable,
    MaxAge,
    MaxStale,
    MinFresh,
    MustRevalidate,
    MustUnderstand,
    NoCache,
    NoStore,
    NoTransform,
    OnlyIfCached,
    Private,
    ProxyRevalidate,
    Public,
    SMaxage,
    StaleIfError,
    StaleWhileRevalidate,
}

impl DirectiveName {
    /// Returns the directive called `name`, in any case.
    fn of(name: &[u8]) -> Option<Self> {
        // As long as the longest name: a longer name is unknown.
        let mut lower = [0; b"stale-while-revalidate".len()];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Self::of_lower_case(lower)
    }

    /// Returns the directive called `name`, in lower case only: the keys of structured fields (RFC
    /// 9213 §2.1).
    pub(in crate::policy) fn of_lower_case(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"immutable" => Self::Immutable,
            b"max-age" => Self::MaxAge,
            b"max-stale" => Self::MaxStale,
            b"min-fresh" => Self::MinFresh,
            b"must-revalidate" => Self::MustRevalidate,
            b"must-understand" => Self::MustUnderstand,
            b"no-cache" => Self::NoCache,
            b"no-store" => Self::NoStore,
            b"no-transform" => Self::NoTransform,
            b"only-if-cached" => Self::OnlyIfCached,
            b"private" => Self::Private,
            b"proxy-revalidate" => Self::ProxyRevalidate,
            b"public" => Self::Public,
            b"s-maxage" => Self::SMaxage,
            b"stale-if-error" => Self::StaleIfError,
            b"stale-while-revalidate" => Self::StaleWhileRevalidate,
            _ => return None,
        })
    }
}

/// The argument of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Argument<'a> {
    /// No argument.
    Absent,
    /// A token.
    Token(&'a [u8]),
    /// The text between the quotes of a quoted string. Both forms mean the same (RFC 9111 §5.2).
    Quoted(&'a [u8]),
    /// Neither of the two, or white space around the `=`.
    Malformed,
}

impl Argument<'_> {
    /// Returns the argument as delta-seconds (RFC 9111 §1.2.2).
    pub(in crate::policy) fn delta_seconds(self) -> Option<Duration> {
        match self {
            Self::Token(text) | Self::Quoted(text) => delta_seconds(text),
            Self::Absent | Self::Malformed => None,
        }
    }
}

/// A known directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Directive<'a> {
    pub(in crate::policy) name: DirectiveName,
    pub(in crate::policy) argument: Argument<'a>,
    /// The argument's text without quotes, even if the argument is malformed. A quoted string that
    /// nothing closes runs to the end of the line.
    pub(in crate::policy) text: &'a [u8],
    /// Tells whether the list member around the directive fits the grammar.
    pub(in crate::policy) is_sound: bool,
}

/// Iterates over the known directives of one field line.
pub(in crate::policy) fn directives(line: &[u8]) -> impl Iterator<Item = Directive<'_>> {
    Directives { rest: line, is_sound: true }
}

/// The upper bound of delta-seconds, 2^31, which stands for any larger value (RFC 9111 §1.2.2).
pub(in crate::policy) const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// Parses delta-seconds: digits only; clamps at 2^31.
pub(in crate::policy) fn delta_seconds(text: &[u8]) -> Option<Duration> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        let add = |secs: u64, digit: &u8| (secs * 10 + u64::from(digit - b'0')).min(DELTA_SECONDS_MAX);
        Duration::from_secs(text.iter().fold(0, add))
    })
}

struct Directives<'a> {
    rest: &'a [u8],
    /// Tells whether everything since the last comma fitted the grammar.
    is_sound: bool,
}

impl<'a> Iterator for Directives<'a> {
    type Item = Directive<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.skip_to_name()?;
            let name = self.take_token();
            let (argument, text) = self.take_argument();
            self.is_sound &= argument != Argument::Malformed;
            // Text between a directive and the next comma spoils the directive: `max-age=60;public`
            // is not `max-age=60`.
            self.skip_white_space();
            self.is_sound &= matches!(self.rest.first(), None | Some(b','));
            let argument = match argument {
                Argument::Token(_) | Argument::Quoted(_) if !self.is_sound => Argument::Malformed,
                argument => argument,
            };
            if let Some(name) = DirectiveName::of(name) {
                return Some(Directive { name, argument, text, is_sound: self.is_sound });
            }
        }
    }
}

impl<'a> Directives<'a> {
    /// Advances to the next name; `None` at the end. Any other text on the way makes the member
    /// unsound.
    fn skip_to_name(&mut self) -> Option<()> {
        while !is_token_byte(*self.rest.first()?) {
            match self.rest[0] {
                b',' => self.is_sound = true,
                b' ' | b'\t' => {}
                _ => self.is_sound = false,
            }
            self.rest = &self.rest[1..];
        }
        Some(())
    }

    fn skip_white_space(&mut self) {
        while let [b' ' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take_token(&mut self) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token
    }

    fn take_argument(&mut self) -> (Argument<'a>, &'a [u8]) {
        let has_space = matches!(self.rest, [b' ' | b'\t', ..]);
        self.skip_white_space();
        let [b'=', rest @ ..] = self.rest else { return (Argument::Absent, b"") };
        self.rest = rest;
        let (argument, text) = match self.rest {
            [b'"', inside @ ..] => match closing_quote(inside) {
                Some(end) => {
                    self.rest = &inside[end + 1..];
                    (Argument::Quoted(&inside[..end]), &inside[..end])
                }
                // Nothing closes the string. Reading resumes behind the quote, so that no no-store
                // is lost in it.
                None => {
                    self.rest = inside;
                    (Argument::Malformed, inside)
                }
            },
            _ => match self.take_token() {
                // Reading resumes before the white space, for the same reason.
                [] => (Argument::Malformed, text_behind_space(self.rest)),
                token => (Argument::Token(token), token),
            },
        };
        (if has_space { Argument::Malformed } else { argument }, text)
    }
}

/// Returns the text of an argument that white space separates from its `=`; empty if there is none.
fn text_behind_space(rest: &[u8]) -> &[u8] {
    let rest = rest.trim_ascii_start();
    match rest.strip_prefix(b"\"") {
        Some(inside) => &inside[..closing_quote(inside).unwrap_or(inside.len())],
        None => &rest[..rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(rest.len())],
    }
}

/// Returns the position of the quote that closes a quoted string (RFC 9110 §5.6.4).
fn closing_quote(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match inside.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(line: &str, expected: &[(DirectiveName, Argument<'_>, bool)]) {
        let found: Vec<_> = directives(line.as_bytes()).map(|it| (it.name, it.argument, it.is_sound)).collect();
        assert_eq!(found, expected, "{line:?}");
    }

    fn token(text: &str) -> Argument<'_> {
        Argument::Token(text.as_bytes())
    }

    fn quoted(text: &str) -> Argument<'_> {
        Argument::Quoted(text.as_bytes())
    }

    #[test]
    fn s5_2_tokens_and_quoted_strings_mean_the_same() {
        check("max-age=60", &[(DirectiveName::MaxAge, token("60"), true)]);
        check("max-age=\"60\"", &[(DirectiveName::MaxAge, quoted("60"), true)]);
        assert_eq!(token("60").delta_seconds(), quoted("60").delta_seconds());
        check(
            "MaX-aGe=60 ,,\tNO-store",
            &[(DirectiveName::MaxAge, token("60"), true), (DirectiveName::NoStore, Argument::Absent, true)],
        );
        check("no-cache=\"a, b\"", &[(DirectiveName::NoCache, quoted("a, b"), true)]);
        check("ext=\"max-age=60, no-store\", public", &[(DirectiveName::Public, Argument::Absent, true)]);
        check("ext=\"\\\", no-store\"", &[]);
        check("", &[]);
        check("a-directive-with-a-name-of-more-than-twenty-two-bytes, no-storey", &[]);
    }

    #[test]
    fn s5_2_what_fits_no_grammar_is_unsound() {
        check("max-age =60", &[(DirectiveName::MaxAge, Argument::Malformed, false)]);
        check("max-age= 60", &[(DirectiveName::MaxAge, Argument::Malformed, false)]);
        check("max-age=", &[(DirectiveName::MaxAge, Argument::Malformed, false)]);
        check(
            "max-age=60;public",
            &[(DirectiveName::MaxAge, Argument::Malformed, false), (DirectiveName::Public, Argument::Absent, false)],
        );
        check(
            "private; max-age=60, public",
            &[
                (DirectiveName::Private, Argument::Absent, false),
                (DirectiveName::MaxAge, Argument::Malformed, false),
                (DirectiveName::Public, Argument::Absent, true),
            ],
        );
        check(
            "no-store no-cache",
            &[(DirectiveName::NoStore, Argument::Absent, false), (DirectiveName::NoCache, Argument::Absent, false)],
        );
        check("ext=\"a, no-store", &[(DirectiveName::NoStore, Argument::Absent, true)]);
        check(
            "no-cache=\"a, no-store",
            &[(DirectiveName::NoCache, Argument::Malformed, false), (DirectiveName::NoStore, Argument::Absent, true)],
        );
    }

    #[test]
    fn s5_2_2_4_the_text_of_a_malformed_argument_is_kept() {
        for (line, expected) in [
            ("private=\"a, b\"", "a, b"),
            ("private=a", "a"),
            ("private = \"a, b\" , public", "a, b"),
            ("private= a, public", "a"),
            ("private =\"a\" x", "a"),
            ("private=\"a, no-store", "a, no-store"),
            ("private= \"a, no-store", "a, no-store"),
            ("private=", ""),
            ("private= ,a", ""),
            ("private", ""),
        ] {
            let first = directives(line.as_bytes()).next().unwrap();
            assert_eq!((first.name, first.text), (DirectiveName::Private, expected.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn s1_2_2_delta_seconds_are_digits_and_clamp() {
        for (text, secs) in [
            ("0", Some(0)),
            ("003600", Some(3600)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", Some(2_147_483_648)),
            ("2147483649", Some(2_147_483_648)),
            ("99999999999999999999999999999999", Some(2_147_483_648)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1a", None),
            ("a1", None),
            (" 1", None),
        ] {
            assert_eq!(delta_seconds(text.as_bytes()), secs.map(Duration::from_secs), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_forbidding_name_between_commas_is_never_lost(before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
            // Inside a closed quoted string the name is no directive.
            prop_assume!(!before.contains('"'));
            let line = format!("{before}, no-store, {after}");
            prop_assert!(directives(line.as_bytes()).any(|it| it.name == DirectiveName::NoStore), "{line}");
        }

        #[test]
        fn any_bytes_terminate(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(directives(&line).count() <= line.len());
        }
    }
}
