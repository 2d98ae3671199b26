//! The end of a response's body (RFC 9112 §6.3), and the heads that leave it in doubt.
//!
//! hyper refuses differing and malformed Content-Length where it needs one, and Transfer-Encoding
//! on HTTP/1.0. This file refuses heads that hyper accepts and another reader would read
//! differently.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use crate::syntax::list::{self, FieldLines};
use crate::syntax::token;

/// The mark that ends a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseFraming {
    /// The head is everything.
    NoBody,
    /// The body's length, or its last chunk.
    Sized,
    /// The closing connection, after a transfer coding that Larder does not know. The header frames
    /// the message, so an orderly close confirms the end (RFC 9112 §6.3, item 4); a reset is still
    /// an error.
    Coded,
    /// Only the closing connection.
    Unsized,
}

/// Decides what ends the body of a response to a `method` request; the error says what is in doubt.
pub(super) fn framing(
    method: &Method,
    version: Version,
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<ResponseFraming, &'static str> {
    // Item 5: for every status, because this header may be passed on.
    let length = content_length(fields)?;
    let has_length = length.is_some();
    let coding = transfer_coding(fields)?;
    // RFC 9112 §6.3, item 3: such a message ought to be handled as an error, whatever its status.
    if has_length && coding != TransferCoding::None {
        return Err("both Content-Length and Transfer-Encoding");
    }
    // RFC 9112 §6.1: a server must not send Transfer-Encoding to an HTTP/1.0 client, nor with 1xx
    // and 204.
    if coding != TransferCoding::None
        && (version < Version::HTTP_11 || status == StatusCode::NO_CONTENT || status.is_informational())
    {
        return Err("Transfer-Encoding where there can be none");
    }
    // RFC 9110 §8.6: nor Content-Length. A zero is harmless and common.
    if status == StatusCode::NO_CONTENT && length.is_some_and(|length| length > 0) {
        return Err("a 204 with content");
    }
    // Item 1.
    if method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(ResponseFraming::NoBody);
    }
    // Items 4, 6 and 8.
    Ok(match coding {
        _ if has_length => ResponseFraming::Sized,
        TransferCoding::Chunked => ResponseFraming::Sized,
        TransferCoding::Unknown => ResponseFraming::Coded,
        TransferCoding::Compressed | TransferCoding::None => ResponseFraming::Unsized,
    })
}

/// Returns whether an origin may send a body though this response has none: after a HEAD, or in a
/// 304 with Transfer-Encoding. The connection is then not reused, since such bytes would be taken
/// for the next response.
///
/// A 304 may state the length of its representation without sending it (RFC 9110 §15.4.5), and most
/// origins that do so send nothing. [`framing`] refuses a 204 with a length.
pub(super) fn may_send_body_anyway(method: &Method, status: StatusCode, fields: &HeaderMap) -> bool {
    method == Method::HEAD || (status == StatusCode::NOT_MODIFIED && fields.contains_key(TRANSFER_ENCODING))
}

/// Reads Content-Length: one value, or the same value several times (RFC 9112 §6.3, item 5).
fn content_length(fields: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut known = None;
    for value in fields.get_all(CONTENT_LENGTH) {
        for digits in list::members_or_gaps(value.as_bytes()) {
            let length = decimal(digits).ok_or("a Content-Length that is no number")?;
            if *known.get_or_insert(length) != length {
                return Err("differing Content-Lengths");
            }
        }
    }
    Ok(known)
}

/// Reduces Content-Length to one plain value, as a message that is passed on requires (RFC 9110
/// §8.6).
pub(super) fn normalise_length(fields: &mut HeaderMap) {
    let is_plain_already = match FieldLines::of(fields, CONTENT_LENGTH) {
        FieldLines::None => true,
        FieldLines::One(value) => is_plain(value.as_bytes()),
        FieldLines::Several => false,
    };
    if !is_plain_already && let Ok(Some(length)) = content_length(fields) {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn is_plain(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit) && !matches!(digits, [] | [b'0', _, ..])
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// The registered transfer codings other than chunked (RFC 9112 §7.2).
const COMPRESSED: [&[u8]; 5] = [b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum TransferCoding {
    None,
    Chunked,
    /// A coding whose bytes are not the representation's own: passed on, and never stored.
    Compressed,
    Unknown,
}

/// Reads Transfer-Encoding. Larder never sends TE, so anything but `chunked` is unsolicited (RFC
/// 9112 §7.4). One unknown coding is accepted, and read until the connection closes (§6.3, item 4).
fn transfer_coding(fields: &HeaderMap) -> Result<TransferCoding, &'static str> {
    let value = match FieldLines::of(fields, TRANSFER_ENCODING) {
        FieldLines::None => return Ok(TransferCoding::None),
        FieldLines::One(value) => value,
        FieldLines::Several => return Err("more than one Transfer-Encoding field"),
    };
    match value.as_bytes().trim_ascii() {
        coding if coding.eq_ignore_ascii_case(b"chunked") => Ok(TransferCoding::Chunked),
        b"" => Err("an empty Transfer-Encoding"),
        coding if coding.to_ascii_lowercase().windows(7).any(|part| part == b"chunked") => {
            Err("a Transfer-Encoding that names chunked and something else")
        }
        coding if COMPRESSED.iter().any(|known| coding.eq_ignore_ascii_case(known)) => Ok(TransferCoding::Compressed),
        coding if token::is_token(coding) => Ok(TransferCoding::Unknown),
        _ => Err("a Transfer-Encoding that is not one coding"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: Method, version: Version, status: u16, fields: &[(&'static str, &str)]) -> Option<ResponseFraming> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, value.parse().unwrap());
        }
        framing(&method, version, StatusCode::from_u16(status).unwrap(), &map).ok()
    }

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], expected: Option<ResponseFraming>) {
        assert_eq!(of(Method::GET, Version::HTTP_11, 200, fields), expected, "{fields:?}");
    }

    const LENGTH: (&str, &str) = ("content-length", "5");
    const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

    #[test]
    fn s6_3_length_chunked_or_the_closing_connection() {
        check(&[LENGTH], Some(ResponseFraming::Sized));
        check(&[CHUNKED], Some(ResponseFraming::Sized));
        check(&[("transfer-encoding", " Chunked ")], Some(ResponseFraming::Sized));
        check(&[], Some(ResponseFraming::Unsized));
        check(&[("transfer-encoding", "gzip")], Some(ResponseFraming::Unsized));
        check(&[("transfer-encoding", "unheard-of")], Some(ResponseFraming::Coded));
    }

    #[test]
    fn s6_3_1_some_responses_have_no_body() {
        let none = Some(ResponseFraming::NoBody);
        assert_eq!(of(Method::HEAD, Version::HTTP_11, 200, &[]), none);
        assert_eq!(of(Method::HEAD, Version::HTTP_11, 200, &[CHUNKED]), none);
        assert_eq!(of(Method::GET, Version::HTTP_11, 304, &[LENGTH]), none);
        assert_eq!(of(Method::GET, Version::HTTP_11, 204, &[]), none);
        assert_eq!(of(Method::GET, Version::HTTP_11, 205, &[]), Some(ResponseFraming::Unsized));
    }

    #[test]
    fn s6_3_1_heads_after_which_a_body_may_follow_anyway() {
        let check = |method: Method, status: u16, field: Option<(&'static str, &'static str)>, expected: bool| {
            let fields = field.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(may_send_body_anyway(&method, status, &fields.collect()), expected, "{method} {status}");
        };
        check(Method::HEAD, 200, None, true);
        check(Method::HEAD, 404, Some(LENGTH), true);
        check(Method::GET, 304, None, false);
        check(Method::GET, 304, Some(LENGTH), false);
        check(Method::GET, 304, Some(CHUNKED), true);
        check(Method::GET, 204, None, false);
        check(Method::GET, 200, Some(CHUNKED), false);
    }

    #[test]
    fn s6_3_5_a_length_is_one_number() {
        for value in ["", "x", "-5", "+5", "5 5", "0x5", "5.0", "5, 6", "5,", "5;", "18446744073709551616"] {
            check(&[("content-length", value)], None);
            assert_eq!(of(Method::HEAD, Version::HTTP_11, 200, &[("content-length", value)]), None, "{value}");
            assert_eq!(of(Method::GET, Version::HTTP_11, 304, &[("content-length", value)]), None, "{value}");
        }
        check(&[LENGTH, ("content-length", "6")], None);
        check(&[LENGTH, LENGTH], Some(ResponseFraming::Sized));
        let normalised = |values: &[&str]| {
            let mut map = HeaderMap::new();
            for value in values {
                map.append(CONTENT_LENGTH, value.parse().unwrap());
            }
            normalise_length(&mut map);
            map.get_all(CONTENT_LENGTH).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for values in [&["5"][..], &["5", "5"], &["5, 5"], &["005"]] {
            assert_eq!(normalised(values), ["5"]);
        }
        assert!(normalised(&[]).is_empty());
    }

    #[test]
    fn rfc9110_s8_6_a_204_has_no_content() {
        assert_eq!(of(Method::GET, Version::HTTP_11, 204, &[LENGTH]), None);
        assert_eq!(of(Method::GET, Version::HTTP_11, 204, &[("content-length", "0")]), Some(ResponseFraming::NoBody));
    }

    #[test]
    fn s6_3_3_length_with_transfer_encoding_is_an_error() {
        check(&[LENGTH, CHUNKED], None);
        check(&[LENGTH, ("transfer-encoding", "identity")], None);
        assert_eq!(of(Method::HEAD, Version::HTTP_11, 200, &[LENGTH, CHUNKED]), None);
        assert_eq!(of(Method::GET, Version::HTTP_11, 304, &[LENGTH, CHUNKED]), None);
    }

    #[test]
    fn s6_1_an_ambiguous_transfer_encoding_is_refused() {
        for value in ["", "gzip, chunked", "chunked, gzip", "chunked, chunked", "chunked;a=b", "xchunked", "a b", "a\t"]
        {
            let expected = (value == "a\t").then_some(ResponseFraming::Coded);
            check(&[("transfer-encoding", value)], expected);
        }
        check(&[CHUNKED, CHUNKED], None);
        check(&[("transfer-encoding", "gzip"), CHUNKED], None);
        assert_eq!(of(Method::GET, Version::HTTP_10, 200, &[CHUNKED]), None);
        assert_eq!(of(Method::GET, Version::HTTP_11, 204, &[CHUNKED]), None);
    }
}
