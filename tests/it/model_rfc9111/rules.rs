//! RFC 9111 as a simple model: may this answer of the origin be reused for this request, and with
//! which Age? Written from the RFC alone, over plain strings and whole seconds. The model shares
//! nothing with the cache.

use std::collections::BTreeMap;

/// The fields of a message, names in lower case, each once.
pub(super) type Fields = BTreeMap<String, String>;

/// An answer of the origin.
#[derive(Clone, Debug)]
pub(super) struct Gave {
    /// The answer's number, also in its field `x-id`.
    pub(super) id: usize,
    /// When the answer was given, in seconds.
    pub(super) at: i64,
    /// The request's method.
    pub(super) method: String,
    /// The request's fields.
    pub(super) request: Fields,
    /// The status; 200 for a 304 too, as in the confirmed response.
    pub(super) status: u16,
    /// True for a 304, which confirms the stored response.
    pub(super) confirms: bool,
    /// The answer's fields.
    pub(super) fields: Fields,
    /// The whole representation, even where only a part or the head was sent.
    pub(super) body: String,
    /// True where the body was cut off.
    pub(super) is_cut: bool,
    /// True where the body was made for one user.
    pub(super) is_personal: bool,
    /// True once something has invalidated the answer (RFC 9111 §4.4).
    pub(super) is_invalid: bool,
    /// True once the answer was purged.
    pub(super) is_gone: bool,
}

/// A client's request, and the origin's failure in the meantime.
pub(super) struct Asks<'a> {
    /// The time, in seconds.
    pub(super) now: i64,
    /// The request's fields.
    pub(super) fields: &'a Fields,
    /// The failure of the origin, where there is one.
    pub(super) failure: Option<Failure>,
}

/// How the origin failed in an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The origin hung up before its head was whole.
    Unreachable,
    /// The origin answered with a 5xx.
    Status,
}

/// The default limits: staleness while the origin is unreachable, and a heuristic lifetime.
const STALE_IF_ERROR: i64 = 3_600;
const HEURISTIC_MAX: i64 = 86_400;

/// Parses Cache-Control into a map of directives. The model's origins and clients send well-formed
/// fields.
pub(super) fn directives(fields: &Fields) -> BTreeMap<String, Option<String>> {
    let list = fields.get("cache-control").map_or("", String::as_str);
    let members = list.split(',').map(str::trim).filter(|member| !member.is_empty());
    members
        .map(|member| match member.split_once('=') {
            Some((name, value)) => (name.to_lowercase(), Some(value.to_owned())),
            None => (member.to_lowercase(), None),
        })
        .collect()
}

/// Returns the seconds of a directive.
fn seconds(directives: &BTreeMap<String, Option<String>>, name: &str) -> Option<i64> {
    directives.get(name)?.as_ref()?.parse().ok()
}

fn date(fields: &Fields, name: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(fields.get(name)?).ok()?;
    Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs() as i64)
}

impl Gave {
    fn says(&self, directive: &str) -> bool {
        directives(&self.fields).contains_key(directive)
    }

    /// Returns the age at `now` (§4.2.3). Exchanges take no time, since the clock stands still.
    pub(super) fn age(&self, now: i64) -> i64 {
        let date = date(&self.fields, "date").unwrap_or(self.at);
        let age_value = self.fields.get("age").and_then(|age| age.parse().ok()).unwrap_or(0);
        (self.at - date).max(0).max(age_value) + (now - self.at)
    }

    /// Returns the lifetime, and whether the response states it (§4.2.1, §4.2.2).
    pub(super) fn lifetime(&self) -> (i64, bool) {
        let directives = directives(&self.fields);
        if let Some(named) = seconds(&directives, "s-maxage").or(seconds(&directives, "max-age")) {
            return (named, true);
        }
        let written = date(&self.fields, "date").unwrap_or(self.at);
        if self.fields.contains_key("expires") {
            // A malformed date has expired.
            return (date(&self.fields, "expires").map_or(0, |expires| (expires - written).max(0)), true);
        }
        let is_heuristic =
            [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&self.status) || self.says("public");
        let modified = date(&self.fields, "last-modified").filter(|_| is_heuristic);
        (modified.map_or(0, |modified| ((written - modified).max(0) / 10).min(HEURISTIC_MAX)), false)
    }

    /// Says why a shared cache must not store the answer (§3), or not for other users.
    pub(super) fn not_storable(&self) -> Option<&'static str> {
        let explicit = self.lifetime().1;
        let shares = ["public", "s-maxage", "must-revalidate"].iter().any(|directive| self.says(directive));
        let is_status_known = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501].contains(&self.status);
        match () {
            () if !matches!(&self.method[..], "GET" | "HEAD") => Some("the answer to an unsafe method"),
            () if self.is_cut => Some("cut off"),
            () if self.says("no-store") => Some("§5.2.2.5 no-store"),
            () if self.says("private") => Some("§5.2.2.7 private"),
            () if directives(&self.request).contains_key("no-store") => Some("§5.2.1.5 no-store of the request"),
            () if self.request.contains_key("authorization") && !shares => Some("§3.5 Authorization"),
            () if !explicit && !is_status_known && !self.says("public") => Some("§3 neither lifetime nor status"),
            () if self.fields.contains_key("set-cookie") && !explicit => Some("§7.3 a cookie, no lifetime"),
            () if self.status == 206 => Some("§3.3 a part"),
            () => None,
        }
    }

    /// Says why a client may not get the answer, however fresh it is.
    pub(super) fn not_for(&self, asks: &Asks<'_>) -> Option<&'static str> {
        if self.is_gone {
            return Some("it was purged");
        }
        if let Some(why) = self.not_storable() {
            return Some(why);
        }
        for name in self.fields.get("vary").map_or("", String::as_str).split(',').map(str::trim) {
            match name {
                "" => {}
                "*" => return Some("§4.1 Vary: *"),
                name if self.request.get(name) != asks.fields.get(name) => return Some("§4.1 another variant"),
                _ => {}
            }
        }
        let credentials = |fields: &Fields| (fields.get("cookie").cloned(), fields.get("authorization").cloned());
        let (theirs, own) = (credentials(&self.request), credentials(asks.fields));
        let permits = ["public", "s-maxage", "must-revalidate"].iter().any(|directive| self.says(directive))
            || self.fields.get("vary").is_some_and(|vary| vary.contains("cookie"));
        if self.is_personal && theirs != (None, None) && theirs != own && !permits {
            return Some("another user's page");
        }
        None
    }

    /// Says why the answer must not be reused for `asks` without asking the origin (§4).
    pub(super) fn forbidden(&self, asks: &Asks<'_>) -> Option<String> {
        if let Some(why) = self.not_for(asks) {
            return Some(why.into());
        }
        if self.is_invalid {
            return Some("§4.4 invalidated".into());
        }
        if self.says("no-cache") {
            return Some("§5.2.2.4 no-cache".into());
        }
        let (age, lifetime) = (self.age(asks.now), self.lifetime().0);
        let asked = directives(asks.fields);
        let mut why = None;
        let wants_whole = asked.contains_key("no-cache")
            || (!asks.fields.contains_key("cache-control") && asks.fields.get("pragma").is_some());
        let staleness = age - lifetime;
        if wants_whole {
            why = Some("§5.2.1.4 no-cache of the request".to_owned());
        } else if seconds(&asked, "max-age").is_some_and(|most| age > most) {
            why = Some("§5.2.1.1 max-age of the request".to_owned());
        } else if staleness < 0 && seconds(&asked, "min-fresh").is_some_and(|least| lifetime - age < least) {
            why = Some("§5.2.1.3 min-fresh of the request".to_owned());
        } else if staleness >= 0 && !self.may_be_stale(&asked, staleness) {
            why = Some(format!("§4.2.4 stale by {staleness} s (age {age}, lifetime {lifetime})"));
        }
        // While the origin fails, a stale response is served even to a client that asked for a
        // fresher one.
        if why.is_some() && asks.failure.is_some_and(|failure| self.stands_in(failure, staleness)) {
            why = None;
        }
        why
    }

    /// Tells whether the response forbids every stale use (§4.2.4, §5.2.2.10).
    fn is_strict(&self) -> bool {
        let opens = self.says("stale-while-revalidate") || self.says("stale-if-error");
        self.says("must-revalidate") || self.says("proxy-revalidate") || (self.says("s-maxage") && !opens)
    }

    fn may_be_stale(&self, asked: &BTreeMap<String, Option<String>>, staleness: i64) -> bool {
        let accepts = match asked.get("max-stale") {
            Some(Some(most)) => most.parse().is_ok_and(|most: i64| staleness <= most),
            Some(None) => true,
            None => false,
        };
        let window = seconds(&directives(&self.fields), "stale-while-revalidate");
        !self.is_strict() && ((accepts && !self.says("s-maxage")) || window.is_some_and(|window| staleness <= window))
    }

    fn stands_in(&self, failure: Failure, staleness: i64) -> bool {
        let window = seconds(&directives(&self.fields), "stale-if-error");
        let default = match failure {
            Failure::Unreachable if !self.says("s-maxage") => STALE_IF_ERROR,
            _ => 0,
        };
        let is_fresh = staleness < 0 && failure == Failure::Unreachable;
        is_fresh || (!self.is_strict() && staleness <= window.unwrap_or(default))
    }

    /// Tells whether a plain GET must be answered with this: plainly fresh, shareable, and the last
    /// answer.
    pub(super) fn is_plainly_fresh(&self, now: i64) -> bool {
        let plain = ["cache-control", "date", "etag", "x-id", "last-modified"];
        let directives = directives(&self.fields);
        let is_plain = self.fields.keys().all(|name| plain.contains(&&name[..]))
            && directives.keys().all(|name| name == "max-age" || name == "public");
        self.method == "GET"
            && self.status == 200
            && !self.confirms
            && !self.is_invalid
            && is_plain
            && self.request.is_empty()
            && self.not_storable().is_none()
            && seconds(&directives, "max-age").is_some_and(|lifetime| self.age(now) + 1 < lifetime)
    }
}
