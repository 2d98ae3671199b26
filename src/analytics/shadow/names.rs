//! Numbers for the names of request fields and cookies, so that each field costs only two numbers
//! per response.

use std::collections::HashMap;

use crate::key::ExtraSource;

/// The most names that get a number. Sites have dozens; a client that sends ever new names gains
/// nothing.
const NAMES_MAX: usize = 2048;

/// The longest name that gets a number, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The most fields and cookies of a request that are kept: browsers send some twenty.
pub(crate) const FIELDS_MAX: usize = 48;

/// A field's or cookie's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShadowName<'a> {
    /// Says whether the name is a field's or a cookie's.
    pub source: ExtraSource,
    /// The name.
    pub name: &'a str,
}

/// The numbered names.
#[derive(Debug, Default)]
pub(super) struct ShadowNames {
    numbers: [HashMap<Box<str>, u16>; 2],
    list: Vec<(ExtraSource, Box<str>)>,
}

impl ShadowNames {
    pub(super) fn number(&mut self, ShadowName { source, name }: ShadowName<'_>) -> Option<u16> {
        let numbers = &mut self.numbers[usize::from(source == ExtraSource::Cookie)];
        if let Some(number) = numbers.get(name) {
            return Some(*number);
        }
        if self.list.len() >= NAMES_MAX || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let number = u16::try_from(self.list.len()).ok()?;
        numbers.insert(name.into(), number);
        self.list.push((source, name.into()));
        Some(number)
    }

    pub(super) fn get(&self, number: u16) -> Option<(ExtraSource, &str)> {
        self.list.get(usize::from(number)).map(|(source, name)| (*source, &**name))
    }
}

/// Fields that no page is made from.
///
/// They differ from request to request whatever the page, or select another part or coding of the
/// same page.
static NOISE: [&str; 47] = [
    "accept-encoding",
    "age",
    "baggage",
    "cache-control",
    "cf-connecting-ip",
    "cf-ray",
    "client-ip",
    "connection",
    "content-length",
    "cookie",
    "date",
    "device-memory",
    "dnt",
    "downlink",
    "early-data",
    "ect",
    "expect",
    "forwarded",
    "from",
    "host",
    "keep-alive",
    "max-forwards",
    "pragma",
    "priority",
    "proxy-connection",
    "purpose",
    "range",
    "request-id",
    "rtt",
    "save-data",
    "sec-purpose",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "upgrade-insecure-requests",
    "via",
    "x-amzn-trace-id",
    "x-client-ip",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-real-ip",
    "x-request-id",
    "x-trace-id",
];

/// The prefixes of further such fields.
static NOISE_FAMILIES: [&str; 4] = ["if-", "x-forwarded-", "x-b3-", "sec-fetch-"];

/// Tells whether a field (in lower case) is no suspect for a difference. Cookies are examined one
/// by one instead.
pub(crate) fn is_noise(field: &str) -> bool {
    NOISE.binary_search(&field).is_ok() || NOISE_FAMILIES.iter().any(|family| field.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_once_and_bounded() {
        let mut names = ShadowNames::default();
        fn header(name: &str) -> ShadowName<'_> {
            ShadowName { source: ExtraSource::Header, name }
        }
        let cookie = |name| ShadowName { source: ExtraSource::Cookie, name };
        assert_eq!([names.number(header("a")), names.number(cookie("a"))], [Some(0), Some(1)]);
        assert_eq!([names.number(cookie("a")), names.number(header("a"))], [Some(1), Some(0)]);
        assert_eq!(names.get(1), Some((ExtraSource::Cookie, "a")));
        assert_eq!(names.number(header(&"x".repeat(NAME_BYTES_MAX + 1))), None);
        for nth in 0..2 * NAMES_MAX {
            names.number(header(&format!("x-{nth}")));
        }
        assert_eq!((names.list.len(), names.number(header("new"))), (NAMES_MAX, None));
        assert_eq!(names.number(header("a")), Some(0));
    }

    #[test]
    fn fields_that_no_page_is_made_from_are_noise() {
        assert!(NOISE.is_sorted());
        for name in ["date", "range", "if-none-match", "x-request-id", "traceparent", "x-forwarded-for", "cookie"] {
            assert!(is_noise(name), "{name}");
        }
        for name in ["accept-language", "user-agent", "authorization", "x-plan", "accept", "referer"] {
            assert!(!is_noise(name), "{name}");
        }
    }
}
