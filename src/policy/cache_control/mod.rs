//! `Cache-Control` and the targeted fields, parsed once into types that cannot be wrong (RFC 9111
//! §5.2, RFC 9213).
//!
//! If a directive is repeated or malformed, the reading that reuses less wins: the shorter
//! lifetime, zero for a lifetime that is not a number, the whole response for a field list that is
//! malformed or not quoted.

pub(in crate::policy) mod directive;

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};

use self::directive::{Argument, Directive, DirectiveName};
use crate::syntax::list;

/// The request directives that Larder knows (RFC 9111 §5.2.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestCacheControl {
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `max-stale`: `Some(None)` accepts any staleness.
    pub max_stale: Option<Option<Duration>>,
    /// `min-fresh`.
    pub min_fresh: Option<Duration>,
    /// `no-cache`, or `Pragma: no-cache` if there is no Cache-Control (RFC 9111 §5.4).
    pub no_cache: bool,
    /// `no-store`.
    pub no_store: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `no-transform`.
    pub no_transform: bool,
}

impl RequestCacheControl {
    /// Parses the request's fields. A directive whose argument should be delta-seconds, and is not,
    /// is ignored.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut cc = Self::default();
        let mut lines = headers.get_all(header::CACHE_CONTROL).iter().peekable();
        if lines.peek().is_none() {
            let mut pragma = headers.get_all(header::PRAGMA).iter();
            cc.no_cache =
                pragma.any(|line| directive::directives(line.as_bytes()).any(|it| it.name == DirectiveName::NoCache));
            return cc;
        }
        for directive in lines.flat_map(|line| directive::directives(line.as_bytes())) {
            cc.add(directive);
        }
        cc
    }

    fn add(&mut self, directive: Directive<'_>) {
        let delta = directive.argument.delta_seconds();
        match directive.name {
            DirectiveName::NoCache => self.no_cache = true,
            DirectiveName::NoStore => self.no_store = true,
            DirectiveName::OnlyIfCached => self.only_if_cached = true,
            DirectiveName::NoTransform => self.no_transform = true,
            DirectiveName::MaxAge => {
                self.max_age = delta.map_or(self.max_age, |delta| Some(shorter(self.max_age, delta)))
            }
            DirectiveName::MinFresh => self.min_fresh = self.min_fresh.max(delta),
            DirectiveName::MaxStale => {
                let earlier = self.max_stale.flatten();
                match (directive.argument, delta) {
                    (Argument::Absent, _) if directive.is_sound => self.max_stale = Some(earlier),
                    (_, Some(delta)) => self.max_stale = Some(Some(shorter(earlier, delta))),
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// The scope of a directive that can name fields: `no-cache="…"`, `private="…"` (RFC 9111 §5.2.2.4,
/// §5.2.2.7).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FieldScope {
    /// The response has no such directive.
    #[default]
    Absent,
    /// The directive applies to these fields only.
    Fields(Vec<HeaderName>),
    /// The directive applies to the whole response.
    Whole,
}

impl FieldScope {
    /// Tells whether the directive applies to the whole response.
    pub fn is_whole(&self) -> bool {
        *self == Self::Whole
    }

    /// Tells whether the directive keeps the field `name` from being stored.
    pub fn names(&self, name: &HeaderName) -> bool {
        matches!(self, Self::Fields(fields) if fields.contains(name))
    }

    /// Reads an argument. Anything but a quoted list of at least one field name applies to the
    /// whole response.
    ///
    /// Senders should use the quoted form only (RFC 9111 §5.2.2.4, §5.2.2.7), and `private=true`
    /// and `no-cache=1` do not mean a field of that name.
    fn of(argument: Argument<'_>) -> Self {
        let Argument::Quoted(list) = argument else { return Self::Whole };
        match list::members(list).map(HeaderName::from_bytes).collect::<Result<Vec<_>, _>>() {
            Ok(fields) if !fields.is_empty() => Self::Fields(fields),
            _ => Self::Whole,
        }
    }

    fn widen(&mut self, by: Self) {
        match (&mut *self, by) {
            (Self::Whole, _) | (_, Self::Absent) => {}
            (Self::Fields(fields), Self::Fields(more)) => fields.extend(more),
            (_, by) => *self = by,
        }
    }
}

/// The field that a response's directives came from (RFC 9213 §2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectiveSource {
    /// `Cache-Control`, with `Expires` for a response that gives no max-age.
    #[default]
    CacheControl,
    /// `CDN-Cache-Control`, in place of Cache-Control and Expires.
    CdnCacheControl,
    /// `Larder-Cache-Control`, in place of all others.
    LarderCacheControl,
}

/// Larder's own targeted field (RFC 9213 §2).
pub static LARDER_CACHE_CONTROL: HeaderName = HeaderName::from_static("larder-cache-control");

/// The response directives that Larder knows (RFC 9111 §5.2.2, RFC 5861, RFC 8246).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseCacheControl {
    /// The field that the directives came from.
    pub source: DirectiveSource,
    /// `max-age`; zero if its argument is not a number (RFC 9111 §4.2.1).
    pub max_age: Option<Duration>,
    /// `s-maxage`; zero if its argument is not a number.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate`.
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error`.
    pub stale_if_error: Option<Duration>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`.
    pub no_cache: FieldScope,
    /// `private`.
    pub private: FieldScope,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `no-transform`, in any of the fields: every recipient of the message has to obey it.
    pub no_transform: bool,
    /// `immutable`.
    pub immutable: bool,
}

impl ResponseCacheControl {
    /// Parses a response's fields. The first targeted field that is valid and not empty decides,
    /// else Cache-Control.
    pub fn parse(headers: &HeaderMap) -> Self {
        let (mut general, mut is_targeted) = (Self::default(), false);
        for (name, line) in headers {
            if name == header::CACHE_CONTROL {
                directive::directives(line.as_bytes()).for_each(|directive| general.add(directive));
            }
            is_targeted |= name == header::CDN_CACHE_CONTROL || name == LARDER_CACHE_CONTROL;
        }
        if !is_targeted {
            return general;
        }
        let targeted = Self::parse_targeted(headers, &LARDER_CACHE_CONTROL, DirectiveSource::LarderCacheControl)
            .or_else(|| Self::parse_targeted(headers, &header::CDN_CACHE_CONTROL, DirectiveSource::CdnCacheControl));
        match targeted {
            Some(targeted) => Self { no_transform: targeted.no_transform || general.no_transform, ..targeted },
            None => general,
        }
    }

    fn add(&mut self, directive: Directive<'_>) {
        match directive.name {
            DirectiveName::MaxAge
            | DirectiveName::SMaxage
            | DirectiveName::StaleWhileRevalidate
            | DirectiveName::StaleIfError => {
                self.set_span(directive.name, directive.argument.delta_seconds());
            }
            DirectiveName::NoCache | DirectiveName::Private => {
                self.set_scope(directive.name, FieldScope::of(directive.argument))
            }
            // These directives permit something, so they count only if they fit the grammar.
            DirectiveName::Public | DirectiveName::MustUnderstand | DirectiveName::Immutable if !directive.is_sound => {
            }
            name => self.set_flag(name),
        }
    }

    /// Adds a member of a targeted field as the directive that it stands for.
    ///
    /// Returns `None` if the member needs a number and has none, which makes the whole field
    /// invalid (RFC 9213 §2.1).
    fn add_member(&mut self, name: DirectiveName, value: &sfv::ListEntry) -> Option<()> {
        let item = match value {
            sfv::ListEntry::Item(item) => Some(&item.bare_item),
            sfv::ListEntry::InnerList(_) => None,
        };
        match (name, item) {
            (
                DirectiveName::MaxAge
                | DirectiveName::SMaxage
                | DirectiveName::StaleWhileRevalidate
                | DirectiveName::StaleIfError,
                item,
            ) => {
                let secs = u64::try_from(i64::from(item?.as_integer()?)).unwrap_or(0);
                self.set_span(name, Some(Duration::from_secs(secs.min(directive::DELTA_SECONDS_MAX))));
            }
            (_, Some(sfv::BareItem::Boolean(false))) => {}
            (DirectiveName::NoCache | DirectiveName::Private, Some(sfv::BareItem::String(list))) => {
                self.set_scope(name, FieldScope::of(Argument::Quoted(list.as_str().as_bytes())));
            }
            (DirectiveName::NoCache | DirectiveName::Private, _) => self.set_scope(name, FieldScope::Whole),
            (name, Some(sfv::BareItem::Boolean(true))) => self.set_flag(name),
            // A misplaced argument does not weaken a directive that forbids, and voids one that
            // permits.
            (DirectiveName::Public | DirectiveName::MustUnderstand | DirectiveName::Immutable, _) => {}
            (name, _) => self.set_flag(name),
        }
        Some(())
    }

    /// Sets a duration; `None` if its argument is not a number.
    fn set_span(&mut self, name: DirectiveName, span: Option<Duration>) {
        match name {
            // A lifetime that cannot be read is stale, and the shorter of two counts (RFC 9111
            // §4.2.1).
            DirectiveName::MaxAge => self.max_age = Some(shorter(self.max_age, span.unwrap_or_default())),
            DirectiveName::SMaxage => self.s_maxage = Some(shorter(self.s_maxage, span.unwrap_or_default())),
            // A window that cannot be read is not opened.
            DirectiveName::StaleWhileRevalidate => narrow(&mut self.stale_while_revalidate, span),
            DirectiveName::StaleIfError => narrow(&mut self.stale_if_error, span),
            _ => {}
        }
    }

    fn set_scope(&mut self, name: DirectiveName, scope: FieldScope) {
        match name {
            DirectiveName::NoCache => self.no_cache.widen(scope),
            DirectiveName::Private => self.private.widen(scope),
            _ => {}
        }
    }

    fn set_flag(&mut self, name: DirectiveName) {
        match name {
            DirectiveName::NoStore => self.no_store = true,
            DirectiveName::MustRevalidate => self.must_revalidate = true,
            DirectiveName::ProxyRevalidate => self.proxy_revalidate = true,
            DirectiveName::NoTransform => self.no_transform = true,
            DirectiveName::Public => self.public = true,
            DirectiveName::MustUnderstand => self.must_understand = true,
            DirectiveName::Immutable => self.immutable = true,
            _ => {}
        }
    }

    /// Parses a targeted field strictly. `None` if it is absent, empty or invalid: then the next
    /// field decides.
    fn parse_targeted(headers: &HeaderMap, name: &HeaderName, source: DirectiveSource) -> Option<Self> {
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
        if lines.is_empty() {
            return None;
        }
        let field = lines.join(&b", "[..]);
        let dictionary = sfv::Parser::new(&field).parse::<sfv::Dictionary>().ok()?;
        if dictionary.is_empty() {
            return None;
        }
        let mut cc = Self { source, ..Self::default() };
        for (key, value) in &dictionary {
            if let Some(name) = DirectiveName::of_lower_case(key.as_str().as_bytes()) {
                cc.add_member(name, value)?;
            }
        }
        Some(cc)
    }
}

/// Tells whether Cache-Control has no-transform (RFC 9111 §5.2.2.6), without parsing the rest.
pub fn forbids_transform(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CACHE_CONTROL).iter();
    lines.any(|line| directive::directives(line.as_bytes()).any(|it| it.name == DirectiveName::NoTransform))
}

/// Returns the shorter of the earlier duration and `span`.
fn shorter(earlier: Option<Duration>, span: Duration) -> Duration {
    earlier.map_or(span, |earlier| earlier.min(span))
}

/// Narrows a window to `to`. An argument that is not a number changes nothing.
fn narrow(window: &mut Option<Duration>, to: Option<Duration>) {
    if let Some(to) = to {
        *window = Some(shorter(*window, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::fields;

    fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[track_caller]
    fn check(given: &[(&str, &str)], expected: ResponseCacheControl) {
        assert_eq!(ResponseCacheControl::parse(&fields(given)), expected, "{given:?}");
    }

    #[track_caller]
    fn check_general(value: &str, expected: ResponseCacheControl) {
        check(&[("cache-control", value)], expected);
    }

    #[track_caller]
    fn check_max_age(value: &str, expected: Option<u64>) {
        check_general(value, ResponseCacheControl { max_age: expected.and_then(secs), ..Default::default() });
    }

    #[track_caller]
    fn check_request(given: &[(&str, &str)], expected: RequestCacheControl) {
        assert_eq!(RequestCacheControl::parse(&fields(given)), expected, "{given:?}");
    }

    #[test]
    fn s4_2_1_a_lifetime_that_cannot_be_read_is_stale_and_of_two_the_shorter_counts() {
        for (value, expected) in [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=99999999999", Some(1 << 31)),
            ("max-age=1800, max-age=1", Some(1)),
            ("max-age=1, max-age=1800", Some(1)),
            ("max-age=x, max-age=1800", Some(0)),
            ("extension=\"max-age=3600\", max-age=1", Some(1)),
            ("max-age=1, extension=\"max-age=3600\"", Some(1)),
            ("max-age=-3600", Some(0)),
            ("max-age='3600'", Some(0)),
            ("max-age=3600.0", Some(0)),
            ("max-age=3600.5", Some(0)),
            ("max-age=a3600", Some(0)),
            ("max-age=3600a", Some(0)),
            ("max-age =3600", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age", Some(0)),
            ("max-age=\"\"", Some(0)),
            ("max-age=3600;foo", Some(0)),
            ("", None),
            ("foo, bar=1", None),
        ] {
            check_max_age(value, expected);
        }
        check(
            &[("cache-control", "max-age=3600"), ("cache-control", "s-maxage=1")],
            ResponseCacheControl { max_age: secs(3600), s_maxage: secs(1), ..Default::default() },
        );
    }

    #[test]
    fn s5_2_2_flags_in_any_case_and_with_malformed_arguments() {
        check_general(
            "No-StOrE, must-revalidate, proxy-revalidate=1, no-transform, public, immutable, must-understand",
            ResponseCacheControl {
                no_store: true,
                must_revalidate: true,
                proxy_revalidate: true,
                no_transform: true,
                public: true,
                immutable: true,
                must_understand: true,
                ..Default::default()
            },
        );
        // A directive that forbids counts even if it is malformed; one that permits does not.
        check_general("no-store; public; immutable", ResponseCacheControl { no_store: true, ..Default::default() });
    }

    #[test]
    fn s5_2_2_4_and_7_qualified_forms_name_fields() {
        let named =
            |names: &[&'static str]| FieldScope::Fields(names.iter().map(|n| HeaderName::from_static(n)).collect());
        for (argument, expected) in [
            ("", FieldScope::Whole),
            ("=\"\"", FieldScope::Whole),
            ("=\" , \"", FieldScope::Whole),
            ("=\"a\"", named(&["a"])),
            ("=\"A, b\"", named(&["a", "b"])),
            ("=set-cookie", FieldScope::Whole),
            ("=true", FieldScope::Whole),
            ("=1", FieldScope::Whole),
            ("='a'", FieldScope::Whole),
            ("=\"a\", no-cache=b", FieldScope::Whole),
            ("=\"a b\"", FieldScope::Whole),
            ("=\"a", FieldScope::Whole),
            ("=\"a\", no-cache", FieldScope::Whole),
            (", no-cache=\"a\"", FieldScope::Whole),
            ("=\"a\", no-cache=\"b\"", named(&["a", "b"])),
        ] {
            check_general(
                &format!("no-cache{argument}"),
                ResponseCacheControl { no_cache: expected.clone(), ..Default::default() },
            );
            let private = format!("private{argument}").replace("no-cache", "private");
            check_general(&private, ResponseCacheControl { private: expected, ..Default::default() });
        }
        assert!(named(&["a", "b"]).names(&HeaderName::from_static("b")));
        assert!(!named(&["a"]).names(&HeaderName::from_static("b")));
    }

    #[test]
    fn rfc5861_windows_need_a_number() {
        check_general(
            "stale-while-revalidate=60, stale-if-error=\"30\"",
            ResponseCacheControl { stale_while_revalidate: secs(60), stale_if_error: secs(30), ..Default::default() },
        );
        check_general("stale-while-revalidate, stale-if-error=x", ResponseCacheControl::default());
        check_general(
            "stale-if-error=9, stale-if-error=0, stale-if-error=5",
            ResponseCacheControl { stale_if_error: secs(0), ..Default::default() },
        );
    }

    #[track_caller]
    fn check_cdn(value: &str, expected: Option<ResponseCacheControl>) {
        let expected = expected.map(|cc| ResponseCacheControl { source: DirectiveSource::CdnCacheControl, ..cc });
        let otherwise = ResponseCacheControl { max_age: secs(1), must_revalidate: true, ..Default::default() };
        check(
            &[("cache-control", "max-age=1, must-revalidate"), ("cdn-cache-control", value)],
            expected.unwrap_or(otherwise),
        );
    }

    #[test]
    fn rfc9213_s2_1_a_targeted_field_replaces_cache_control_when_it_is_valid() {
        let lives = |lifetime: u64| Some(ResponseCacheControl { max_age: secs(lifetime), ..Default::default() });
        check_cdn("max-age=3600", lives(3600));
        check_cdn("foobar, max-age=3600", lives(3600));
        check_cdn("max-age=99999999999", lives(1 << 31));
        check_cdn("max-age=-5", lives(0));
        check_cdn("max-age=0;param", lives(0));
        check_cdn("no-store", Some(ResponseCacheControl { no_store: true, ..Default::default() }));
        check_cdn("no-store=1", Some(ResponseCacheControl { no_store: true, ..Default::default() }));
        check_cdn("public=1, foo", Some(ResponseCacheControl::default()));
        check_cdn("public, no-store=?0", Some(ResponseCacheControl { public: true, ..Default::default() }));
        check_cdn("private=()", Some(ResponseCacheControl { private: FieldScope::Whole, ..Default::default() }));
        let named = FieldScope::Fields(vec![header::SET_COOKIE]);
        check_cdn("private=\"Set-Cookie\"", Some(ResponseCacheControl { private: named, ..Default::default() }));
        for invalid in [
            "",
            " ",
            "max-age =100",
            "max-age= 100",
            "MaX-aGe=3600",
            "max-age=10000, &&&&&",
            "max-age=\"10000\"",
            "max-age=10.5",
            "max-age",
            "max-age=(1)",
            "s-maxage=?1",
            "max-age=10,",
        ] {
            check_cdn(invalid, None);
        }
    }

    #[test]
    fn rfc9213_s2_2_larders_own_field_comes_first() {
        let given = [
            ("cache-control", "no-store, no-transform"),
            ("cdn-cache-control", "max-age=10"),
            ("larder-cache-control", "max-age=20"),
        ];
        let expected = ResponseCacheControl {
            source: DirectiveSource::LarderCacheControl,
            max_age: secs(20),
            no_transform: true,
            ..Default::default()
        };
        check(&given, expected.clone());
        let invalid = [given[0], given[1], ("larder-cache-control", "max-age=!")];
        check(
            &invalid,
            ResponseCacheControl { source: DirectiveSource::CdnCacheControl, max_age: secs(10), ..expected },
        );
        let two_lines = [("cdn-cache-control", "max-age=5"), ("cdn-cache-control", "must-revalidate")];
        check(
            &two_lines,
            ResponseCacheControl {
                source: DirectiveSource::CdnCacheControl,
                max_age: secs(5),
                must_revalidate: true,
                ..Default::default()
            },
        );
    }

    #[test]
    fn s5_2_1_request_directives() {
        check_request(&[], RequestCacheControl::default());
        check_request(&[("cache-control", "nothing-to-see-here"), ("pragma", "foo")], RequestCacheControl::default());
        check_request(
            &[("cache-control", "max-age=5, min-fresh=\"7\", no-store, only-if-cached, no-cache, no-transform")],
            {
                RequestCacheControl {
                    max_age: secs(5),
                    min_fresh: secs(7),
                    no_store: true,
                    only_if_cached: true,
                    no_cache: true,
                    no_transform: true,
                    max_stale: None,
                }
            },
        );
        check_request(
            &[("cache-control", "max-age=9, max-age=5, min-fresh=1"), ("cache-control", "min-fresh=7, max-age=x")],
            RequestCacheControl { max_age: secs(5), min_fresh: secs(7), ..Default::default() },
        );
        for (value, expected) in [
            ("max-stale", Some(None)),
            ("max-stale=10", Some(secs(10))),
            ("max-stale, max-stale=10", Some(secs(10))),
            ("max-stale=10, max-stale", Some(secs(10))),
            ("max-stale=10, max-stale=5", Some(secs(5))),
            ("max-stale=x", None),
            ("max-stale =9", None),
            ("max-stale;", None),
        ] {
            let expected = RequestCacheControl { max_stale: expected, ..Default::default() };
            check_request(&[("cache-control", value)], expected);
        }
    }

    #[test]
    fn s5_4_pragma_counts_only_without_cache_control() {
        let reload = RequestCacheControl { no_cache: true, ..Default::default() };
        check_request(&[("pragma", "No-Cache")], reload.clone());
        check_request(&[("pragma", "foo"), ("pragma", "bar, no-cache")], reload);
        check_request(&[("pragma", "no-cache"), ("cache-control", "foo")], RequestCacheControl::default());
        // Pragma has no meaning in responses.
        check(&[("pragma", "no-cache")], ResponseCacheControl::default());
    }
}
