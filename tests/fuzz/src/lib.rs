//! Properties that hold for any bytes off the wire, one function for each kind of input. A fuzz
//! target hands its input to one of these functions. Each asserts properties, and any panic below
//! it is a finding too.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use larder::clock::Timestamp;
use larder::key::{CanonicalUrl, Scheme};
use larder::outcome::Reason;
use larder::policy::cache_control::{RequestCacheControl, ResponseCacheControl, DirectiveSource};
use larder::policy::tags;
use larder::policy::vary::{self, Vary};
use larder::respond::encoding::{AcceptedCodings, Codings};
use larder::respond::head;
use larder::respond::range::{self, Ranges};
use larder::server;
use larder::stored::Coding;
use larder::syntax::date;

#[allow(dead_code, unreachable_pub)] // Shared with the behaviour tests; these targets use a part.
#[path = "../../it/hostile/reference.rs"]
mod reference;

/// The limit on the size of a head: small, so that inputs reach it.
const HEAD_BYTES_MAX: usize = 512;

/// Collects the lines of `bytes` that are valid field values under `name`.
fn fields(name: &HeaderName, bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

fn changed(name: &HeaderName, bytes: &[u8], change: impl Fn(&mut Vec<u8>)) -> HeaderMap {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    fields(name, &bytes)
}

/// Screens a connection's bytes. However the bytes are split, the same part passes, and that part
/// consists of requests that a strict reader finds too, with the same ends. The first byte decides
/// where the stream is split.
pub fn request_head(bytes: &[u8]) {
    let Some((&seed, stream)) = bytes.split_first() else { return };
    let whole = server::screen(stream, &[], HEAD_BYTES_MAX);
    let bytewise: Vec<usize> = (0..stream.len()).collect();
    let step = usize::from(seed % 61) + 2;
    let coarse: Vec<usize> = (0..stream.len()).step_by(step).collect();
    for cuts in [bytewise, coarse] {
        let parts = server::screen(stream, &cuts, HEAD_BYTES_MAX);
        assert_eq!((parts.passed, parts.heads), (whole.passed, whole.heads), "in pieces that end at {cuts:?}");
        // A head may be both too large and malformed; the fault that is seen first is reported.
        assert_eq!(parts.refusal.is_some(), whole.refusal.is_some(), "in pieces that end at {cuts:?}");
    }
    let (mut rest, mut read) = (&stream[..whole.passed], 0);
    loop {
        match reference::read(rest) {
            Ok((_, after)) => {
                rest = after;
                read += 1;
            }
            // Content passes as it arrives, so the end of the last request may be missing and
            // refused later.
            Err(reference::Fault::Unfinished) => break,
            // The reader accepts no chunk extensions, which are legal, so it cannot follow the
            // stream further.
            Err(reference::Fault::Content("a size")) if rest.contains(&b';') => return,
            Err(reference::Fault::Content(_)) => {
                assert!(whole.refusal.is_some(), "content passed that is none");
                break;
            }
            // A malformed Host is refused later, on the parsed head.
            Err(reference::Fault::Head("not one Host" | "a target")) => return,
            Err(fault) => panic!("a head passed that is none: {fault:?}"),
        }
    }
    let unread = u32::from(!rest.is_empty() && rest != b"\r\n");
    assert!(whole.heads == read + unread || whole.heads == read, "{} heads passed, {read} were read", whole.heads);
}

/// Checks Cache-Control of requests and responses: case and the order of lines do not matter, and
/// another restriction never loosens anything.
pub fn cache_control(bytes: &[u8]) {
    let name = header::CACHE_CONTROL;
    let headers = fields(&name, bytes);
    let response = ResponseCacheControl::parse(&headers);
    let request = RequestCacheControl::parse(&headers);
    assert_eq!(RequestCacheControl::parse(&changed(&name, bytes, |all| all.make_ascii_uppercase())), request);
    assert_eq!(
        ResponseCacheControl::parse(&changed(&name, bytes, |all| all.make_ascii_uppercase())),
        ResponseCacheControl::parse(&changed(&name, bytes, |all| all.make_ascii_lowercase()))
    );
    let mut reversed = HeaderMap::new();
    let lines: Vec<_> = headers.get_all(&name).iter().rev().cloned().collect();
    for line in lines {
        reversed.append(&name, line);
    }
    let backwards = ResponseCacheControl::parse(&reversed);
    assert_eq!((backwards.max_age, backwards.s_maxage), (response.max_age, response.s_maxage));
    assert_eq!(
        (backwards.no_store, backwards.public, backwards.must_revalidate, backwards.immutable),
        (response.no_store, response.public, response.must_revalidate, response.immutable)
    );
    for (line, holds) in [
        ("no-store", (|cc, _| cc.no_store) as fn(&ResponseCacheControl, &ResponseCacheControl) -> bool),
        ("private", |cc, _| cc.private.is_whole()),
        ("no-cache", |cc, _| cc.no_cache.is_whole()),
        ("must-revalidate", |cc, _| cc.must_revalidate),
        ("max-age=5", |cc, before| {
            cc.max_age.is_some_and(|now| now.as_secs() <= 5 && before.max_age.is_none_or(|before| now <= before))
        }),
        ("s-maxage=0", |cc, _| cc.s_maxage.is_some_and(|now| now.is_zero())),
    ] {
        let mut stricter = headers.clone();
        stricter.append(&name, HeaderValue::from_static(line));
        let after = ResponseCacheControl::parse(&stricter);
        assert!(holds(&after, &response), "{line} behind {headers:?} makes {after:?} of {response:?}");
        assert!(!response.no_store || after.no_store);
        assert!(!response.private.is_whole() || after.private.is_whole());
    }
}

/// Checks Vary: everything, or sorted names without duplicates; and a request always matches its
/// own values.
pub fn vary(bytes: &[u8]) {
    let (lines, rest) = bytes.split_at(bytes.len() / 2);
    let headers = fields(&header::VARY, lines);
    let Vary::Fields(names) = Vary::parse(&headers) else { return };
    assert!(names.is_sorted_by(|a, b| a.as_str() < b.as_str()), "{names:?}");
    assert!(names.iter().all(|name| name != "*"), "a `*` was taken for a name");
    let mut request = HeaderMap::new();
    for (at, line) in rest.split(|&byte| byte == b'\n').enumerate() {
        let name = names.get(at % names.len().max(1)).cloned().unwrap_or(header::ACCEPT_LANGUAGE);
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.append(name, value);
        }
    }
    let selecting = vary::selecting(&names, &request);
    assert!(vary::matches(&selecting, &request), "{selecting:?} against {request:?}");
    // A request matches exactly where it has the same values.
    let mut other = request.clone();
    if let Some(name) = names.first() {
        other.append(name, HeaderValue::from_static("one more"));
    }
    let is_same = vary::selecting(&names, &other) == selecting;
    assert_eq!(vary::matches(&selecting, &other), is_same, "{selecting:?} against {other:?}");
}

/// Checks Range: every selected part is not empty and lies within the representation, and the parts
/// are few.
pub fn range(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return };
    let length = u64::from(u32::from_le_bytes(*length)) >> (length[0] % 32);
    let request = fields(&header::RANGE, rest);
    let all: Vec<_> = match range::select(&request, length) {
        Ranges::Whole | Ranges::Unsatisfiable => return,
        Ranges::Single(only) => vec![only],
        Ranges::Several(several) => several.to_vec(),
    };
    assert!(!all.is_empty() && all.len() <= range::RANGES_MAX, "{} ranges", all.len());
    for one in &all {
        assert!(one.start < one.end && one.end <= length, "{one:?} of {length}");
        let expected = format!("bytes {}-{}/{length}", one.start, one.end - 1);
        assert_eq!(range::content_range(one, length), expected);
    }
    let sum: u64 = all.iter().map(|one| one.end - one.start).sum();
    assert!(all.len() == 1 || sum <= length + 80 * all.len() as u64, "{sum} bytes of {length} in {} parts", all.len());
    let multipart = range::multipart(&all, length, Some(b"text/plain"), "boundary");
    assert_eq!(multipart.length, multipart.pieces.iter().map(range::BodyPiece::len).sum::<u64>());
}

/// Checks Accept-Encoding: the selected coding is accepted, or identity; a refusal holds wherever
/// it stands; case does not matter.
pub fn accept_encoding(bytes: &[u8]) {
    let name = header::ACCEPT_ENCODING;
    let request = fields(&name, bytes);
    let accepted = AcceptedCodings::parse(&request);
    for held in [Codings::NONE, Codings::NONE.with(Coding::Zstd), Codings::NONE.with(Coding::Brotli), Codings::ALL] {
        let best = accepted.best(held, Codings::ALL);
        assert!(best == Coding::Identity || accepts(&accepted, best), "{best:?} for {request:?}");
        let only = accepted.best(held, Codings::NONE);
        assert!(only == Coding::Identity || held.contains(only), "{only:?} is not held");
    }
    let shouted = changed(&name, bytes, |all| all.make_ascii_uppercase());
    assert_eq!(AcceptedCodings::parse(&shouted), accepted);
    let mut refusing = request.clone();
    refusing.append(&name, HeaderValue::from_static("gzip;q=0"));
    assert!(!AcceptedCodings::parse(&refusing).gzip);
    refusing.insert(&name, HeaderValue::from_static("gzip;q=0"));
    for line in request.get_all(&name) {
        refusing.append(&name, line.clone());
    }
    assert!(!AcceptedCodings::parse(&refusing).gzip);
}

fn accepts(accepted: &AcceptedCodings, coding: Coding) -> bool {
    match coding {
        Coding::Zstd => accepted.zstd,
        Coding::Brotli => accepted.brotli,
        Coding::Gzip => accepted.gzip,
        Coding::Identity => accepted.identity,
    }
}

/// Checks dates: a parsed date, printed and parsed again, is the same second, and another parser
/// agrees.
pub fn date(bytes: &[u8]) {
    let Some(read) = date::parse(bytes) else { return };
    let written = head::date(read);
    // Dates before 1970 and after 9999 cannot be printed.
    if (0..253_402_300_800).contains(&read.as_secs()) {
        assert_eq!(date::parse(written.as_bytes()), Some(Timestamp::from_secs(read.as_secs())), "{written:?}");
        let other = std::str::from_utf8(bytes).ok().and_then(|text| httpdate::parse_http_date(text).ok());
        let other = other.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        if let Some(other) = other {
            assert_eq!(other.as_secs() as i64, read.as_secs(), "{:?}", String::from_utf8_lossy(bytes));
        }
    }
}

/// Checks structured fields: a targeted Cache-Control counts only where it is a dictionary; groups
/// are distinct strings; a field to which Larder appends can still be parsed.
pub fn structured(bytes: &[u8]) {
    for (name, source) in
        [("cdn-cache-control", DirectiveSource::CdnCacheControl), ("larder-cache-control", DirectiveSource::LarderCacheControl)]
    {
        let name = HeaderName::from_static(name);
        let mut headers = fields(&name, bytes);
        let joined: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        let joined = joined.join(&b", "[..]);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let cc = ResponseCacheControl::parse(&headers);
        let is_dictionary =
            sfv::Parser::new(&joined).parse::<sfv::Dictionary>().is_ok_and(|members| !members.is_empty());
        assert!(cc.source != source || is_dictionary, "{headers:?}");
        assert!(cc.source == source || cc.no_store, "neither the one nor the other: {headers:?}");
    }
    let groups = fields(&HeaderName::from_static("cache-groups"), bytes);
    let tags = tags::parse(&groups);
    for (at, tag) in tags.iter().enumerate() {
        assert!(!tag.is_empty() && !tags[..at].contains(tag), "{tags:?}");
    }
    let mut headers = fields(&header::CACHE_STATUS, bytes);
    let is_list =
        |line: &&HeaderValue| sfv::Parser::new(line.as_bytes()).parse::<sfv::List>().is_ok_and(|list| !list.is_empty());
    let before: Vec<HeaderValue> = headers.get_all(header::CACHE_STATUS).iter().filter(is_list).cloned().collect();
    head::append_cache_status(&mut headers, HeaderValue::from_static("Larder; hit"));
    let after: Vec<HeaderValue> = headers.get_all(header::CACHE_STATUS).iter().cloned().collect();
    assert_eq!(after[..after.len() - 1], before, "what others wrote in order stays as it is");
    let joined: Vec<&[u8]> = after.iter().map(HeaderValue::as_bytes).collect();
    assert!(sfv::Parser::new(&joined.join(&b", "[..])).parse::<sfv::List>().is_ok(), "{after:?}");
    let details = String::from_utf8_lossy(bytes);
    let status = head::proxy_status(Reason::ConnectionRefused, &details);
    let list = sfv::Parser::new(status.as_bytes()).parse::<sfv::List>();
    assert!(list.is_ok_and(|list| list.len() == 1), "{status:?}");
}

/// Checks URLs: a canonical URL is its own canonical form, and has no dot segment and no character
/// that URLs lack.
pub fn canonical_url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (authority, target) = text.split_once(' ').unwrap_or(("a.example", text));
    for scheme in [Scheme::Http, Scheme::Https] {
        let Ok(url) = CanonicalUrl::new(scheme, authority, target) else { continue };
        let again = CanonicalUrl::new(scheme, url.authority(), url.path_and_query());
        assert_eq!(again.as_ref().map(CanonicalUrl::as_str), Ok(url.as_str()), "from {text:?}");
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
        assert!(url.as_str().bytes().all(is_plain), "{:?}", url.as_str());
        assert!(url.path().starts_with('/'));
        for segment in url.path().split('/') {
            let lower = segment.to_ascii_lowercase().replace("%2e", ".");
            assert!(lower != "." && lower != "..", "{:?} has a dot segment", url.as_str());
        }
        let uri: http::Uri = url.as_str().parse().expect("a canonical URL is a URI");
        assert_eq!(uri.path(), url.path());
        assert!(url.authority().bytes().all(|byte| !byte.is_ascii_uppercase()));
    }
}
