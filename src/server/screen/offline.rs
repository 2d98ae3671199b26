//! The screen over bytes that are all there: for tests, fuzzing, and whoever has a capture in place of a connection.

use http::StatusCode;

use super::limits::ScreenLimits;
use super::request_screen::{RequestScreen, ScreenStep};

/// What became of a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenSummary {
    /// So many bytes of it would have gone on.
    pub passed: usize,
    /// So many heads were among them.
    pub heads: u32,
    /// What was refused behind them.
    pub refusal: Option<StatusCode>,
}

/// Screens an HTTP/1 connection's bytes as they would come in pieces that end at `cuts`, in order. What does not pass is
/// offered again with the next piece; who asks for another protocol gets none.
pub fn screen(stream: &[u8], cuts: &[usize], head_bytes_max: usize) -> ScreenSummary {
    let mut screen = RequestScreen::new(ScreenLimits { head_bytes_max });
    let (mut passed, mut refused) = (0, None);
    let ends = cuts.iter().copied().chain([stream.len()]);
    'pieces: for end in ends {
        // A cut inside what has passed already is no news.
        while let Some(piece) = stream.get(passed..end) {
            let verdict = screen.feed(piece);
            passed += verdict.pass_bytes;
            match verdict.then {
                ScreenStep::More => break,
                ScreenStep::Wait => {
                    screen.resume();
                }
                ScreenStep::RefuseHead(refusal) | ScreenStep::RefuseContent(refusal) => {
                    refused = Some(refusal.status);
                    break 'pieces;
                }
            }
        }
    }
    ScreenSummary { passed, heads: screen.heads(), refusal: refused }
}
