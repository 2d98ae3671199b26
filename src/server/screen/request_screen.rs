//! Follows the bytes of one connection through heads and content, and decides how many of them may
//! pass.

use super::chunks::Chunks;
use super::head::{ContentFraming, HeadReader};
use super::limits::ScreenLimits;
use super::refusal::ScreenRefusal;

/// The decision about the bytes that were fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScreenResult {
    /// The number of bytes that may pass. The rest has to be fed again, followed by what arrives
    /// later.
    pub(crate) pass_bytes: usize,
    /// The step after these bytes have passed.
    pub(crate) then: ScreenStep,
}

/// The step after the passed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScreenStep {
    /// Feed more bytes.
    More,
    /// Wait for the response to the last request: it asks for another protocol, and what follows
    /// its head is HTTP only if the request does not get that protocol. Then call
    /// [`RequestScreen::resume`].
    Wait,
    /// A head is refused: nothing passes after the requests before it.
    RefuseHead(ScreenRefusal),
    /// The content of a request that was passed is refused, because it has no proper end.
    RefuseContent(ScreenRefusal),
}

/// The position of the next byte in the stream.
#[derive(Debug)]
enum ScreenPosition {
    /// In a head.
    Head(HeadReader),
    /// In content with this many bytes to come.
    Sized(u64),
    /// In chunked content.
    Chunked(Chunks),
    /// After a head that asks for another protocol.
    Waiting,
    /// After bytes that were refused.
    Refused(ScreenStep),
}

/// The screen of one connection.
#[derive(Debug)]
pub(crate) struct RequestScreen {
    limits: ScreenLimits,
    position: ScreenPosition,
    /// True if the request whose content is being followed asks for another protocol.
    asks_to_switch: bool,
    /// The number of heads that have passed.
    heads: u32,
}

impl RequestScreen {
    /// Creates the screen of a connection that has sent nothing.
    pub(crate) fn new(limits: ScreenLimits) -> Self {
        Self { limits, position: ScreenPosition::Head(HeadReader::default()), asks_to_switch: false, heads: 0 }
    }

    /// Returns how many heads have passed.
    pub(crate) fn heads(&self) -> u32 {
        self.heads
    }

    /// Continues after a request that asked for another protocol and did not get it. Tells whether
    /// there was one.
    pub(crate) fn resume(&mut self) -> bool {
        let waits = matches!(self.position, ScreenPosition::Waiting);
        if waits {
            self.position = ScreenPosition::Head(HeadReader::default());
        }
        waits
    }

    /// Screens `bytes`, which begin with the first byte that has not passed yet.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> ScreenResult {
        let mut pass_bytes = 0;
        let then = loop {
            let rest = &bytes[pass_bytes..];
            match &mut self.position {
                ScreenPosition::Refused(then) => break *then,
                ScreenPosition::Waiting => break ScreenStep::Wait,
                _ if rest.is_empty() => break ScreenStep::More,
                ScreenPosition::Head(head) => match head.read(rest, &self.limits) {
                    Ok(None) => break ScreenStep::More,
                    Ok(Some(head)) => {
                        pass_bytes += head.bytes;
                        self.heads = self.heads.wrapping_add(1);
                        self.asks_to_switch = head.asks_to_switch;
                        self.position = match head.content {
                            ContentFraming::Sized(0) => self.next(),
                            ContentFraming::Sized(length) => ScreenPosition::Sized(length),
                            ContentFraming::Chunked => ScreenPosition::Chunked(Chunks::default()),
                        };
                    }
                    Err(refusal) => self.position = ScreenPosition::Refused(ScreenStep::RefuseHead(refusal)),
                },
                ScreenPosition::Sized(remaining) => {
                    let length = rest.len().min(usize::try_from(*remaining).unwrap_or(usize::MAX));
                    pass_bytes += length;
                    *remaining -= length as u64;
                    if *remaining == 0 {
                        self.position = self.next();
                    }
                }
                ScreenPosition::Chunked(chunks) => match chunks.read(rest) {
                    Ok(0) => break ScreenStep::More,
                    Ok(length) => {
                        pass_bytes += length;
                        if chunks.is_done() {
                            self.position = self.next();
                        }
                    }
                    Err(refusal) => self.position = ScreenPosition::Refused(ScreenStep::RefuseContent(refusal)),
                },
            }
        };
        ScreenResult { pass_bytes, then }
    }

    /// Returns the position after a whole request.
    fn next(&self) -> ScreenPosition {
        if self.asks_to_switch { ScreenPosition::Waiting } else { ScreenPosition::Head(HeadReader::default()) }
    }
}
