//! W3C Trace Context: the two fields that carry a trace from one service to the next.
//!
//! <https://www.w3.org/TR/trace-context/>, with the rule for future versions (§4.3): the part that
//! version 00 defines is read, the rest is ignored.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::syntax::list::FieldLines;

/// The field that names the trace, the parent span, and whether it is sampled.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The field for data of tracing systems; it means nothing without a traceparent.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a traceparent of version 00, and of the part that is read of later versions, in
/// bytes.
const LENGTH: usize = 55;

/// The id of a trace; never all zeros.
pub type TraceId = [u8; 16];
/// The id of a span within its trace; never all zeros.
pub type SpanId = [u8; 8];

/// The content of a traceparent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ParentSpan {
    /// The id of the trace.
    pub(crate) trace: TraceId,
    /// The id of the parent span.
    pub(crate) span: SpanId,
    /// True if the parent span is recorded.
    pub(crate) is_sampled: bool,
}

impl ParentSpan {
    /// Reads the traceparent of a request; `None` if there is none, more than one, or an invalid
    /// one.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        match FieldLines::of(headers, TRACEPARENT) {
            FieldLines::One(value) => Self::parse(value.as_bytes()),
            FieldLines::None | FieldLines::Several => None,
        }
    }

    /// Reads `version-trace-span-flags`, all in lower-case hexadecimal digits.
    fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let [version] = bytes::<1>(&known[..2])?;
        match (version, rest) {
            (0xff, _) => return None,
            (0, []) | (1.., [] | [b'-', ..]) => {}
            _ => return None,
        }
        if known[2] != b'-' || known[35] != b'-' || known[52] != b'-' {
            return None;
        }
        let (trace, span) = (bytes::<16>(&known[3..35])?, bytes::<8>(&known[36..52])?);
        let [flags] = bytes::<1>(&known[53..])?;
        let is_named = trace != TraceId::default() && span != SpanId::default();
        is_named.then_some(Self { trace, span, is_sampled: flags & 1 == 1 })
    }

    /// Writes the field, in version 00 and with no flag but `sampled`.
    pub(crate) fn value(&self) -> HeaderValue {
        let flags = [u8::from(self.is_sampled)];
        let text = format!("00-{}-{}-{}", hex(&self.trace), hex(&self.span), hex(&flags));
        HeaderValue::try_from(text).expect("it is hexadecimal digits and hyphens")
    }
}

/// Reads bytes written as lower-case hexadecimal digits, two each.
fn bytes<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut read = [0; N];
    for (byte, pair) in read.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(read)
}

/// Writes bytes as lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_traceparent_is_read_strictly_and_written_as_it_was_read() {
        let whole = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        let parent = ParentSpan::parse(whole("01").as_bytes()).unwrap();
        assert!(parent.is_sampled && parent.trace[0] == 0x0a && parent.span[7] == 0x31);
        assert_eq!(parent.value(), whole("01"));
        assert!(!ParentSpan::parse(whole("00").as_bytes()).unwrap().is_sampled);
        assert!(ParentSpan::parse(whole("03").as_bytes()).unwrap().is_sampled, "other flags are not looked at");
        assert!(!ParentSpan::parse(whole("02").as_bytes()).unwrap().is_sampled);
    }

    #[test]
    fn future_versions_are_read_as_far_as_they_are_known() {
        for (text, is_read) in [
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("01-{TRACE}-{SPAN}-01-what-the-future-brings"), true),
            (format!("fe-{TRACE}-{SPAN}-01"), true),
            (format!("01-{TRACE}-{SPAN}-01x"), false),
            (format!("ff-{TRACE}-{SPAN}-01"), false),
            (format!("00-{TRACE}-{SPAN}-01-"), false),
        ] {
            assert_eq!(ParentSpan::parse(text.as_bytes()).is_some(), is_read, "{text}");
        }
    }

    #[test]
    fn invalid_traceparents_are_not_read() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("0x-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}{SPAN}--01"),
            format!(" 00-{TRACE}-{SPAN}-01"),
            format!("00-{}é-{SPAN}-01", &TRACE[..30]),
        ] {
            assert_eq!(ParentSpan::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(ParentSpan::of(&headers), None);
        let value: HeaderValue = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
        headers.append(TRACEPARENT, value.clone());
        assert!(ParentSpan::of(&headers).is_some());
        headers.append(TRACEPARENT, value);
        assert_eq!(ParentSpan::of(&headers), None);
    }
}
