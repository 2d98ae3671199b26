//! The screen over bytes that are all there: for tests, fuzzing, and captures.

use http::StatusCode;

use super::limits::ScreenLimits;
use super::request_screen::{RequestScreen, ScreenStep};

/// The result of screening a stream of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScreenSummary {
    /// The number of bytes that passed.
    pub passed: usize,
    /// The number of heads among them.
    pub heads: u32,
    /// The status with which the bytes behind `passed` were refused; `None` if none were.
    pub refusal: Option<StatusCode>,
}

/// Screens an HTTP/1 connection's bytes as they would arrive in pieces that end at `cuts`, in
/// order. Bytes that do not pass are fed again with the next piece; a request that asks for another
/// protocol does not get it.
pub fn screen(stream: &[u8], cuts: &[usize], head_bytes_max: usize) -> ScreenSummary {
    let mut screen = RequestScreen::new(ScreenLimits { head_bytes_max });
    let (mut passed, mut refusal_status) = (0, None);
    let ends = cuts.iter().copied().chain([stream.len()]);
    'pieces: for end in ends {
        // A cut inside bytes that have passed already changes nothing.
        while let Some(piece) = stream.get(passed..end) {
            let result = screen.feed(piece);
            passed += result.pass_bytes;
            match result.then {
                ScreenStep::More => break,
                ScreenStep::Wait => {
                    screen.resume();
                }
                ScreenStep::RefuseHead(refusal) | ScreenStep::RefuseContent(refusal) => {
                    refusal_status = Some(refusal.status);
                    break 'pieces;
                }
            }
        }
    }
    ScreenSummary { passed, heads: screen.heads(), refusal: refusal_status }
}
