//! The state of `larder top`: the latest stats, earlier samples, and the selected table.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::admin::stats::Stats;
use crate::outcome::Outcome;

/// The maximum number of samples: five minutes at one per second, more than a terminal is wide.
const SAMPLES_MAX: usize = 300;

/// The period of the recent hit ratio, in seconds.
const MOMENT_SECONDS: f64 = 60.0;

/// The change between two readings.
#[derive(Clone, Debug)]
struct StatsSample {
    seconds: f64,
    by_outcome: [u64; Outcome::ALL.len()],
}

/// A table below the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Requests,
    Bytes,
    Misses,
    OriginTime,
    Reasons,
    Errors,
    Routes,
}

impl View {
    /// Every table, in the order of the keys 1 to 7.
    pub(super) const ALL: [View; 7] =
        [Self::Requests, Self::Bytes, Self::Misses, Self::OriginTime, Self::Reasons, Self::Errors, Self::Routes];

    /// Returns the title; all seven fit next to each other on the smallest terminal.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
            Self::Misses => "misses",
            Self::OriginTime => "origin time",
            Self::Reasons => "reasons",
            Self::Errors => "errors",
            Self::Routes => "routes",
        }
    }
}

/// The effect of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TopAction {
    Quit,
    Redraw,
    Nothing,
}

/// The state of the dashboard.
pub(super) struct TopState {
    /// The address of the admin interface.
    pub(super) address: String,
    /// The latest stats.
    pub(super) stats: Stats,
    /// The error of the last poll, if it failed.
    pub(super) trouble: Option<String>,
    /// The table that is shown.
    pub(super) view: View,
    /// The number of rows that are scrolled past.
    pub(super) scroll: usize,
    samples: VecDeque<StatsSample>,
}

impl TopState {
    /// Starts with the first stats.
    pub(super) fn new(address: String, stats: Stats) -> Self {
        Self { address, stats, trouble: None, view: View::Requests, scroll: 0, samples: VecDeque::new() }
    }

    /// Takes newer stats. The samples of a process that has restarted are dropped.
    pub(super) fn update(&mut self, stats: Stats) {
        let seconds = stats.uptime_seconds - self.stats.uptime_seconds;
        if seconds < 0.0 {
            self.samples.clear();
        } else if seconds > 0.0 {
            let of = |stats: &Stats, outcome: Outcome| stats.requests.by_outcome.get(outcome.token()).copied();
            let more = |outcome: Outcome| {
                of(&stats, outcome).unwrap_or(0).saturating_sub(of(&self.stats, outcome).unwrap_or(0))
            };
            if self.samples.len() == SAMPLES_MAX {
                self.samples.pop_front();
            }
            let by_outcome = std::array::from_fn(|index| more(Outcome::ALL[index]));
            self.samples.push_back(StatsSample { seconds, by_outcome });
        }
        self.stats = stats;
        self.trouble = None;
    }

    /// Returns the requests per second with this outcome in up to `count` latest samples, the
    /// oldest first.
    pub(super) fn rates(&self, outcome: Outcome, count: usize) -> Vec<f64> {
        let rate = |sample: &StatsSample| sample.by_outcome[outcome as usize] as f64 / sample.seconds;
        self.samples.iter().skip(self.samples.len().saturating_sub(count)).map(rate).collect()
    }

    /// Returns the requests per second between the last two readings.
    pub(super) fn rate(&self) -> Option<f64> {
        let last = self.samples.back()?;
        Some(last.by_outcome.iter().sum::<u64>() as f64 / last.seconds)
    }

    /// Returns the hit ratio of the last minute; `None` without requests.
    pub(super) fn hit_ratio_now(&self) -> Option<f64> {
        let (mut seconds, mut hits, mut all) = (0.0, 0, 0);
        for sample in self.samples.iter().rev() {
            if seconds >= MOMENT_SECONDS {
                break;
            }
            seconds += sample.seconds;
            hits += sample.by_outcome[Outcome::Hit as usize];
            all += sample.by_outcome.iter().sum::<u64>();
        }
        (all > 0).then(|| hits as f64 / all as f64)
    }

    /// Handles a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> TopAction {
        if key.kind == KeyEventKind::Release {
            return TopAction::Nothing;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return TopAction::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return TopAction::Quit,
            KeyCode::Tab | KeyCode::Right => self.switch_view(1),
            KeyCode::BackTab | KeyCode::Left => self.switch_view(View::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='7') => self.show(View::ALL[digit as usize - '1' as usize]),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = (self.scroll + 1).min(self.rows().saturating_sub(1)),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Home => self.scroll = 0,
            _ => return TopAction::Nothing,
        }
        TopAction::Redraw
    }

    /// Returns the number of rows in the selected table.
    fn rows(&self) -> usize {
        let (stats, most) = (&self.stats, &self.stats.asked_most);
        match self.view {
            View::Requests => most.by_requests.len(),
            View::Bytes => most.by_bytes.len(),
            View::Misses => most.by_misses.len(),
            View::OriginTime => most.by_origin_time_us.len(),
            View::Reasons => stats.not_from_cache.len(),
            View::Errors => stats.recent_errors.len(),
            View::Routes => stats.routes.len(),
        }
    }

    fn switch_view(&mut self, by: usize) {
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or(0);
        self.show(View::ALL[(at + by) % View::ALL.len()]);
    }

    fn show(&mut self, view: View) {
        (self.view, self.scroll) = (view, 0);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::stats::sample;

    /// A state with the sample stats, and ten more hits and two misses within the two seconds after
    /// them.
    pub(in super::super) fn snapshot() -> TopState {
        let mut state = TopState::new("http://127.0.0.1:9180".into(), sample());
        let mut later = sample();
        later.uptime_seconds += 2.0;
        for (outcome, more) in [("hit", 10), ("miss", 2)] {
            *later.requests.by_outcome.get_mut(outcome).unwrap() += more;
        }
        state.update(later);
        state
    }

    #[test]
    fn rates_cover_the_time_between_readings() {
        let mut state = snapshot();
        assert_eq!((state.rate(), state.hit_ratio_now()), (Some(6.0), Some(10.0 / 12.0)));
        assert_eq!(state.rates(Outcome::Hit, 9), [5.0]);
        assert_eq!(state.rates(Outcome::Stale, 9), [0.0]);
        state.trouble = Some("it did not answer".into());
        let mut restarted = sample();
        restarted.uptime_seconds = 1.0;
        state.update(restarted);
        assert_eq!((state.rate(), state.hit_ratio_now(), state.trouble.as_deref()), (None, None, None));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut state = snapshot();
        for nth in 0..SAMPLES_MAX + 10 {
            let mut later = sample();
            later.uptime_seconds += nth as f64 + 3.0;
            state.update(later);
        }
        assert_eq!(state.rates(Outcome::Hit, usize::MAX).len(), SAMPLES_MAX);
        assert_eq!(state.rates(Outcome::Hit, 5).len(), 5);
    }

    #[test]
    fn keys_switch_scroll_and_end() {
        let mut state = snapshot();
        let check = |state: &mut TopState, code, modifiers, act, view, scroll| {
            let done = state.key(KeyEvent::new(code, modifiers));
            assert_eq!((done, state.view, state.scroll), (act, view, scroll), "{code:?}");
        };
        let none = KeyModifiers::NONE;
        check(&mut state, KeyCode::Tab, none, TopAction::Redraw, View::Bytes, 0);
        check(&mut state, KeyCode::Left, none, TopAction::Redraw, View::Requests, 0);
        check(&mut state, KeyCode::BackTab, KeyModifiers::SHIFT, TopAction::Redraw, View::Routes, 0);
        // Three routes, one of them for requests that no route matched.
        for scroll in [1, 2, 2] {
            check(&mut state, KeyCode::Down, none, TopAction::Redraw, View::Routes, scroll);
        }
        check(&mut state, KeyCode::Up, none, TopAction::Redraw, View::Routes, 1);
        check(&mut state, KeyCode::Right, none, TopAction::Redraw, View::Requests, 0);
        check(&mut state, KeyCode::Char('5'), none, TopAction::Redraw, View::Reasons, 0);
        check(&mut state, KeyCode::Up, none, TopAction::Redraw, View::Reasons, 0);
        check(&mut state, KeyCode::Char('8'), none, TopAction::Nothing, View::Reasons, 0);
        check(&mut state, KeyCode::Char('c'), none, TopAction::Nothing, View::Reasons, 0);
        check(&mut state, KeyCode::Char('c'), KeyModifiers::CONTROL, TopAction::Quit, View::Reasons, 0);
        check(&mut state, KeyCode::Char('q'), none, TopAction::Quit, View::Reasons, 0);
        check(&mut state, KeyCode::Esc, none, TopAction::Quit, View::Reasons, 0);
    }
}
