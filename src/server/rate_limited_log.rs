//! What may go wrong many times a second, and is told of once in a while.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long nothing more is told. A log that a full disk or a want of files floods helps nobody; twelve lines a minute do.
const SILENCE: Duration = Duration::from_secs(5);

/// Something that is told of seldom.
#[derive(Debug, Default)]
pub(super) struct RateLimitedLog {
    /// Guards what was told. Nothing awaits under it.
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Notes that it has happened `now`. Returns how often it has since it was last told, where it is time to tell.
    pub(super) fn record(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        state.suppressed += 1;
        if state.last.is_some_and(|last| now.duration_since(last) < SILENCE) {
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_next_are_counted() {
        let (seldom, start) = (RateLimitedLog::default(), Instant::now());
        let at = |millis| seldom.record(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(100), at(200), at(4_999)], [Some(1), None, None, None]);
        assert_eq!([at(5_000), at(5_100), at(9_999), at(20_000)], [Some(4), None, None, Some(3)]);
    }
}
