//! The forecast of a request, before it is put into words.

use std::sync::Arc;

use crate::outcome::Decision;
use crate::stored::{Coding, StoredEntry};

/// The forecast of a request.
pub(super) struct Forecast {
    pub(super) action: ForecastAction,
    pub(super) decision: Decision,
    /// The entry that may be served if the origin fails.
    pub(super) stand_in: Option<Arc<StoredEntry>>,
    pub(super) is_conditional: bool,
    pub(super) waits: bool,
    pub(super) refreshes: bool,
    /// Status and coding, if the origin's answer does not decide them.
    pub(super) answer: Option<(u16, Option<Coding>)>,
}

/// The action taken on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForecastAction {
    Answer,
    Fetch,
    Compare,
    Pass,
    Purge,
    Refuse,
    Fail,
}

impl Forecast {
    pub(super) fn new(action: ForecastAction, decision: Decision) -> Self {
        Self { action, decision, stand_in: None, is_conditional: false, waits: false, refreshes: false, answer: None }
    }

    /// Tells whether the origin is asked before the client is answered.
    pub(super) fn asks_origin(&self) -> bool {
        matches!(self.action, ForecastAction::Fetch | ForecastAction::Compare | ForecastAction::Pass)
    }
}
