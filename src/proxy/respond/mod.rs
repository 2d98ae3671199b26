//! The response: its head, its body, and the record of how it ended.
//!
//! `answer` puts a response together from a stored entry, a filling body or the origin's response;
//! `encode` makes the renditions that it needs. `stale` and `rescue` answer when the origin fails
//! or a request is refused. `record` writes the decision into the head and attaches the `observer`,
//! which records the end when the `body` is dropped (`log` is its access-log line). `interim` and
//! `tunnel` carry what HTTP sends before and after a final response.

pub(super) mod answer;
pub(super) mod body;
pub(super) mod encode;
pub(crate) mod interim;
mod log;
mod observer;
pub(super) mod record;
pub(super) mod rescue;
pub(super) mod stale;
pub mod tunnel;
