//! The first part of the front door: follows the bytes of an HTTP/1 connection and lets only those on to hyper that can be
//! read in one way.
//!
//! hyper drops or mends a part of what is odd before anybody can see it, so it is looked for here, where the bytes are
//! read: in every head (pipelined ones too), in chunk-size lines and in trailers. Heads, lines and trailers pass whole or not
//! at all, content passes as it comes, and nothing is copied. Pure over bytes: reading, holding back and answering are
//! `connection`'s and `connection`'s; what a well-formed head means is `policy::request`'s.
//!
//! Where hyper and the screen would find different ends of a request, the request is refused. What the screen passes, hyper
//! reads in the same way; `tests/it/hostile/agree.rs` checks that.

mod content;
mod head;
mod line;
mod offline;

use http::StatusCode;

use self::content::Chunks;
use self::head::{ContentFraming, HeadReader};
use crate::outcome::Reason;

pub use self::offline::{ScreenSummary, screen};

/// The most fields of a head, and of a trailer section: hyper's own limit, which is no more than browsers and the proxies
/// before us together ever send.
const FIELDS_MAX: usize = 100;

/// The longest request-target, in bytes: four times the 8,000 that RFC 9112 §3 wants everybody to take, and a bound on what
/// is keyed and logged where `head_bytes_max` is set high.
const TARGET_BYTES_MAX: usize = 32 << 10;

/// Why bytes are not passed on, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScreenRefusal {
    /// The status.
    pub(super) status: StatusCode,
    /// The reason from the closed list.
    pub(super) reason: Reason,
    /// What exactly is wrong, as a sentence without its full stop.
    pub(super) why: &'static str,
}

impl ScreenRefusal {
    /// Refuses what can be read in two ways, or in none.
    const fn bad(why: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: Reason::BadRequest, why }
    }

    /// Refuses with another status what cannot be read.
    const fn with(status: StatusCode, why: &'static str) -> Self {
        Self { status, reason: Reason::BadRequest, why }
    }

    /// Refuses what is too large.
    const fn large(status: StatusCode, why: &'static str) -> Self {
        Self { status, reason: Reason::HeadTooLarge, why }
    }
}

/// What is to be done with bytes that were offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScreenResult {
    /// So many of them may go on. The rest is to be offered again, with what comes after it.
    pub(super) pass_bytes: usize,
    /// And then.
    pub(super) then: ScreenStep,
}

/// What is to be done once the passed bytes have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScreenStep {
    /// Offer more.
    More,
    /// Wait for the answer to the request that was passed last: it asks for another protocol, and what follows its head is
    /// HTTP only if it does not get it. Then [`RequestScreen::resume`].
    Wait,
    /// A head is refused: nothing follows the requests before it.
    RefuseHead(ScreenRefusal),
    /// The content of a request that was passed is refused: it has no proper end.
    RefuseContent(ScreenRefusal),
}

/// The bounds that are configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScreenLimits {
    /// The largest head, in bytes.
    pub(super) head_bytes_max: usize,
}

/// Where in the stream the next byte stands.
#[derive(Debug)]
enum ScreenPosition {
    /// In a head.
    Head(HeadReader),
    /// In content of which so many bytes are to come.
    Sized(u64),
    /// In chunked content.
    Chunked(Chunks),
    /// Behind a head that asks for another protocol.
    Waiting,
    /// Behind what was refused.
    Refused(ScreenStep),
}

/// The screen of one connection.
#[derive(Debug)]
pub(super) struct RequestScreen {
    limits: ScreenLimits,
    place: ScreenPosition,
    /// Whether the request whose content is being followed asks for another protocol.
    asks_to_switch: bool,
    /// Heads that were passed.
    heads: u32,
}

impl RequestScreen {
    /// Makes the screen of a connection that has sent nothing.
    pub(super) fn new(limits: ScreenLimits) -> Self {
        Self { limits, place: ScreenPosition::Head(HeadReader::default()), asks_to_switch: false, heads: 0 }
    }

    /// Returns how many heads were passed.
    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    /// Goes on behind a request that asked for another protocol and did not get it. Tells whether there was one.
    pub(super) fn resume(&mut self) -> bool {
        let waits = matches!(self.place, ScreenPosition::Waiting);
        if waits {
            self.place = ScreenPosition::Head(HeadReader::default());
        }
        waits
    }

    /// Looks at `bytes`, which begin with the first that was not passed yet.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> ScreenResult {
        let mut pass_bytes = 0;
        let then = loop {
            let rest = &bytes[pass_bytes..];
            match &mut self.place {
                ScreenPosition::Refused(then) => break *then,
                ScreenPosition::Waiting => break ScreenStep::Wait,
                _ if rest.is_empty() => break ScreenStep::More,
                ScreenPosition::Head(head) => match head.read(rest, &self.limits) {
                    Ok(None) => break ScreenStep::More,
                    Ok(Some(head)) => {
                        pass_bytes += head.bytes;
                        self.heads = self.heads.wrapping_add(1);
                        self.asks_to_switch = head.asks_to_switch;
                        self.place = match head.content {
                            ContentFraming::Sized(0) => self.next(),
                            ContentFraming::Sized(length) => ScreenPosition::Sized(length),
                            ContentFraming::Chunked => ScreenPosition::Chunked(Chunks::default()),
                        };
                    }
                    Err(refusal) => self.place = ScreenPosition::Refused(ScreenStep::RefuseHead(refusal)),
                },
                ScreenPosition::Sized(remaining) => {
                    let length = rest.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    pass_bytes += length;
                    *remaining -= length as u64;
                    if *remaining == 0 {
                        self.place = self.next();
                    }
                }
                ScreenPosition::Chunked(chunks) => match chunks.read(rest) {
                    Ok(0) => break ScreenStep::More,
                    Ok(length) => {
                        pass_bytes += length;
                        if chunks.is_done() {
                            self.place = self.next();
                        }
                    }
                    Err(refusal) => self.place = ScreenPosition::Refused(ScreenStep::RefuseContent(refusal)),
                },
            }
        };
        ScreenResult { pass_bytes, then }
    }

    /// Returns what follows a whole request.
    fn next(&self) -> ScreenPosition {
        if self.asks_to_switch { ScreenPosition::Waiting } else { ScreenPosition::Head(HeadReader::default()) }
    }
}

#[cfg(test)]
mod tests;
