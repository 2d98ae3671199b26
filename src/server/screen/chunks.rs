//! Chunked content (RFC 9112 §7.1): where it ends, and whether every recipient reads it in the same
//! way.
//!
//! Data passes as it arrives. A chunk-size line passes once it is whole, and so does the trailer
//! section, so that hyper never sees the beginning of what is refused.

use memchr::memchr;

use super::line::{Lines, field, has_control};
use super::refusal::ScreenRefusal;
use crate::policy::fields::{FIELDS_MAX, trailers};
use crate::syntax::token::is_token;

/// The longest chunk-size line, in bytes, with its extensions: RFC 9112 §7.1.1 asks for a bound,
/// and clients send no extensions.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// The maximum number of bytes of chunk extensions in one request's content: without it a byte of
/// content could cost 256 of extensions.
const EXTENSION_BYTES_MAX: usize = 4 << 10;

/// The maximum number of digits in a chunk size: those of an unsigned 64-bit number. Leading zeros
/// count, since some recipients count them.
const SIZE_DIGITS_MAX: usize = 16;

/// The largest chunk: a size that every recipient can add up without overflow.
const SIZE_MAX: u64 = i64::MAX as u64;

/// The position of the next byte in chunked content.
#[derive(Debug)]
enum ChunkPosition {
    /// At a chunk-size line.
    Size,
    /// In data with this many bytes to come.
    Data(u64),
    /// At the line end after data.
    DataEnd,
    /// In the trailer section, after this many fields.
    Trailers(Lines, usize),
    /// After the trailer section.
    Done,
}

/// A reader of chunked content.
#[derive(Debug)]
pub(super) struct Chunks {
    position: ChunkPosition,
    extension_bytes: usize,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { position: ChunkPosition::Size, extension_bytes: 0 }
    }
}

impl Chunks {
    /// Tells whether the content has ended.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.position, ChunkPosition::Done)
    }

    /// Reads on. Returns how many bytes may pass; zero if more are needed to decide.
    ///
    /// # Errors
    /// Chunks that RFC 9112 §7.1 does not allow, and those that some recipients read otherwise.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, ScreenRefusal> {
        match &mut self.position {
            ChunkPosition::Size => self.size_line(bytes),
            ChunkPosition::Data(remaining) => {
                let length = bytes.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                *remaining -= length as u64;
                if *remaining == 0 {
                    self.position = ChunkPosition::DataEnd;
                }
                Ok(length)
            }
            ChunkPosition::DataEnd => match bytes {
                [b'\r', b'\n', ..] => {
                    self.position = ChunkPosition::Size;
                    Ok(2)
                }
                [b'\r'] | [] => Ok(0),
                _ => Err(ScreenRefusal::bad("A chunk is not followed by CRLF")),
            },
            ChunkPosition::Trailers(lines, fields) => {
                let ended = trailers(lines, fields, bytes)?;
                if ended > 0 {
                    self.position = ChunkPosition::Done;
                }
                Ok(ended)
            }
            ChunkPosition::Done => Ok(0),
        }
    }

    /// Reads a chunk-size line.
    fn size_line(&mut self, bytes: &[u8]) -> Result<usize, ScreenRefusal> {
        let window = &bytes[..bytes.len().min(SIZE_LINE_BYTES_MAX)];
        let Some(end) = memchr(b'\n', window) else {
            // A malformed size will not become well-formed: the client need not wait for its
            // response.
            let (digits, rest) = split_size(window);
            let is_open = matches!(rest, [] | [b'\r'] | [b';', ..]);
            return match digits.is_empty() || digits.len() > SIZE_DIGITS_MAX || !is_open {
                true => Err(ScreenRefusal::bad("A chunk has no hexadecimal size")),
                false if window.len() == SIZE_LINE_BYTES_MAX => {
                    Err(ScreenRefusal::bad("A chunk-size line is too long"))
                }
                false => Ok(0),
            };
        };
        let Some(line) = window[..end].strip_suffix(b"\r") else {
            return Err(ScreenRefusal::bad("A chunk-size line ends with a bare LF"));
        };
        let (digits, extensions) = split_size(line);
        let size =
            size(digits).ok_or(ScreenRefusal::bad("A chunk has no hexadecimal size, or one that is too large"))?;
        self.extension_bytes += extensions.len();
        if !are_extensions(extensions) || self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(ScreenRefusal::bad("A chunk has extensions that are malformed or too long"));
        }
        self.position = match size {
            0 => ChunkPosition::Trailers(Lines::default(), 0),
            size => ChunkPosition::Data(size),
        };
        Ok(end + 1)
    }
}

/// Splits the digits off a chunk-size line.
fn split_size(line: &[u8]) -> (&[u8], &[u8]) {
    line.split_at(line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len()))
}

/// Reads a chunk's size.
fn size(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(u64::from);
    // Sixteen digits fit into 64 bits, so nothing is lost before the comparison.
    let size = digits.iter().try_fold(0_u64, |size, &byte| Some(size << 4 | digit(byte)?))?;
    (size <= SIZE_MAX).then_some(size)
}

/// Tells whether `rest`, after a chunk's size, is empty or well-formed extensions (RFC 9112
/// §7.1.1). The grammar's "bad whitespace" is refused: recipients differ on it, and no client sends
/// it.
fn are_extensions(mut rest: &[u8]) -> bool {
    while let Some(extension) = rest.strip_prefix(b";") {
        let name_end = extension.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(extension.len());
        if !is_token(&extension[..name_end]) {
            return false;
        }
        rest = &extension[name_end..];
        let Some(value) = rest.strip_prefix(b"=") else { continue };
        let value_end = match value.strip_prefix(b"\"") {
            Some(quoted) => match quoted_end(quoted) {
                Some(end) => end + 1,
                None => return false,
            },
            None => {
                let end = value.iter().position(|&byte| byte == b';').unwrap_or(value.len());
                if !is_token(&value[..end]) {
                    return false;
                }
                end
            }
        };
        rest = &value[value_end..];
    }
    rest.is_empty()
}

/// Returns the offset after the closing quote of a quoted string; `quoted` begins after the opening
/// one.
fn quoted_end(quoted: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match quoted.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    (!has_control(&quoted[..at])).then_some(at + 1)
}

/// Reads the trailer section. Returns its length, or zero if its end has not arrived.
fn trailers(lines: &mut Lines, fields: &mut usize, bytes: &[u8]) -> Result<usize, ScreenRefusal> {
    while let Some(line) = lines.next(bytes)? {
        if lines.at() > trailers::BYTES_MAX {
            break;
        }
        if line.is_empty() {
            return Ok(lines.at());
        }
        let (name, _) = field(line)?;
        *fields += 1;
        if *fields > FIELDS_MAX {
            return Err(ScreenRefusal::bad("The trailer section has too many fields"));
        }
        if trailers::is_forbidden(name) {
            return Err(ScreenRefusal::bad("The trailer section has a field that belongs in the head"));
        }
    }
    if lines.at() > trailers::BYTES_MAX || bytes.len() > trailers::BYTES_MAX {
        return Err(ScreenRefusal::bad("The trailer section is too large"));
    }
    Ok(0)
}
