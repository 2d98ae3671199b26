//! Helpers for this module's tests: heads written as tables, and a stored response to start from.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::clock::Timestamp;
use crate::policy::request::RequestFacts;
use crate::policy::storable::Exchange;
use crate::route::Rule;
use crate::stored::{Facts, LifetimeSource, StaleUse};
use crate::syntax::date;

/// The time at which responses are received: Sun, 06 Nov 1994 08:49:37 GMT, plus some milliseconds,
/// which Date lacks.
pub(crate) const RECEIVED: Timestamp = Timestamp::from_millis(784_111_777_400);

/// Makes a head. A value `@n` stands for the date n seconds after [`RECEIVED`].
pub(crate) fn fields(given: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in given {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let text = match value.strip_prefix('@') {
            Some(secs) => date(secs.parse().unwrap()),
            None => (*value).to_owned(),
        };
        map.append(name, HeaderValue::from_str(&text).unwrap());
    }
    map
}

/// Prints the date `secs` after [`RECEIVED`].
pub(crate) fn date(secs: i64) -> String {
    let date = date::header_value(Timestamp::from_secs(RECEIVED.as_secs() + secs));
    date.to_str().unwrap().to_owned()
}

/// The exchange of a GET that was answered without delay at [`RECEIVED`].
pub(crate) fn exchange<'a>(request: &'a RequestFacts, rule: &'a Rule) -> Exchange<'a> {
    Exchange { method: &Method::GET, request, requested_at: RECEIVED, received_at: RECEIVED, rule }
}

/// A stored response with a lifetime of 10 s, a validator, and the default rule's windows.
pub(crate) fn stored() -> Facts {
    Facts {
        status: StatusCode::OK,
        received_at: RECEIVED,
        initial_age: Duration::ZERO,
        lifetime: Duration::from_secs(10),
        lifetime_source: LifetimeSource::MaxAge,
        no_cache: false,
        stale: within(0, 3600, 0),
        has_validator: true,
        no_transform: false,
        immutable: false,
        permits_sharing: false,
        has_s_maxage: false,
    }
}

/// The stale windows, in seconds.
pub(crate) const fn within(while_revalidate: u64, if_unreachable: u64, if_error_status: u64) -> StaleUse {
    StaleUse::Within {
        while_revalidate: Duration::from_secs(while_revalidate),
        if_unreachable: Duration::from_secs(if_unreachable),
        if_error_status: Duration::from_secs(if_error_status),
    }
}
