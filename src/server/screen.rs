//! The first part of the front door: follows the bytes of an HTTP/1 connection and lets only those on to hyper that can be
//! read in one way.
//!
//! hyper drops or mends a part of what is odd before anybody can see it, so it is looked for here, where the bytes are
//! read: in every head (pipelined ones too), in chunk-size lines and in trailers. Heads, lines and trailers pass whole or not
//! at all, content passes as it comes, and nothing is copied. Pure over bytes: reading, holding back and answering are
//! `wire`'s and `connection`'s; what a well-formed head means is `policy::request`'s.
//!
//! Where hyper and the screen would find different ends of a request, the request is refused. What the screen passes, hyper
//! reads in the same way; `tests/it/hostile/agree.rs` checks that.

mod content;
mod head;
mod line;
mod offline;

use http::StatusCode;

use self::content::Chunks;
use self::head::{Content, Head};
use crate::outcome::Reason;

pub use self::offline::{Screened, screened};

/// The most fields of a head, and of a trailer section: hyper's own limit, which is no more than browsers and the proxies
/// before us together ever send.
const FIELDS_MAX: usize = 100;

/// The longest request-target, in bytes: four times the 8,000 that RFC 9112 §3 wants everybody to take, and a bound on what
/// is keyed and logged where `head_bytes_max` is set high.
const TARGET_BYTES_MAX: usize = 32 << 10;

/// Why bytes are not passed on, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status.
    pub(super) status: StatusCode,
    /// The reason from the closed list.
    pub(super) reason: Reason,
    /// What exactly is wrong, as a sentence without its full stop.
    pub(super) why: &'static str,
}

impl Refusal {
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
pub(super) struct Verdict {
    /// So many of them may go on. The rest is to be offered again, with what comes after it.
    pub(super) passed: usize,
    /// And then.
    pub(super) then: Then,
}

/// What is to be done once the passed bytes have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Offer more.
    More,
    /// Wait for the answer to the request that was passed last: it asks for another protocol, and what follows its head is
    /// HTTP only if it does not get it. Then [`Screen::resume`].
    Wait,
    /// A head is refused: nothing follows the requests before it.
    RefuseHead(Refusal),
    /// The content of a request that was passed is refused: it has no proper end.
    RefuseContent(Refusal),
}

/// The bounds that are configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The largest head, in bytes.
    pub(super) head_bytes_max: usize,
}

/// Where in the stream the next byte stands.
#[derive(Debug)]
enum Place {
    /// In a head.
    Head(Head),
    /// In content of which so many bytes are to come.
    Sized(u64),
    /// In chunked content.
    Chunked(Chunks),
    /// Behind a head that asks for another protocol.
    Waiting,
    /// Behind what was refused.
    Refused(Then),
}

/// The screen of one connection.
#[derive(Debug)]
pub(super) struct Screen {
    limits: Limits,
    place: Place,
    /// Whether the request whose content is being followed asks for another protocol.
    asks_to_switch: bool,
    /// Heads that were passed.
    heads: u32,
}

impl Screen {
    /// Makes the screen of a connection that has sent nothing.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, place: Place::Head(Head::default()), asks_to_switch: false, heads: 0 }
    }

    /// Returns how many heads were passed.
    pub(super) fn heads(&self) -> u32 {
        self.heads
    }

    /// Goes on behind a request that asked for another protocol and did not get it. Tells whether there was one.
    pub(super) fn resume(&mut self) -> bool {
        let waits = matches!(self.place, Place::Waiting);
        if waits {
            self.place = Place::Head(Head::default());
        }
        waits
    }

    /// Looks at `bytes`, which begin with the first that was not passed yet.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Verdict {
        let mut passed = 0;
        let then = loop {
            let rest = &bytes[passed..];
            match &mut self.place {
                Place::Refused(then) => break *then,
                Place::Waiting => break Then::Wait,
                _ if rest.is_empty() => break Then::More,
                Place::Head(head) => match head.read(rest, &self.limits) {
                    Ok(None) => break Then::More,
                    Ok(Some(found)) => {
                        passed += found.bytes;
                        self.heads = self.heads.wrapping_add(1);
                        self.asks_to_switch = found.asks_to_switch;
                        self.place = match found.content {
                            Content::Sized(0) => self.next(),
                            Content::Sized(length) => Place::Sized(length),
                            Content::Chunked => Place::Chunked(Chunks::default()),
                        };
                    }
                    Err(refusal) => self.place = Place::Refused(Then::RefuseHead(refusal)),
                },
                Place::Sized(left) => {
                    let length = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    passed += length;
                    *left -= length as u64;
                    if *left == 0 {
                        self.place = self.next();
                    }
                }
                Place::Chunked(chunks) => match chunks.read(rest) {
                    Ok(0) => break Then::More,
                    Ok(length) => {
                        passed += length;
                        if chunks.is_done() {
                            self.place = self.next();
                        }
                    }
                    Err(refusal) => self.place = Place::Refused(Then::RefuseContent(refusal)),
                },
            }
        };
        Verdict { passed, then }
    }

    /// Returns what follows a whole request.
    fn next(&self) -> Place {
        if self.asks_to_switch { Place::Waiting } else { Place::Head(Head::default()) }
    }
}

#[cfg(test)]
mod tests;
