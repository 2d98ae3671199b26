//! One request head (RFC 9112 §2 to §6): read line by line as it arrives, until it is whole or
//! refused.

use std::ops::Range;

use http::StatusCode;

use super::limits::{ScreenLimits, TARGET_BYTES_MAX};
use super::line::{AUTHORITY, Lines, PATH, QUERY, TOKEN, field, has_control, is};
use super::refusal::ScreenRefusal;
use crate::outcome::Reason;
use crate::policy::fields::FIELDS_MAX;
use crate::syntax::list;
use crate::syntax::token::is_token;

/// The largest Content-Length: a size that every recipient can count to.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// A head that is being read. Its offsets count from the head's first byte.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    lines: Lines,
    /// `None` until the request line is whole.
    request: Option<RequestLine>,
    /// True if an empty line came before the request line.
    has_started: bool,
    fields: usize,
    host: Option<Range<usize>>,
    length: Option<u64>,
    is_chunked: bool,
    /// True if `Connection` lists "upgrade", and if `Upgrade` is there to name a protocol.
    lists_upgrade: bool,
    names_protocol: bool,
}

/// The parts of a request line that matter here.
#[derive(Debug)]
struct RequestLine {
    is_http10: bool,
    /// True if the method needs a Content-Length in HTTP/1.0.
    owes_length: bool,
    /// The authority of a target in absolute form.
    authority: Option<Authority>,
}

/// The authority of a target in absolute form.
#[derive(Debug)]
struct Authority {
    at: Range<usize>,
    /// The default port of the scheme.
    default_port: &'static [u8],
}

/// A whole head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WholeHead {
    /// The head's length in bytes, with the empty line.
    pub(super) bytes: usize,
    /// The framing of the content after the head.
    pub(super) content: ContentFraming,
    /// True if the request asks for another protocol.
    pub(super) asks_to_switch: bool,
}

/// How a request's content is framed (RFC 9112 §6.3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ContentFraming {
    /// This many bytes.
    Sized(u64),
    /// Chunks.
    Chunked,
}

impl HeadReader {
    /// Reads on; `bytes` begin with the head's first byte. `None`: the head is not whole yet.
    ///
    /// # Errors
    /// A head that can be read in two ways or in none, or that is too large.
    pub(super) fn read(&mut self, bytes: &[u8], limits: &ScreenLimits) -> Result<Option<WholeHead>, ScreenRefusal> {
        loop {
            let at = self.lines.at();
            let Some(line) = self.lines.next(bytes)? else {
                return self.unfinished(&bytes[at..], bytes.len(), limits);
            };
            if self.lines.at() > limits.head_bytes_max {
                return Err(self.too_large());
            }
            if self.request.is_none() {
                if line.is_empty() && !self.has_started {
                    // RFC 9112 §2.2: some clients send an extra CRLF after their content. More than
                    // one is not a slip.
                    self.has_started = true;
                } else {
                    self.request = Some(request_line(line, at)?);
                }
            } else if line.is_empty() {
                return self.whole(bytes).map(Some);
            } else {
                self.field(line, at)?;
            }
        }
    }

    /// Decides whether a head without its end may continue.
    fn unfinished(&self, line: &[u8], bytes: usize, limits: &ScreenLimits) -> Result<Option<WholeHead>, ScreenRefusal> {
        if bytes >= limits.head_bytes_max {
            return Err(self.too_large());
        }
        // Another protocol, such as a TLS handshake, may never send a line end: its sender need not
        // wait for the response.
        if self.request.is_none() && has_control(line.strip_suffix(b"\r").unwrap_or(line)) {
            return Err(ScreenRefusal::bad("The request line has a control character"));
        }
        Ok(None)
    }

    fn too_large(&self) -> ScreenRefusal {
        match self.request {
            None => ScreenRefusal::large(StatusCode::URI_TOO_LONG, "The request line is longer than `head_bytes_max`"),
            Some(_) => ScreenRefusal::large(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The head is larger than `head_bytes_max`",
            ),
        }
    }

    /// Reads a field line that begins at `at`.
    #[inline]
    fn field(&mut self, line: &[u8], at: usize) -> Result<(), ScreenRefusal> {
        let (name, value) = field(line)?;
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(ScreenRefusal::large(status, "The head has more than 100 fields"));
        }
        // Few fields matter here, and their names differ in length.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                // RFC 9112 §3.2.
                if self.host.is_some() {
                    return Err(ScreenRefusal::bad("There is more than one Host"));
                }
                let start = at + line.len() - line["host:".len()..].trim_ascii_start().len();
                self.host = Some(start..start + value.len());
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.names_protocol = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.lists_upgrade |= list::members(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                // RFC 9112 §6.3, item 5, lets a recipient fold equal values into one; here a
                // repeated Content-Length is refused.
                if self.length.is_some() {
                    return Err(ScreenRefusal::bad("There is more than one Content-Length"));
                }
                self.length = Some(content_length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.is_chunked {
                    return Err(ScreenRefusal::bad("There is more than one Transfer-Encoding"));
                }
                transfer_coding(value)?;
                self.is_chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks what only a whole head shows.
    fn whole(&mut self, bytes: &[u8]) -> Result<WholeHead, ScreenRefusal> {
        let Some(request) = &self.request else {
            return Err(ScreenRefusal::bad("The request line is missing"));
        };
        match (&self.host, &request.authority) {
            // RFC 9112 §3.2.
            (None, _) if !request.is_http10 => return Err(ScreenRefusal::bad("Host is missing")),
            (Some(host), Some(authority)) if !names_same(&bytes[host.clone()], bytes, authority) => {
                return Err(ScreenRefusal::bad("Host differs from the authority of the target"));
            }
            _ => {}
        }
        let content = match (self.is_chunked, self.length) {
            // RFC 9112 §6.1 lets a server refuse the first, and calls the second faulty.
            (true, Some(_)) => return Err(ScreenRefusal::bad("There are both Content-Length and Transfer-Encoding")),
            (true, None) if request.is_http10 => {
                return Err(ScreenRefusal::bad("There is a Transfer-Encoding in HTTP/1.0"));
            }
            (true, None) => ContentFraming::Chunked,
            (false, Some(length)) => ContentFraming::Sized(length),
            // RFC 1945 §8.3: without a length the end of the content is unknown.
            (false, None) if request.is_http10 && request.owes_length => {
                return Err(ScreenRefusal::with(StatusCode::LENGTH_REQUIRED, "Content-Length is missing"));
            }
            (false, None) => ContentFraming::Sized(0),
        };
        let asks_to_switch = self.lists_upgrade && self.names_protocol && !request.is_http10;
        Ok(WholeHead { bytes: self.lines.at(), content, asks_to_switch })
    }
}

/// Reads a request line that begins at `at` (RFC 9112 §3): three parts, two spaces, nothing else.
fn request_line(line: &[u8], at: usize) -> Result<RequestLine, ScreenRefusal> {
    let method_end = line.iter().position(|&byte| !is(TOKEN, byte)).unwrap_or(line.len());
    let method = &line[..method_end];
    if method.is_empty() || line.get(method_end) != Some(&b' ') {
        return Err(ScreenRefusal::bad("The request line does not begin with a method and a space"));
    }
    let target_at = method_end + 1;
    let target_end = target_at + target_length(&line[target_at..]);
    let (target, version) = (&line[target_at..target_end], &line[target_end..]);
    let is_http10 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        version => return Err(no_version(version)),
    };
    if method == b"CONNECT" {
        let why = "CONNECT is not supported";
        return Err(ScreenRefusal { status: StatusCode::NOT_IMPLEMENTED, reason: Reason::MethodRefused, why });
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(ScreenRefusal::large(StatusCode::URI_TOO_LONG, "The target is longer than 32 KiB"));
    }
    let authority = match target {
        [b'/', ..] => None,
        b"*" if method == b"OPTIONS" => None,
        _ => Some(absolute_form(target, at + target_at)?),
    };
    if !target.is_ascii() && std::str::from_utf8(target).is_err() {
        return Err(ScreenRefusal::bad("The target is not valid UTF-8"));
    }
    let owes_length = matches!(method, b"POST" | b"PUT" | b"PATCH");
    Ok(RequestLine { is_http10, owes_length, authority })
}

/// Returns how many bytes of `rest` may belong to a target.
#[inline]
fn target_length(rest: &[u8]) -> usize {
    let path = rest.iter().position(|&byte| !is(PATH, byte)).unwrap_or(rest.len());
    match rest.get(path) {
        Some(b'?') => {
            let query = rest[path..].iter().position(|&byte| !is(QUERY, byte)).unwrap_or(rest.len() - path);
            path + query
        }
        _ => path,
    }
}

/// Names the fault in what follows the target.
fn no_version(rest: &[u8]) -> ScreenRefusal {
    match rest {
        [] | b" " => ScreenRefusal::bad("The request line has no version, as in HTTP/0.9"),
        [b'#', ..] => ScreenRefusal::bad("The target has a fragment"),
        // RFC 9110 §15.6.6.
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            ScreenRefusal::with(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "Only HTTP/1.0 and HTTP/1.1 are supported")
        }
        _ => ScreenRefusal::bad("The request line is not a method, a target and a version with one space between them"),
    }
}

/// Finds the authority of a target in absolute form (RFC 9112 §3.2.2) that begins at `at`; every
/// other form is refused here.
fn absolute_form(target: &[u8], at: usize) -> Result<Authority, ScreenRefusal> {
    const SCHEMES: [(&[u8], &[u8]); 2] = [(b"http://", b"80"), (b"https://", b"443")];
    let scheme = SCHEMES
        .into_iter()
        .find(|(scheme, _)| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let Some((scheme, default_port)) = scheme else {
        return Err(ScreenRefusal::bad("The target begins with neither a slash nor http:// nor https://"));
    };
    let rest = &target[scheme.len()..];
    let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    if length == 0 || !rest[..length].iter().all(|&byte| is(AUTHORITY, byte)) {
        return Err(ScreenRefusal::bad("The target's authority is not a host, or has userinfo"));
    }
    let at = at + scheme.len();
    Ok(Authority { at: at..at + length, default_port })
}

/// Tells whether Host names the same authority as the target (RFC 9112 §3.2). Case does not count,
/// nor does the scheme's default port.
fn names_same(host: &[u8], bytes: &[u8], authority: &Authority) -> bool {
    let bare = |name: &'_ [u8]| -> usize {
        let without = name.strip_suffix(authority.default_port).unwrap_or(name);
        without.strip_suffix(b":").unwrap_or(name).len()
    };
    let named = &bytes[authority.at.clone()];
    host[..bare(host)].eq_ignore_ascii_case(&named[..bare(named)])
}

/// Reads Content-Length (RFC 9110 §8.6): digits and nothing else.
fn content_length(value: &[u8]) -> Result<u64, ScreenRefusal> {
    let refusal = ScreenRefusal::bad("Content-Length is not a number, or is too large");
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(refusal);
    }
    let length =
        value.iter().try_fold(0_u64, |length, byte| length.checked_mul(10)?.checked_add(u64::from(byte - b'0')));
    length.filter(|&length| length <= LENGTH_MAX).ok_or(refusal)
}

/// Reads Transfer-Encoding, which may only be `chunked`.
///
/// # Errors
/// 400 if the content would have no end (RFC 9112 §6.3, item 4), 501 if it has one, after a coding
/// that is not supported (§6.1).
fn transfer_coding(value: &[u8]) -> Result<(), ScreenRefusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut codings = list::members_or_gaps(value);
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let ends_well = codings.next_back().is_some_and(is_chunked);
    if ends_well && codings.all(|coding| is_token(coding) && !is_chunked(coding)) {
        return Err(ScreenRefusal::with(
            StatusCode::NOT_IMPLEMENTED,
            "Only the transfer coding `chunked` is supported",
        ));
    }
    Err(ScreenRefusal::bad("Transfer-Encoding does not end with a single `chunked`"))
}
