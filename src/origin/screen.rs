//! The screen over the heads that an origin sends: refuses heads that hyper accepts and another
//! reader would read differently.
//!
//! hyper ends lines at a bare LF, skips empty lines before a status line, and drops interim
//! responses without counting them. So the bytes of each head are checked before hyper reads them.
//! Everything else in a head is refused by hyper, or by [`framing`](super::framing) after parsing.
//! Bodies pass unchecked.

use memchr::{memchr_iter, memchr2_iter, memchr3};

/// The most interim responses before a final one. RFC 9110 §15.2 sets no bound; more than this is a
/// flood.
pub(super) const INTERIM_MAX: usize = 100;

/// The length of a status line up to and including its status code.
const STATUS_LINE_START: usize = "HTTP/1.1 200".len();

const NO_STATUS_LINE: &str = "no status line (RFC 9112 §4)";
const BARE_CR: &str = "a bare CR in the head (RFC 9112 §2.2)";

/// The screen of one connection.
#[derive(Debug, Default)]
pub(super) struct ResponseScreen {
    is_in_head: bool,
    /// Bytes of this head so far.
    at: usize,
    /// The first bytes of this head.
    start: [u8; STATUS_LINE_START],
    /// Bytes of this line so far.
    in_line: usize,
    last: u8,
    interim: usize,
}

impl ResponseScreen {
    /// Prepares for the head of the response to a new request.
    pub(super) fn begin(&mut self) {
        *self = Self { is_in_head: true, ..Self::default() };
    }

    /// Returns whether more bytes of a head are expected.
    pub(super) fn is_in_head(&self) -> bool {
        self.is_in_head
    }

    /// Checks the next bytes.
    ///
    /// # Errors
    /// Names the fault of the bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        if self.is_in_head && self.at == 0 && begins_plainly(bytes) {
            self.is_in_head = false;
            return Ok(());
        }
        while self.is_in_head && !bytes.is_empty() {
            let plain = memchr3(b'\r', b'\n', 0, bytes).unwrap_or(bytes.len());
            let (run, rest) = bytes.split_at(plain);
            self.look_at_run(run)?;
            // CR and LF come together in a well-formed head.
            let controls = if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
            let (controls, rest) = rest.split_at(controls);
            controls.iter().try_for_each(|control| self.look_at_control(*control))?;
            bytes = rest;
        }
        Ok(())
    }

    /// Checks bytes other than CR, LF and NUL.
    fn look_at_run(&mut self, run: &[u8]) -> Result<(), &'static str> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        match first {
            _ if self.last == b'\r' => return Err(BARE_CR),
            first if self.at == 0 && *first != b'H' => return Err(NO_STATUS_LINE),
            b' ' | b'\t' if self.in_line == 0 => return Err("a folded line in the head (RFC 9112 §5.2)"),
            _ => {}
        }
        let start = self.start.get_mut(self.at..).unwrap_or_default();
        start.iter_mut().zip(run).for_each(|(place, byte)| *place = *byte);
        self.at += run.len();
        self.in_line += run.len();
        self.last = *last;
        Ok(())
    }

    fn look_at_control(&mut self, control: u8) -> Result<(), &'static str> {
        let last = std::mem::replace(&mut self.last, control);
        match control {
            _ if self.at == 0 => return Err(NO_STATUS_LINE),
            b'\n' if last != b'\r' => return Err("a bare LF in the head (RFC 9112 §2.2)"),
            b'\n' if self.in_line == 1 => return self.end_of_head(),
            b'\n' => self.in_line = 0,
            _ if last == b'\r' => return Err(BARE_CR),
            0 => return Err("a NUL in the head (RFC 9110 §5.5)"),
            _cr => self.in_line += 1,
        }
        self.at += 1;
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

/// Returns whether `bytes` begin with the whole, flawless head of a final response. Nearly all
/// responses do, and this check takes a third of the time of the one that finds out what is wrong
/// and where a piece ends.
fn begins_plainly(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"HTTP/1.1 ") || bytes.get(9) == Some(&b'1') {
        return false;
    }
    let mut lines = 0;
    for at in memchr2_iter(b'\r', 0, bytes) {
        lines += 1;
        match bytes.get(at..at + 4) {
            // Each CR has its LF. Any further LF is a bare one.
            Some(b"\r\n\r\n") => return memchr_iter(b'\n', &bytes[..at + 4]).count() == lines + 1,
            Some(&[b'\r', b'\n', next, _]) if !matches!(next, b' ' | b'\t') => {}
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Checks whether the screen accepts these bytes, in one piece and byte by byte, and whether
    /// the head has ended then.
    #[track_caller]
    fn check(bytes: &str, expected: Result<bool, &str>) {
        let passed = |piece_bytes: usize| {
            let mut screen = ResponseScreen::default();
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

    proptest! {
        #[test]
        fn a_head_is_the_same_whole_and_in_pieces(
            status in "HTTP/1.[01] [12]00", pieces in proptest::collection::vec("\r\n|\r\n|\n|\r|\0|A: b| |\t", 0..8)
        ) {
            let bytes = status + &pieces.concat() + "\r\n\r\nrest\n";
            let passed = |piece_bytes: usize| {
                let mut screen = ResponseScreen::default();
                screen.begin();
                let passed = bytes.as_bytes().chunks(piece_bytes).try_for_each(|piece| screen.pass(piece));
                passed.map(|()| !screen.is_in_head())
            };
            prop_assert_eq!(passed(bytes.len()), passed(1));
        }
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
