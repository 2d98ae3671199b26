//! The screen over the heads that an origin sends: what hyper takes and another reader would read in another way.
//!
//! hyper ends lines at a bare LF, skips empty lines before a status line, and drops interim responses without counting
//! them. So the bytes of each head are looked at on their way to it. Everything else about a head hyper refuses itself, or
//! [`framing`](super::framing) does, on what was parsed. Bodies pass unseen.

/// The most interim responses before a final one (RFC 9110 §15.2 sets no bound): more are a flood.
pub(super) const INTERIM_MAX: usize = 100;

/// What a status line has up to its status code.
const STATUS_LINE_START: usize = "HTTP/1.1 200".len();

/// The screen of one connection.
#[derive(Debug, Default)]
pub(super) struct Screen {
    is_in_head: bool,
    /// Bytes of this head so far.
    at: usize,
    /// The first of them.
    start: [u8; STATUS_LINE_START],
    /// Bytes of this line so far.
    in_line: usize,
    last: u8,
    interim: usize,
}

impl Screen {
    /// Expects the head of a response to a new request.
    pub(super) fn begin(&mut self) {
        *self = Self { is_in_head: true, ..Self::default() };
    }

    /// Tells whether bytes of a head are to come.
    pub(super) fn is_in_head(&self) -> bool {
        self.is_in_head
    }

    /// Looks at the bytes that come next.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        for byte in bytes {
            if !self.is_in_head {
                return Ok(());
            }
            self.look(*byte)?;
        }
        Ok(())
    }

    fn look(&mut self, byte: u8) -> Result<(), &'static str> {
        if self.at == 0 && byte != b'H' {
            return Err("what is no status line in place of one (RFC 9112 §4)");
        }
        if let Some(place) = self.start.get_mut(self.at) {
            *place = byte;
        }
        self.at += 1;
        let last = std::mem::replace(&mut self.last, byte);
        match byte {
            b'\n' if last != b'\r' => return Err("a line of the head that ends with a bare LF (RFC 9112 §2.2)"),
            b'\n' if self.in_line == 1 => return self.end_of_head(),
            b'\n' => self.in_line = 0,
            _ if last == b'\r' => return Err("a bare CR in the head (RFC 9112 §2.2)"),
            0 => return Err("a NUL in the head (RFC 9110 §5.5)"),
            b' ' | b'\t' if self.in_line == 0 => return Err("a folded line in the head (RFC 9112 §5.2)"),
            _ => self.in_line += 1,
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), &'static str> {
        let is_interim = self.start[9] == b'1' && self.start[9..] != *b"101";
        if !is_interim {
            self.is_in_head = false;
            return Ok(());
        }
        let interim = self.interim + 1;
        if interim > INTERIM_MAX {
            return Err("a flood of interim responses (RFC 9110 §15.2)");
        }
        self.begin();
        self.interim = interim;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the screen lets these bytes pass, in one piece or byte by byte, and whether the head has ended then.
    #[track_caller]
    fn check(bytes: &str, expected: Result<bool, &str>) {
        let passed = |piece_bytes: usize| {
            let mut screen = Screen::default();
            screen.begin();
            let mut pieces = bytes.as_bytes().chunks(piece_bytes);
            pieces.try_for_each(|piece| screen.pass(piece)).map(|()| !screen.is_in_head())
        };
        let found = passed(bytes.len());
        assert_eq!(found, passed(1), "{bytes:?}");
        match expected {
            Ok(ended) => assert_eq!(found, Ok(ended), "{bytes:?}"),
            Err(what) => assert!(found.expect_err(bytes).contains(what), "{bytes:?}"),
        }
    }

    #[test]
    fn s2_1_a_head_ends_with_its_empty_line_and_bodies_pass() {
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", Ok(true));
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\n\n\0 \r x", Ok(true));
        check("HTTP/1.1 200 OK\r\nA: b\r\n", Ok(false));
        check("HTTP/1.1 204\r\n\r\n", Ok(true));
        check("HTTP/1.1 101 Switching Protocols\r\n\r\n\0\n", Ok(true));
    }

    #[test]
    fn s2_2_lines_end_with_crlf_and_nothing_precedes_the_status_line() {
        check("HTTP/1.1 200 OK\nA: b\n\n", Err("bare LF"));
        check("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", Err("bare LF"));
        check("HTTP/1.1 200 OK\r\nA: b\r\n\n", Err("bare LF"));
        check("HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", Err("bare CR"));
        check("HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n", Err("bare CR"));
        check("\r\nHTTP/1.1 200 OK\r\n\r\n", Err("no status line"));
        check("<html>", Err("no status line"));
    }

    #[test]
    fn s5_2_no_folded_lines_and_no_nul() {
        check("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", Err("folded"));
        check("HTTP/1.1 200 OK\r\n\tA: b\r\n\r\n", Err("folded"));
        check("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", Err("NUL"));
        check("HTTP/1.1 200 O\0K\r\n\r\n", Err("NUL"));
    }

    #[test]
    fn rfc9110_s15_2_interim_responses_are_screened_and_counted() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        check(early, Ok(false));
        check(&format!("{early}HTTP/1.1 200 OK\r\n\r\n"), Ok(true));
        check(&format!("{early}HTTP/1.1 200 OK\n\n"), Err("bare LF"));
        check(&early.repeat(INTERIM_MAX), Ok(false));
        check(&early.repeat(INTERIM_MAX + 1), Err("flood"));
    }
}
