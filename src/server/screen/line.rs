//! Lines and fields, which heads and trailer sections share (RFC 9112 §2.2, §5).

use memchr::memchr;

use super::refusal::ScreenRefusal;
use crate::syntax::token;

/// The class `tchar` (RFC 9110 §5.6.2): the characters of methods and field names.
pub(super) const TOKEN: u8 = 1;
/// The characters of a path that hyper reads: no controls, no space, no `#`, and not `<`, `>` or
/// the backtick.
pub(super) const PATH: u8 = 2;
/// The characters of a query that hyper reads: the backtick too, and no double quote.
pub(super) const QUERY: u8 = 4;
/// The characters of an authority that names a host in one way (RFC 3986 §3.2.2, and
/// `key::canonical`).
pub(super) const AUTHORITY: u8 = 8;

/// The classes of each byte.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut at = 0;
    while at < class.len() {
        let byte = at as u8;
        if token::is_token_byte(byte) {
            class[at] |= TOKEN;
        }
        if byte > b' ' && !matches!(byte, 0x7f | b'#' | b'<' | b'>') {
            if byte != b'"' {
                class[at] |= QUERY;
            }
            if !matches!(byte, b'`' | b'?') {
                class[at] |= PATH;
            }
        }
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']') {
            class[at] |= AUTHORITY;
        }
        at += 1;
    }
    class
};

/// Tells whether `byte` is of `class`.
#[inline]
pub(super) fn is(class: u8, byte: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// The number of bytes that are compared together: the width of a register on every supported
/// machine.
const LANES: usize = 16;

/// Tells whether `bytes` contain a control character other than a tab.
#[inline]
pub(super) fn has_control(bytes: &[u8]) -> bool {
    // Without an early exit the loop compiles to a few instructions on a register.
    let any = |bytes: &[u8]| {
        bytes.iter().fold(false, |is_found, &byte| is_found | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f))
    };
    let Some(last) = bytes.last_chunk::<LANES>() else { return any(bytes) };
    // The last chunk may overlap the one before it, so that no byte is compared by itself.
    bytes.chunks_exact(LANES).fold(any(last), |is_found, chunk| is_found | any(chunk))
}

/// A cursor over lines that may still be incomplete. The cursor keeps offsets into the bytes that
/// it is given, which always begin at the same place, so that no byte is searched twice.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The offset of the next line.
    at: usize,
    /// The offset up to which no line end was found.
    searched: usize,
}

impl Lines {
    /// Returns the next line without its end, or `None` if the end has not arrived.
    ///
    /// # Errors
    /// A line that ends with a bare LF. RFC 9112 §2.2 lets a recipient take one for a line end; a
    /// recipient that does and one that does not would see different fields.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, ScreenRefusal> {
        let Some(offset) = memchr(b'\n', &bytes[self.searched..]) else {
            self.searched = bytes.len();
            return Ok(None);
        };
        let end = self.searched + offset;
        let Some(line) = bytes[self.at..end].strip_suffix(b"\r") else {
            return Err(ScreenRefusal::bad("A line ends with LF alone"));
        };
        (self.at, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }

    /// Returns the offset of the next line.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

/// Splits a field line into its name and its value, without the whitespace around the value.
///
/// # Errors
/// Anything that is not a field line (RFC 9112 §5): folded lines, whitespace before the colon, no
/// colon, control characters.
#[inline]
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), ScreenRefusal> {
    let name_end = line.iter().position(|&byte| !is(TOKEN, byte)).unwrap_or(line.len());
    match line.get(name_end) {
        Some(b':') if name_end > 0 => {}
        Some(b' ' | b'\t') if name_end == 0 => return Err(ScreenRefusal::bad("A field is folded over several lines")),
        Some(b' ' | b'\t') => {
            return Err(ScreenRefusal::bad("There is whitespace in a field name or before its colon"));
        }
        Some(_) => return Err(ScreenRefusal::bad("A field name has an invalid character")),
        None => return Err(ScreenRefusal::bad("A field line has no colon")),
    }
    let value = &line[name_end + 1..];
    if has_control(value) {
        return Err(ScreenRefusal::bad("A field value has a control character"));
    }
    Ok((&line[..name_end], value.trim_ascii()))
}
