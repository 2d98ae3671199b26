//! Range requests (RFC 9110 §14): which bytes to send, and in which form.
//!
//! Ranges are cut from the identity form. The caller makes sure that the method is GET, that the
//! status is 200, and that If-Range holds. The selected bytes never exceed the representation,
//! however often a request names the same bytes, so that a short request cannot cause a long answer
//! (§17.15).

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use smallvec::SmallVec;

use crate::syntax::list::{self, FieldLines};

/// The bytes that a Range selects from a representation of known length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// The whole representation, with 200: there is no Range, or it is malformed, in an unknown
    /// unit, or of too many or overlapping ranges.
    Whole,
    /// One range of bytes: 206.
    Single(Range<u64>),
    /// Several ranges, in the requested order: 206 multipart/byteranges.
    Several(Box<[Range<u64>]>),
    /// No range can be satisfied: 416.
    Unsatisfiable,
}

/// The most ranges that are answered one by one; a request for more gets the whole (RFC 9110
/// §17.15).
pub const RANGES_MAX: usize = 16;

/// The overhead of a part in a multipart body: "around 80 bytes" by RFC 9110 §15.3.7.2.
///
/// Overlapping ranges are also joined over gaps smaller than this.
const PART_OVERHEAD: u64 = 80;

/// Reads the request's Range for a representation of `length` bytes.
pub fn select(request: &HeaderMap, length: u64) -> Ranges {
    let FieldLines::One(line) = FieldLines::of(request, header::RANGE) else { return Ranges::Whole };
    // §14.2: a Range that is not understood is ignored.
    let Some(specs) = parse(line.as_bytes()) else { return Ranges::Whole };
    // §14.1.2: a suffix of an empty representation selects all of it, for which there is no
    // Content-Range.
    if length == 0 && specs.iter().any(|spec| matches!(spec, RangeSpec::Suffix(1..))) {
        return Ranges::Whole;
    }
    let wanted_ranges: SmallVec<[Range<u64>; 2]> = specs.iter().filter_map(|spec| spec.resolve(length)).collect();
    match &wanted_ranges[..] {
        [] => Ranges::Unsatisfiable,
        [only] => Ranges::Single(only.clone()),
        several => select_several(several, length),
    }
}

/// Decides about two ranges or more (RFC 9110 §14.2, §15.3.7.2).
///
/// They are sent as requested if no byte is named twice, else coalesced. They are ignored if they
/// are longer than the whole with its parts' heads.
fn select_several(wanted_ranges: &[Range<u64>], length: u64) -> Ranges {
    let sum = wanted_ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
    if sum >= length.saturating_add(PART_OVERHEAD * wanted_ranges.len() as u64) {
        return Ranges::Whole;
    }
    let overlaps = wanted_ranges
        .iter()
        .enumerate()
        .any(|(at, one)| wanted_ranges[at + 1..].iter().any(|other| one.start < other.end && other.start < one.end));
    if !overlaps {
        return Ranges::Several(wanted_ranges.into());
    }
    match &coalesce(wanted_ranges)[..] {
        [only] => Ranges::Single(only.clone()),
        several => Ranges::Several(several.into()),
    }
}

/// Joins ranges that overlap or are closer than [`PART_OVERHEAD`].
///
/// A joined range takes the place of its first member, which keeps the requested order (RFC 9110
/// §15.3.7.2).
fn coalesce(wanted_ranges: &[Range<u64>]) -> SmallVec<[Range<u64>; RANGES_MAX]> {
    let mut joined: SmallVec<[Range<u64>; RANGES_MAX]> = SmallVec::new();
    for range in wanted_ranges {
        let mut grown = range.clone();
        let mut place = joined.len();
        let is_near = |other: &Range<u64>, grown: &Range<u64>| {
            other.start < grown.end.saturating_add(PART_OVERHEAD)
                && grown.start < other.end.saturating_add(PART_OVERHEAD)
        };
        // A range that has grown may now be near another one: repeat until none is.
        while let Some(at) = joined.iter().position(|other| is_near(other, &grown)) {
            let other = joined.remove(at);
            grown = grown.start.min(other.start)..grown.end.max(other.end);
            place = place.min(at);
        }
        joined.insert(place.min(joined.len()), grown);
    }
    joined
}

/// One range-spec (RFC 9110 §14.1.2), before the length is known.
#[derive(Clone, Copy)]
enum RangeSpec {
    /// `first-last` or `first-`, both ends inclusive.
    From(u64, Option<u64>),
    /// `-length`.
    Suffix(u64),
}

impl RangeSpec {
    /// Returns the selected bytes; `None` if `length` bytes cannot satisfy the spec.
    fn resolve(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first, last) => first..last.map_or(length, |last| last.saturating_add(1).min(length)),
            Self::Suffix(suffix) => length.saturating_sub(suffix)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// Reads a ranges-specifier; `None` if it is malformed, of another unit, or of more than
/// [`RANGES_MAX`] ranges.
fn parse(value: &[u8]) -> Option<SmallVec<[RangeSpec; 2]>> {
    let at = value.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = (&value[..at], &value[at + 1..]);
    // §14.1: range units are case-insensitive.
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = SmallVec::new();
    // §5.6.1.2: a recipient parses and ignores empty members.
    for member in list::members(set) {
        if specs.len() == RANGES_MAX {
            return None;
        }
        let dash = member.iter().position(|&byte| byte == b'-')?;
        specs.push(match (&member[..dash], &member[dash + 1..]) {
            (b"", suffix) => RangeSpec::Suffix(digits(suffix)?),
            (first, b"") => RangeSpec::From(digits(first)?, None),
            (first, last) => {
                let (first, last) = (digits(first)?, digits(last)?);
                // An int-range whose last-pos is less than its first-pos is invalid, and makes the
                // field invalid.
                if last < first {
                    return None;
                }
                RangeSpec::From(first, Some(last))
            }
        });
    }
    (!specs.is_empty()).then_some(specs)
}

/// Reads `1*DIGIT`; a number that does not fit becomes the largest.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Returns `bytes a-b/length`.
pub fn content_range(range: &Range<u64>, length: u64) -> HeaderValue {
    let mut text = Vec::with_capacity(72);
    push_content_range(&mut text, range, length);
    owned(text)
}

/// Returns `bytes */length`.
pub fn unsatisfied(length: u64) -> HeaderValue {
    let mut text = b"bytes */".to_vec();
    push_number(&mut text, length);
    owned(text)
}

fn push_content_range(text: &mut Vec<u8>, range: &Range<u64>, length: u64) {
    text.extend_from_slice(b"bytes ");
    push_number(text, range.start);
    text.push(b'-');
    push_number(text, range.end.saturating_sub(1));
    text.push(b'/');
    push_number(text, length);
}

fn push_number(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn owned(text: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("digits and punctuation are a field value")
}

/// A multipart/byteranges body as a list of pieces: bytes of its own, and ranges of the
/// representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// The Content-Type, with the boundary.
    pub content_type: HeaderValue,
    /// The pieces in order.
    pub pieces: Vec<BodyPiece>,
    /// The length of all pieces, in bytes.
    pub length: u64,
}

/// One piece of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPiece {
    /// A part's head, or the closing line.
    Own(Box<[u8]>),
    /// Bytes of the representation.
    Cut(Range<u64>),
}

impl BodyPiece {
    /// Returns the length of the piece, in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Own(bytes) => bytes.len() as u64,
            Self::Cut(range) => range.end - range.start,
        }
    }

    /// Tells whether the piece is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Lays out `ranges` of a representation of `length` bytes with this Content-Type (RFC 9110 §14.6).
///
/// `boundary` must not occur in the body. Random letters and digits, 24 of them, will do; it is not
/// quoted.
pub fn multipart(ranges: &[Range<u64>], length: u64, content_type: Option<&[u8]>, boundary: &str) -> Multipart {
    let mut pieces = Vec::with_capacity(ranges.len() * 2 + 1);
    for (at, range) in ranges.iter().enumerate() {
        // The CRLF before a delimiter belongs to the delimiter (RFC 2046 §5.1.1); the first one has
        // none.
        let mut head = Vec::with_capacity(128 + boundary.len() + content_type.map_or(0, <[u8]>::len));
        head.extend_from_slice(if at == 0 { b"--" } else { b"\r\n--" });
        head.extend_from_slice(boundary.as_bytes());
        if let Some(content_type) = content_type {
            head.extend_from_slice(b"\r\nContent-Type: ");
            head.extend_from_slice(content_type);
        }
        head.extend_from_slice(b"\r\nContent-Range: ");
        push_content_range(&mut head, range, length);
        head.extend_from_slice(b"\r\n\r\n");
        pieces.push(BodyPiece::Own(head.into_boxed_slice()));
        pieces.push(BodyPiece::Cut(range.clone()));
    }
    pieces.push(BodyPiece::Own([b"\r\n--", boundary.as_bytes(), b"--\r\n"].concat().into_boxed_slice()));
    let content_type = [b"multipart/byteranges; boundary=", boundary.as_bytes()].concat();
    Multipart {
        content_type: HeaderValue::from_bytes(&content_type).expect("a boundary is letters and digits"),
        length: pieces.iter().map(BodyPiece::len).sum(),
        pieces,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ask(range: &str) -> HeaderMap {
        let mut request = HeaderMap::new();
        request.insert(header::RANGE, HeaderValue::from_bytes(range.as_bytes()).unwrap());
        request
    }

    fn several<const N: usize>(ranges: [Range<u64>; N]) -> Ranges {
        Ranges::Several(Box::new(ranges))
    }

    #[track_caller]
    fn check(range: &str, length: u64, want: Ranges) {
        assert_eq!(select(&ask(range), length), want, "{range} of {length}");
    }

    use Ranges::{Single, Unsatisfiable, Whole};

    #[test]
    fn s14_1_2_one_range_is_cut_to_the_length() {
        check("bytes=0-0", 10, Single(0..1));
        check("bytes=0-1", 10, Single(0..2));
        check("bytes=1-", 11, Single(1..11));
        check("bytes=9-", 10, Single(9..10));
        check("bytes=3-100", 10, Single(3..10));
        check("bytes=0-9", 10, Single(0..10));
        check("bytes=-1", 10, Single(9..10));
        check("bytes=-10", 10, Single(0..10));
        check("bytes=-11", 10, Single(0..10));
        check("BYTES=2-3", 10, Single(2..4));
        check("bytes= 2-3 ,", 10, Single(2..4));
        check("bytes=,\t2-3", 10, Single(2..4));
        check("bytes=007-008", 10, Single(7..9));
    }

    #[test]
    fn s14_2_what_is_malformed_or_unknown_is_ignored() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=0",
            "bytes=5-4",
            "bytes=0-1-2",
            "bytes=+1-2",
            "bytes=0 -1",
            "bytes=0- 1",
            "bytes=--1",
            "bytes=0-1;2-3",
            "bytes=0-1,x",
            "bytes=0-1, 5-4",
            "bytes =0-1",
            " bytes=0-1",
            "items=0-1",
            "bytes:0-1",
            "bytes=0x1-2",
            "bytes=0-\u{661}",
        ] {
            check(range, 10, Whole);
        }
        assert_eq!(select(&HeaderMap::new(), 10), Whole);
        let mut twice = ask("bytes=0-1");
        twice.append(header::RANGE, HeaderValue::from_static("bytes=3-4"));
        assert_eq!(select(&twice, 10), Whole);
    }

    #[test]
    fn s14_1_2_what_no_byte_satisfies_is_unsatisfiable() {
        check("bytes=10-", 10, Unsatisfiable);
        check("bytes=10-20", 10, Unsatisfiable);
        check("bytes=-0", 10, Unsatisfiable);
        check("bytes=-0, 10-, 11-12", 10, Unsatisfiable);
        check("bytes=10-, 0-0", 10, Single(0..1));
        check("bytes=0-", 0, Unsatisfiable);
        check("bytes=0-0", 0, Unsatisfiable);
        check("bytes=-0", 0, Unsatisfiable);
        check("bytes=-5", 0, Whole);
        check("bytes=0-, -5", 0, Whole);
    }

    #[test]
    fn numbers_that_do_not_fit_become_the_largest() {
        let huge = "99999999999999999999999999";
        check(&format!("bytes={huge}-"), 10, Unsatisfiable);
        check(&format!("bytes={huge}-{huge}"), u64::MAX, Unsatisfiable);
        check(&format!("bytes=2-{huge}"), 10, Single(2..10));
        check(&format!("bytes=-{huge}"), 10, Single(0..10));
        check("bytes=0-18446744073709551615", u64::MAX, Single(0..u64::MAX));
        check(&format!("bytes=0-{huge},0-{huge},-{huge}"), u64::MAX, Whole);
    }

    #[test]
    fn s15_3_7_2_ranges_apart_are_answered_in_the_order_asked() {
        check("bytes=0-0,-1", 10, several([0..1, 9..10]));
        check("bytes=500-599,0-99", 1000, several([500..600, 0..100]));
        check("bytes=0-4,5-9", 100, several([0..5, 5..10]));
        check("bytes=0-1,2000-,5-6", 1000, several([0..2, 5..7]));
    }

    #[test]
    fn s15_3_7_2_overlapping_ranges_are_coalesced() {
        check("bytes=0-100,50-150", 1000, Single(0..151));
        check("bytes=50-150,0-100", 1000, Single(0..151));
        check("bytes=0-9,0-9", 1000, Single(0..10));
        check("bytes=600-699,0-9,650-749,5-14", 1000, several([600..750, 0..15]));
        // Once ranges overlap, gaps smaller than a part's head are filled too; larger gaps are not.
        check("bytes=0-9,5-14,94-99", 1000, Single(0..100));
        check("bytes=0-9,5-14,95-99", 1000, several([0..15, 95..100]));
        // The last range joins two that were apart.
        check("bytes=0-9,500-509,5-505", 1000, Single(0..510));
    }

    #[test]
    fn s17_15_floods_get_the_whole() {
        let starts = |count: u64| (0..count).map(|at| format!("{}-{0}", at * 100)).collect::<Vec<_>>().join(",");
        assert!(
            matches!(select(&ask(&format!("bytes={}", starts(16))), 10_000), Ranges::Several(parts) if parts.len() == 16)
        );
        check(&format!("bytes={}", starts(17)), 10_000, Whole);
        check(&format!("bytes={}", ["0-"; 1000].join(",")), 10_000, Whole);
        check("bytes=0-,1-,2-", 10_000, Whole);
        // The boundary: 320 bytes are the whole 160 plus two heads of 80.
        check("bytes=0-159,0-159", 160, Whole);
        check("bytes=0-159,1-159", 160, Single(0..160));
    }

    #[test]
    fn s14_4_content_range_names_the_last_byte() {
        assert_eq!(content_range(&(0..1), 1), "bytes 0-0/1");
        assert_eq!(content_range(&(21010..47022), 47022), "bytes 21010-47021/47022");
        assert_eq!(content_range(&(0..u64::MAX), u64::MAX).len(), 6 + 1 + 1 + 20 + 1 + 20);
        assert_eq!(unsatisfied(47022), "bytes */47022");
    }

    /// Writes a multipart body out, given `body`.
    fn render(multipart: &Multipart, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in &multipart.pieces {
            match piece {
                BodyPiece::Own(bytes) => out.extend_from_slice(bytes),
                BodyPiece::Cut(range) => out.extend_from_slice(&body[range.start as usize..range.end as usize]),
            }
        }
        out
    }

    #[test]
    fn s14_6_a_multipart_body_is_delimited_by_crlf() {
        let laid_out = multipart(&[0..2, 5..6], 10, Some(b"text/plain"), "BOUND");
        assert_eq!(laid_out.content_type, "multipart/byteranges; boundary=BOUND");
        let want = "--BOUND\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
            \r\n--BOUND\r\nContent-Type: text/plain\r\nContent-Range: bytes 5-5/10\r\n\r\n5\r\n--BOUND--\r\n";
        assert_eq!(String::from_utf8(render(&laid_out, b"0123456789")).unwrap(), want);
        assert_eq!(laid_out.length, want.len() as u64);
        let bare = multipart(&[0..1, 8..9], 10, None, "B");
        assert!(render(&bare, b"0123456789").starts_with(b"--B\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n--B\r\n"));
    }

    proptest! {
        #[test]
        fn selected_ranges_are_whole_bytes_inside_and_never_more_than_there_is(
            length in 0_u64..2000,
            specs in prop::collection::vec((0_u64..2500, 0_u64..2500, 0_u8..3), 1..20),
        ) {
            let wanted: Vec<Range<u64>> = specs.iter().filter_map(|&(a, b, form)| match form {
                0 => RangeSpec::From(a.min(b), Some(a.max(b))),
                1 => RangeSpec::From(a, None),
                _ => RangeSpec::Suffix(a),
            }.resolve(length)).collect();
            let text: Vec<String> = specs.iter().map(|&(a, b, form)| match form {
                0 => format!("{}-{}", a.min(b), a.max(b)),
                1 => format!("{a}-"),
                _ => format!("-{a}"),
            }).collect();
            let selected: Vec<Range<u64>> = match select(&ask(&format!("bytes={}", text.join(", "))), length) {
                Ranges::Whole => return Ok(()),
                Ranges::Unsatisfiable => {
                    prop_assert!(wanted.is_empty());
                    return Ok(());
                }
                Ranges::Single(range) => vec![range],
                Ranges::Several(ranges) => {
                    prop_assert!(ranges.len() > 1);
                    ranges.into_vec()
                }
            };
            for range in &selected {
                prop_assert!(range.start < range.end && range.end <= length);
            }
            // No byte occurs twice, every requested byte occurs, and in the order in which it was
            // first requested.
            let mut seen = vec![false; length as usize];
            for byte in selected.iter().cloned().flatten() {
                prop_assert!(!std::mem::replace(&mut seen[byte as usize], true));
            }
            prop_assert!(wanted.iter().cloned().flatten().all(|byte| seen[byte as usize]));
            let first = |range: &Range<u64>| {
                wanted.iter().position(|wanted_ranges| range.start <= wanted_ranges.start && wanted_ranges.end <= range.end)
            };
            prop_assert!(selected.windows(2).all(|pair| first(&pair[0]) < first(&pair[1])));

            let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
            let laid_out = multipart(&selected, length, Some(b"text/html"), "0123456789abcdefghijklmn");
            prop_assert_eq!(render(&laid_out, &body).len() as u64, laid_out.length);
        }

        #[test]
        fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64), length in any::<u64>()) {
            if let Ok(value) = HeaderValue::from_bytes(&[b"bytes=", &bytes[..]].concat()) {
                let mut request = HeaderMap::new();
                request.insert(header::RANGE, value);
                let _ = select(&request, length);
            }
        }
    }
}
