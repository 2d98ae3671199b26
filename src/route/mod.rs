//! Routes: which rule of the configuration applies to a request.
//!
//! A [`Rule`] is complete: what a `[[route]]` leaves out is filled in from `[cache]`, `[memory]` and `[compression]` when
//! the configuration is checked, so that the way of a request takes one value and asks no further. First match wins, on
//! the canonical path. Nothing here looks at a response. What a route matches is in `matching`.

mod matching;
mod query;
mod rule;
mod table;

pub use matching::{PathMatcher, PathPattern, host_matches, merged};
pub use query::{QueryRule, wildcard};
pub use rule::{CacheMode, IGNORED_COOKIES, RouteMode, Rule, SetCookie};
pub use table::{ShadowRoutes, Table, number};
