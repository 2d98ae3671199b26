//! Routes: the rule of the configuration that applies to a request.
//!
//! A [`Rule`] is complete. The configuration fills the gaps of a `[[route]]` from `[cache]`,
//! `[memory]` and `[compression]` when it is checked, so a request reads one value only. The first
//! route that matches the canonical path wins. Nothing here looks at a response. `matching`
//! compares requests with a route.

mod matching;
mod query;
mod rule;
mod table;

pub use matching::{PathMatcher, PathPattern, host_matches, merged};
pub use query::{QueryRule, wildcard};
pub use rule::{CacheMode, IGNORED_COOKIES, RouteMode, Rule, SetCookie};
pub use table::{ShadowRoutes, Table, number};
