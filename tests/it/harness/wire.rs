//! Reads HTTP/1.1 off a socket, as far as the scripted origin and the client need it. The reader
//! judges nothing: it shows whatever the other side sends.

use std::io::{self, Read};

/// A buffered reader of heads, lines and bodies.
pub(crate) struct Wire<R> {
    source: R,
    held: Vec<u8>,
}

impl<R: Read> Wire<R> {
    /// Wraps a source of bytes.
    pub(crate) fn new(source: R) -> Self {
        Self { source, held: Vec::new() }
    }

    /// Reads once more. Returns the number of new bytes; zero at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 64 << 10];
        let length = loop {
            match self.source.read(&mut buffer) {
                // A signal, such as the end of a child process, interrupts a read that has a
                // timeout.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.held.extend_from_slice(&buffer[..length]);
        Ok(length)
    }

    fn fill_or_fail(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.held.split_off(length);
        std::mem::replace(&mut self.held, rest)
    }

    /// Reads a head, including its empty line. `None` where the other side closed before it sent a
    /// byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.held[searched..].windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(self.take(searched + at + 4)));
            }
            searched = self.held.len().saturating_sub(3);
            if self.fill()? == 0 {
                return if self.held.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// Reads exactly `length` bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.held.len() < length {
            self.fill_or_fail()?;
        }
        Ok(self.take(length))
    }

    /// Reads the available bytes, at least one and at most `most`. Empty at the end.
    pub(crate) fn some(&mut self, most: usize) -> io::Result<Vec<u8>> {
        if self.held.is_empty() {
            self.fill()?;
        }
        Ok(self.take(self.held.len().min(most)))
    }

    /// Reads a line, without its end.
    pub(crate) fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.held.windows(2).position(|two| two == b"\r\n") {
                let mut line = self.take(at + 2);
                line.truncate(at);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill_or_fail()?;
        }
    }

    /// Reads a chunk's size line (RFC 9112 §7.1).
    pub(crate) fn chunk_size(&mut self) -> io::Result<usize> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        usize::from_str_radix(digits, 16).map_err(|_| io::Error::other(format!("{line:?} is not a chunk size")))
    }

    /// Reads the trailer section, including its empty line.
    pub(crate) fn trailers(&mut self) -> io::Result<Vec<String>> {
        let mut trailers = Vec::new();
        loop {
            match self.line()? {
                line if line.is_empty() => return Ok(trailers),
                line => trailers.push(line),
            }
        }
    }
}

/// Returns the values of a field in a head, in order, trimmed.
pub(crate) fn values(head: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(head).into_owned();
    let fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
}

/// Tells whether a head announces chunked coding.
pub(crate) fn is_chunked(head: &[u8]) -> bool {
    values(head, "transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked"))
}

/// Returns the Content-Length that a head announces.
pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    values(head, "content-length").first()?.parse().ok()
}
