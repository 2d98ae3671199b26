//! Content codings: which ones the client accepts, and which bodies are worth encoding (RFC 9110
//! §12.5.3).
//!
//! Choosing a coding is on the path of every hit, so nothing here allocates. For large bodies,
//! encoding takes more than 100 µs of CPU: callers run [`encode`] and [`decode`] on the bounded
//! pool.

use http::{HeaderMap, HeaderName, header};

pub use super::codec::{decode, encode};
use crate::policy::cache_control;
use crate::stored::{Coding, StoredBody};
use crate::syntax::list;

/// The codings that a client accepts, with their weights; identity is accepted unless it is
/// refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedCodings {
    /// The client accepts zstd.
    pub zstd: bool,
    /// The client accepts Brotli.
    pub brotli: bool,
    /// The client accepts gzip.
    pub gzip: bool,
    /// The client accepts identity.
    pub identity: bool,
    /// The weights in thousandths, by [`slot`]; zero for a refused coding.
    weights: [u16; 4],
}

/// The weight of identity if the field names neither it nor `*`: acceptable, but behind every named
/// coding.
const UNNAMED: u16 = 1;

impl AcceptedCodings {
    /// Parses Accept-Encoding.
    ///
    /// Without the field only identity is accepted: RFC 9110 §12.5.3 would allow any coding, but no
    /// client that omits the field is known to want one. A member with a malformed weight is
    /// ignored. If a coding is named twice the smaller weight counts, so that a refusal is never
    /// overruled.
    pub fn parse(request: &HeaderMap) -> Self {
        let mut named: [Option<u16>; 4] = [None; 4];
        let mut star: Option<u16> = None;
        for (coding, weight) in list::field_members(request, header::ACCEPT_ENCODING).filter_map(member) {
            let slot = match coding {
                b"*" => &mut star,
                _ => match known(coding) {
                    Some(coding) => &mut named[slot(coding)],
                    None => continue,
                },
            };
            *slot = Some(slot.map_or(weight, |other| other.min(weight)));
        }
        // `*` means every coding that is not named, including identity.
        let identity = named[slot(Coding::Identity)].or(star).unwrap_or(UNNAMED);
        let weight = |coding| named[slot(coding)].or(star).unwrap_or(0);
        Self::of([weight(Coding::Zstd), weight(Coding::Brotli), weight(Coding::Gzip), identity])
    }

    const fn of(weights: [u16; 4]) -> Self {
        Self { zstd: weights[0] > 0, brotli: weights[1] > 0, gzip: weights[2] > 0, identity: weights[3] > 0, weights }
    }

    /// Picks the coding to serve, of those that are `available` and those that can be `made`.
    ///
    /// The client's weights come first. Among equals the order is: zstd, which is the stored form;
    /// Brotli if it is stored already; gzip, which is cheap to make; Brotli that has to be made;
    /// identity. If nothing is acceptable the answer is identity: a body that the client may be
    /// able to read serves it better than a 406, and RFC 9110 §12.5.3 and §15.5.7 allow
    /// disregarding the field.
    pub fn best(self, available: Codings, made: Codings) -> Coding {
        let brotli_is_available = available.contains(Coding::Brotli);
        let order = if brotli_is_available {
            [Coding::Zstd, Coding::Brotli, Coding::Gzip]
        } else {
            [Coding::Zstd, Coding::Gzip, Coding::Brotli]
        };
        let mut best = Coding::Identity;
        // Zero for a refused identity: every accepted coding beats it. At equal weight a coding
        // wins over identity.
        let mut best_weight = self.weights[slot(Coding::Identity)];
        for coding in order {
            let weight = self.weights[slot(coding)];
            let available = available.contains(coding) || made.contains(coding);
            if available && weight > 0 && (weight > best_weight || weight == best_weight && best == Coding::Identity) {
                (best, best_weight) = (coding, weight);
            }
        }
        best
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Codings(u8);

impl Codings {
    /// No coding.
    pub const NONE: Self = Self(0);
    /// Every coding: any of them can be made of a body that may be transformed.
    pub const ALL: Self = Self(0b1111);

    /// Returns the codings in which `body` is stored.
    pub fn of_body(body: &StoredBody) -> Self {
        body.renditions.iter().fold(Self::NONE, |available, rendition| available.with(rendition.coding))
    }

    /// Adds a coding.
    #[must_use]
    pub const fn with(self, coding: Coding) -> Self {
        Self(self.0 | 1 << slot(coding))
    }

    /// Tells whether `coding` is in the set.
    pub const fn contains(self, coding: Coding) -> bool {
        self.0 & 1 << slot(coding) != 0
    }
}

const fn slot(coding: Coding) -> usize {
    match coding {
        Coding::Zstd => 0,
        Coding::Brotli => 1,
        Coding::Gzip => 2,
        Coding::Identity => 3,
    }
}

/// Returns the coding of a name, in any case; `x-gzip` is gzip (RFC 9110 §8.4.1, §8.4.1.3).
fn known(coding: &[u8]) -> Option<Coding> {
    const NAMES: [(&[u8], Coding); 5] = [
        (b"gzip", Coding::Gzip),
        (b"br", Coding::Brotli),
        (b"zstd", Coding::Zstd),
        (b"identity", Coding::Identity),
        (b"x-gzip", Coding::Gzip),
    ];
    NAMES.iter().find(|(name, _)| coding.eq_ignore_ascii_case(name)).map(|&(_, coding)| coding)
}

/// Reads `coding [;q=weight]`; `None` if it is empty or its weight is malformed. Other parameters
/// are ignored.
fn member(text: &[u8]) -> Option<(&[u8], u16)> {
    let mut parts = text.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let coding = parts.next().filter(|coding| !coding.is_empty())?;
    let mut weight = 1000;
    for parameter in parts {
        if let [b'q' | b'Q', b'=', value @ ..] = parameter {
            weight = thousandths(value)?;
        }
    }
    Some((coding, weight))
}

/// Reads a qvalue: `0`, `1`, and up to three decimals (RFC 9110 §12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole @ (b'0' | b'1')] => (whole, &[][..]),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut weight = u16::from(whole - b'0') * 1000;
    for (decimal, unit) in decimals.iter().zip([100, 10, 1]) {
        weight += decimal.is_ascii_digit().then(|| u16::from(decimal - b'0') * unit)?;
    }
    (weight <= 1000).then_some(weight)
}

/// Tells whether Larder may change the coding of a message.
///
/// Larder may not if the message says no-transform (RFC 9111 §5.2.2.6), is encoded already, or is a
/// part of something.
pub fn may_transform(headers: &HeaderMap) -> bool {
    let is_other_form = |name: HeaderName| headers.contains_key(name);
    !(cache_control::forbids_transform(headers)
        || is_other_form(header::CONTENT_ENCODING)
        || is_other_form(header::CONTENT_RANGE))
}

/// Tells whether a representation is worth compressing.
///
/// The body must be text by its Content-Type, be at least `min_bytes` long, and permit a
/// transformation. The caller makes sure that its status is 200.
pub fn is_compressible(response: &HeaderMap, body_bytes: u64, min_bytes: u64) -> bool {
    body_bytes >= min_bytes
        && response.get(header::CONTENT_TYPE).is_some_and(|value| is_text(value.as_bytes()))
        && may_transform(response)
}

/// Media types that compress well, in addition to `text/*` and the structured suffixes.
const SHRINKING: [&str; 24] = [
    "application/dns-json",
    "application/ecmascript",
    "application/geo+json-seq",
    "application/graphql",
    "application/javascript",
    "application/json",
    "application/json-seq",
    "application/postscript",
    "application/rtf",
    "application/toml",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-font-opentype",
    "application/x-font-otf",
    "application/x-font-truetype",
    "application/x-font-ttf",
    "application/x-javascript",
    "application/x-ndjson",
    "application/x-yaml",
    "application/xml",
    "application/yaml",
    "font/otf",
    "font/sfnt",
    "font/ttf",
];

/// Tells by the type whether a body is text or compresses like text.
///
/// Images, videos, archives and WOFF are compressed already; an event stream never completes.
fn is_text(content_type: &[u8]) -> bool {
    let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let ends = |suffix: &[u8]| {
        essence.len() > suffix.len() && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
    };
    let starts = |prefix: &[u8]| essence.len() > prefix.len() && essence[..prefix.len()].eq_ignore_ascii_case(prefix);
    if starts(b"text/") {
        return !essence.eq_ignore_ascii_case(b"text/event-stream");
    }
    ends(b"+json")
        || ends(b"+xml")
        || ends(b"+yaml")
        || SHRINKING.iter().any(|known| essence.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn accepted(field: &str) -> AcceptedCodings {
        AcceptedCodings::parse(&map(&[("accept-encoding", field)]))
    }

    const NONE: Codings = Codings::NONE;
    const ALL: Codings = Codings::ALL;
    const AS_SENT: Codings = NONE.with(Coding::Identity);
    use Coding::{Brotli, Gzip, Identity, Zstd};

    #[track_caller]
    fn check(field: &str, want: [bool; 4]) {
        let got = accepted(field);
        assert_eq!([got.zstd, got.brotli, got.gzip, got.identity], want, "{field}");
        assert_eq!([Zstd, Brotli, Gzip, Identity].map(|coding| got.weights[slot(coding)] > 0), want, "{field}");
    }

    #[test]
    fn s12_5_3_codings_are_accepted_by_name_and_weight() {
        assert_eq!(AcceptedCodings::parse(&HeaderMap::new()), accepted(""));
        check("", [false, false, false, true]);
        check("gzip, deflate, br, zstd", [true, true, true, true]);
        check("gzip", [false, false, true, true]);
        check("GZip;Q=1.0", [false, false, true, true]);
        check("x-gzip", [false, false, true, true]);
        check("compress, deflate", [false, false, false, true]);
        check("gzip;q=0", [false, false, false, true]);
        check("gzip;q=0.000, br;q=0.001", [false, true, false, true]);
        check("br ; q=0.5 ,\tzstd;q=1.000", [true, true, false, true]);
        check("*", [true, true, true, true]);
        check("*;q=0", [false, false, false, false]);
        check("*;q=0, identity", [false, false, false, true]);
        check("gzip, *;q=0", [false, false, true, false]);
        check("gzip, identity;q=0", [false, false, true, false]);
        check("gzip;q=0, *", [true, true, false, true]);
        check("gzip, x-gzip;q=0", [false, false, false, true]);
        let lines = map(&[("accept-encoding", "gzip"), ("accept-encoding", "br;q=0.3")]);
        assert_eq!(AcceptedCodings::parse(&lines), accepted("gzip, br;q=0.3"));
    }

    #[test]
    fn s12_4_2_a_member_with_a_malformed_weight_is_left_out() {
        for weight in ["", ".5", "2", "1.001", "0.1234", "-1", "a", "0,5", "1.", "0.", "00", "\"1\"", "0.1x"] {
            let want = matches!(weight, "1.");
            assert_eq!(accepted(&format!("gzip;q={weight}")).gzip, want, "{weight}");
        }
        assert!(accepted("gzip;level=3;q=0.5").gzip);
        assert!(accepted(",, ;q=1, gzip").gzip);
    }

    #[test]
    fn s12_5_3_the_best_coding_follows_weights_then_our_order() {
        #[track_caller]
        fn check(field: &str, available: Codings, made: Codings, want: Coding) {
            assert_eq!(accepted(field).best(available, made), want, "{field} {available:?} {made:?}");
        }
        let browser = "gzip, deflate, br, zstd";
        check(browser, NONE.with(Zstd), ALL, Zstd);
        check(browser, AS_SENT, NONE, Identity);
        check("gzip, deflate, br", NONE.with(Zstd), ALL, Gzip);
        check("gzip, deflate, br", NONE.with(Zstd).with(Brotli), ALL, Brotli);
        check("br", NONE.with(Zstd), ALL, Brotli);
        check("", NONE.with(Zstd), ALL, Identity);
        check("gzip;q=0", NONE.with(Zstd), ALL, Identity);
        check("gzip;q=0.001", NONE.with(Zstd), ALL, Gzip);
        check("br;q=1.0, gzip;q=0.8, zstd;q=0.1", NONE.with(Zstd), ALL, Brotli);
        check("gzip;q=0.5, zstd;q=0.9", NONE.with(Gzip), ALL, Zstd);
        check("gzip;q=0.5, zstd;q=0.9", NONE.with(Gzip), NONE, Gzip);
        check("gzip;q=0.5, identity", NONE.with(Zstd), ALL, Identity);
        check("gzip;q=0.5, identity;q=0.5", NONE.with(Zstd), ALL, Gzip);
        check("gzip, *;q=0.1", NONE.with(Zstd), ALL, Gzip);
        check("*", NONE.with(Zstd), ALL, Zstd);
        // If nothing is acceptable the answer is identity.
        check("identity;q=0", AS_SENT, ALL, Identity);
        check("*;q=0", NONE.with(Zstd), ALL, Identity);
        check("br, identity;q=0", AS_SENT, NONE, Identity);
    }

    #[test]
    fn a_body_has_the_codings_of_its_renditions() {
        let body = StoredBody::identity(bytes::Bytes::from_static(b"x"));
        assert_eq!(Codings::of_body(&body), AS_SENT);
        assert_eq!(Codings::of_body(&StoredBody::default()), NONE);
    }

    #[test]
    fn compressible_bodies_are_known_by_their_type() {
        for (content_type, want) in [
            ("text/html", true),
            ("Text/HTML; charset=utf-8", true),
            ("text/css", true),
            ("text/event-stream", false),
            ("text/event-stream; charset=utf-8", false),
            ("application/json", true),
            ("application/problem+json", true),
            ("application/rss+xml ; charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/manifest+json", true),
            ("application/x-ndjson", true),
            ("application/javascript", true),
            ("application/wasm", true),
            ("font/ttf", true),
            ("font/otf", true),
            ("font/woff2", false),
            ("image/png", false),
            ("video/mp4", false),
            ("application/zip", false),
            ("application/octet-stream", false),
            ("multipart/byteranges; boundary=x", false),
            ("text/", false),
            ("+json", false),
            ("", false),
        ] {
            assert_eq!(is_compressible(&map(&[("content-type", content_type)]), 5000, 1400), want, "{content_type}");
        }
        assert!(!is_compressible(&map(&[]), 5000, 1400));
    }

    #[test]
    fn s5_2_2_6_what_must_not_be_transformed_is_left_alone() {
        let text = ("content-type", "text/plain");
        let check = |fields: &[(&'static str, &str)], bytes, want| {
            assert_eq!(is_compressible(&map(fields), bytes, 1400), want, "{fields:?} {bytes}");
        };
        check(&[text], 1400, true);
        check(&[text], 1399, false);
        check(&[text, ("cache-control", "max-age=5, public")], 1400, true);
        check(&[text, ("cache-control", "max-age=5, No-Transform")], 1400, false);
        check(&[text, ("cache-control", "max-age=5"), ("cache-control", "no-transform=1")], 1400, false);
        check(&[text, ("cache-control", "no-transformation")], 1400, true);
        check(&[text, ("cache-control", "max-age=5; no-transform")], 1400, false);
        // RFC 9111 §5.2: inside a quoted string a comma does not end a directive.
        check(&[text, ("cache-control", "ext=\"a, no-transform\"")], 1400, true);
        check(&[text, ("content-encoding", "gzip")], 1400, false);
        check(&[text, ("content-range", "bytes 0-9/10")], 1400, false);
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer_that_is_accepted_or_identity(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let mut request = HeaderMap::new();
                request.insert(header::ACCEPT_ENCODING, value);
                let accepted = AcceptedCodings::parse(&request);
                let best = accepted.best(NONE.with(Zstd), ALL);
                prop_assert!(best == Identity || accepted.weights[slot(best)] > 0);
            }
        }

        #[test]
        fn what_is_picked_has_the_largest_weight(
            weights in prop::array::uniform4(0_u16..=1000), available in 0_u8..16, made in 0_u8..16,
        ) {
            let field = [Zstd, Brotli, Gzip, Identity].iter().zip(weights)
                .map(|(coding, weight)| format!("{};q={}.{:03}", coding.token(), weight / 1000, weight % 1000))
                .collect::<Vec<_>>().join(", ");
            let (available, made) = (Codings(available), Codings(made));
            let best = accepted(&field).best(available, made);
            for coding in [Zstd, Brotli, Gzip] {
                if available.contains(coding) || made.contains(coding) {
                    prop_assert!(weights[slot(coding)] <= weights[slot(best)], "{} {:?}", field, best);
                }
            }
            prop_assert!(best == Identity || available.contains(best) || made.contains(best));
        }
    }
}
