//! Log lines for failures that may happen many times a second.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long further events are suppressed. A log flooded because of a full disk or missing
/// descriptors helps nobody; twelve lines a minute do.
const SILENCE: Duration = Duration::from_secs(5);

/// Decides when an event that may be frequent is logged.
#[derive(Debug, Default)]
pub(super) struct RateLimitedLog {
    /// Guards the time of the last log line and the number of events since. Nothing awaits under
    /// it.
    state: Mutex<LogState>,
}

#[derive(Debug, Default)]
struct LogState {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Counts an event at `now`. Returns the number of events since the last log line when the next
    /// one is due.
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
    fn the_first_event_is_logged_and_the_next_are_counted() {
        let (log, start) = (RateLimitedLog::default(), Instant::now());
        let at = |millis| log.record(start + Duration::from_millis(millis));
        assert_eq!([at(0), at(100), at(200), at(4_999)], [Some(1), None, None, None]);
        assert_eq!([at(5_000), at(5_100), at(9_999), at(20_000)], [Some(4), None, None, Some(3)]);
    }
}
