//! Follows the bytes of one connection: heads, content, and what comes next.

use super::chunks::Chunks;
use super::head::{ContentFraming, HeadReader};
use super::limits::ScreenLimits;
use super::refusal::ScreenRefusal;

/// What is to be done with bytes that were offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScreenResult {
    /// So many of them may go on. The rest is to be offered again, with what comes after it.
    pub(crate) pass_bytes: usize,
    /// And then.
    pub(crate) then: ScreenStep,
}

/// What is to be done once the passed bytes have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScreenStep {
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
pub(crate) struct RequestScreen {
    limits: ScreenLimits,
    place: ScreenPosition,
    /// Whether the request whose content is being followed asks for another protocol.
    asks_to_switch: bool,
    /// Heads that were passed.
    heads: u32,
}

impl RequestScreen {
    /// Makes the screen of a connection that has sent nothing.
    pub(crate) fn new(limits: ScreenLimits) -> Self {
        Self { limits, place: ScreenPosition::Head(HeadReader::default()), asks_to_switch: false, heads: 0 }
    }

    /// Returns how many heads were passed.
    pub(crate) fn heads(&self) -> u32 {
        self.heads
    }

    /// Goes on behind a request that asked for another protocol and did not get it. Tells whether there was one.
    pub(crate) fn resume(&mut self) -> bool {
        let waits = matches!(self.place, ScreenPosition::Waiting);
        if waits {
            self.place = ScreenPosition::Head(HeadReader::default());
        }
        waits
    }

    /// Looks at `bytes`, which begin with the first that was not passed yet.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> ScreenResult {
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
        ScreenResult { pass_bytes: pass_bytes, then }
    }

    /// Returns what follows a whole request.
    fn next(&self) -> ScreenPosition {
        if self.asks_to_switch { ScreenPosition::Waiting } else { ScreenPosition::Head(HeadReader::default()) }
    }
}
