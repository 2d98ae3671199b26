//! The origin of the model: its plans, the answers it has given, and its failures.

use std::sync::{Arc, Mutex, MutexGuard};

use super::rules::{Asks, Failure, Fields, Gave};
use crate::harness::origin::Request;
use crate::harness::{Cut, Origin, Reply, Response};

/// A source of random choices (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `sides`.
    pub(super) fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

/// How the origin fails an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    HangUp,
    Reset,
    Status,
    Cut,
    CutChunked,
}

impl Fault {
    pub(super) fn roll(dice: &mut Dice) -> Self {
        match dice.below(40) {
            0 | 1 => Self::HangUp,
            2 => Self::Reset,
            3 | 4 => Self::Status,
            5 => Self::Cut,
            6 => Self::CutChunked,
            _ => Self::None,
        }
    }
}

/// The plan of a URL.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) version: usize,
    status: u16,
    cache_control: Option<String>,
    /// Seconds from Date to Expires; `Some(None)`: a malformed date.
    expires: Option<Option<i64>>,
    has_date: bool,
    /// The error of the origin's clock, in seconds.
    skew: i64,
    age: Option<i64>,
    /// The ETag, possibly a weak one.
    etag: Option<&'static str>,
    has_last_modified: bool,
    vary: Option<&'static str>,
    sets_cookie: bool,
    is_personal: bool,
    is_chunked: bool,
    refuses_unsafe: bool,
}

impl Plan {
    pub(super) fn roll(dice: &mut Dice, version: usize, may_be_personal: bool) -> Self {
        let one_in = |dice: &mut Dice, n: usize| dice.below(n) == 0;
        let is_simple = dice.below(5) < 2;
        let unusual = |dice: &mut Dice, n: usize| !is_simple && dice.below(n) == 0;
        let seconds = [0, 1, 5, 10, 60, 60, 300][dice.below(7)];
        let mut directives = Vec::new();
        if is_simple || dice.below(4) > 0 {
            directives.push(format!("max-age={}", if is_simple { 60 } else { seconds }));
        }
        if unusual(dice, 6) {
            directives.push(format!("s-maxage={}", [0, 5, 60][dice.below(3)]));
        }
        for (directive, n) in [
            ("public", 6),
            ("private", 10),
            ("no-cache", 10),
            ("no-store", 12),
            ("must-revalidate", 8),
            ("proxy-revalidate", 12),
            ("stale-while-revalidate=5", 6),
            ("stale-if-error=20", 6),
        ] {
            if unusual(dice, n) {
                directives.push(directive.into());
            }
        }
        let has_directives = !directives.is_empty();
        Self {
            version,
            status: if unusual(dice, 6) { [404, 410, 301, 203, 302, 500, 403][dice.below(7)] } else { 200 },
            cache_control: has_directives.then(|| directives.join(", ")),
            expires: unusual(dice, 5).then(|| (!one_in(dice, 4)).then(|| [-10, 0, 30][dice.below(3)])),
            has_date: !unusual(dice, 8),
            skew: if unusual(dice, 6) { [-20, -3, 20][dice.below(3)] } else { 0 },
            age: unusual(dice, 6).then(|| [0, 4, 50][dice.below(3)]),
            etag: (dice.below(3) > 0).then(|| if one_in(dice, 4) { "W/" } else { "" }),
            has_last_modified: dice.below(3) == 0,
            vary: unusual(dice, 4).then(|| ["x-lang", "x-lang", "cookie", "x-lang, cookie", "*"][dice.below(5)]),
            sets_cookie: unusual(dice, 10),
            is_personal: may_be_personal && dice.below(2) == 0,
            is_chunked: one_in(dice, 3),
            refuses_unsafe: one_in(dice, 3),
        }
    }
}

/// Returns a date `seconds` after an instant that lies before all tests.
pub(super) fn some_date(seconds: usize) -> String {
    http_date(1_767_225_600 - 2_000 + seconds as i64)
}

fn http_date(seconds: i64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds as u64))
}

/// The state that the script and the test share.
#[derive(Default)]
pub(super) struct State {
    pub(super) now: i64,
    pub(super) plans: Vec<Plan>,
    pub(super) gave: Vec<Gave>,
    /// The URL of each answer.
    pub(super) url_of: Vec<usize>,
    fault: Option<Fault>,
    /// The origin's failure in the current exchange, and whether it cut off a body.
    pub(super) failure: Option<Failure>,
    pub(super) has_cut: bool,
    /// The Cache-Control of the current client's request.
    asked: Option<String>,
}

/// The origin with its state.
pub(super) struct World {
    state: Arc<Mutex<State>>,
    pub(super) origin: Origin,
}

impl World {
    pub(super) fn start(plans: Vec<Plan>, now: i64) -> Self {
        let state = Arc::new(Mutex::new(State { plans, now, ..State::default() }));
        let shared = Arc::clone(&state);
        let origin = Origin::unrecorded(move |request| shared.lock().unwrap().answer(request));
        Self { state, origin }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// Begins an exchange of a client with these fields.
    pub(super) fn begin(&mut self, fault: Fault, fields: &Fields) {
        (self.fault, self.failure, self.has_cut) = (Some(fault), None, false);
        self.asked = fields.get("cache-control").cloned();
    }

    /// Applies `change` to each answer for a URL.
    pub(super) fn each(&mut self, url: usize, mut change: impl FnMut(&mut Gave)) {
        for gave in &mut self.gave {
            if self.url_of[gave.id] == url {
                change(gave);
            }
        }
    }

    /// Returns an ETag that was given for a version of a URL.
    pub(super) fn known_etag(&self, url: usize, version: usize) -> Option<String> {
        let version = format!("/{url} v{version} ");
        let known = self.gave.iter().rev().find(|gave| self.url_of[gave.id] == url && gave.body.starts_with(&version));
        known.and_then(|gave| gave.fields.get("etag").cloned())
    }

    /// Finds the answer that a client received: by its number, else by the validator of a 304.
    pub(super) fn find(&self, url: usize, answer: &Response) -> Option<&Gave> {
        if let Some(id) = answer.header("x-id") {
            return self.gave.get(id.parse::<usize>().ok()?);
        }
        if !matches!(answer.status(), 304 | 416) {
            return None;
        }
        let mut own = self.gave.iter().rev().filter(|gave| self.url_of[gave.id] == url);
        let etag = answer.header("etag");
        own.find(|gave| etag.is_none() || gave.fields.get("etag") == etag.as_ref())
    }

    /// Tells whether some answer that could be stored lawfully is one that the 304 can have
    /// confirmed for a client.
    pub(super) fn was_confirmable(&self, url: usize, confirming: &Gave, asks: &Asks<'_>) -> bool {
        let earlier = &self.gave[..confirming.id];
        earlier
            .iter()
            .any(|gave| self.url_of[gave.id] == url && gave.body == confirming.body && gave.not_for(asks).is_none())
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let method = request.method();
        let url: usize = request.target().trim_start_matches('/').parse().unwrap();
        let fault = self.fault.unwrap_or(Fault::None);
        match fault {
            Fault::HangUp | Fault::Reset => {
                self.failure = Some(Failure::Unreachable);
                return Reply::hang_up(if fault == Fault::Reset { Cut::Rst } else { Cut::Fin });
            }
            _ => {}
        }
        let plan = self.plans[url].clone();
        let mut gave = self.plan(&plan, request, url);
        if fault == Fault::Status {
            gave.status = 503;
            gave.fields.retain(|name, _| name == "x-id" || name == "date");
        }
        let is_safe = matches!(&method[..], "GET" | "HEAD");
        if !is_safe {
            gave.status = if plan.refuses_unsafe { 409 } else { 200 };
            gave.fields.retain(|name, _| name == "x-id" || name == "date");
        }
        if gave.status >= 500 {
            self.failure = Some(Failure::Status);
        }
        let if_none_match = request.header("if-none-match");
        let is_known = match (&if_none_match, request.header("if-modified-since")) {
            (Some(list), _) => gave.fields.get("etag").is_some_and(|etag| {
                let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
                list.split(',').any(|known| opaque(known) == opaque(etag))
            }),
            (None, Some(since)) => gave.fields.get("last-modified") == Some(&since),
            (None, None) => false,
        };
        gave.confirms = is_safe && gave.status == 200 && is_known;
        let cuts = matches!(fault, Fault::Cut | Fault::CutChunked) && method != "HEAD" && !gave.confirms;
        gave.is_cut = cuts;
        self.has_cut |= cuts;
        let reply = reply(&gave, plan.is_chunked || fault == Fault::CutChunked);
        self.url_of.push(url);
        self.gave.push(gave);
        reply
    }

    /// Lays out a plan's answer to a request.
    fn plan(&self, plan: &Plan, request: &Request, url: usize) -> Gave {
        let mut asked = Fields::new();
        for name in ["cookie", "authorization", "x-lang"] {
            asked.extend(request.header(name).map(|value| (name.to_owned(), value)));
        }
        // The client's own Cache-Control decides, even where the cache forwards only a part of it.
        if let Some(list) = &self.asked {
            asked.insert("cache-control".into(), list.clone());
        }
        let mut body = format!("/{url} v{} ", plan.version);
        for name in plan.vary.unwrap_or("").split(", ").filter(|name| !name.is_empty()) {
            body.push_str(&format!("{name}={:?} ", asked.get(name)));
        }
        if plan.is_personal {
            body.push_str(&format!("for {:?} {:?} ", asked.get("cookie"), asked.get("authorization")));
        }
        body.push_str(&"and so on, ".repeat(plan.version % 7));
        let (id, written) = (self.gave.len(), self.now + plan.skew);
        let mut fields = Fields::new();
        let mut set = |name: &str, value: String| drop(fields.insert(name.into(), value));
        set("x-id", id.to_string());
        if plan.has_date {
            set("date", http_date(written));
        }
        if let Some(list) = &plan.cache_control {
            set("cache-control", list.clone());
        }
        if let Some(expires) = plan.expires {
            set("expires", expires.map_or("0".into(), |seconds| http_date(written + seconds)));
        }
        if let Some(age) = plan.age {
            set("age", age.to_string());
        }
        // The validator identifies the body.
        let sum = body.bytes().fold(17_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
        if let Some(weak) = plan.etag {
            set("etag", format!("{weak}\"{}-{sum:x}\"", plan.version));
        }
        if plan.has_last_modified {
            set("last-modified", some_date(sum as usize % 997));
        }
        if let Some(vary) = plan.vary {
            set("vary", vary.into());
        }
        if plan.sets_cookie {
            set("set-cookie", "seen=1".into());
        }
        Gave {
            id,
            at: self.now,
            method: request.method(),
            request: asked,
            status: plan.status,
            confirms: false,
            fields,
            body,
            is_cut: false,
            is_personal: plan.is_personal,
            is_invalid: false,
            is_gone: false,
        }
    }
}

/// Writes an answer.
fn reply(gave: &Gave, is_chunked: bool) -> Reply {
    let status = if gave.confirms { 304 } else { gave.status };
    let mut reply = Reply::status(&format!("{status} So"));
    for (name, value) in &gave.fields {
        reply = reply.header(name, value);
    }
    if gave.confirms {
        return reply;
    }
    if is_chunked {
        reply = reply.chunked();
    }
    if !gave.is_cut {
        return reply.body(&gave.body);
    }
    let half = gave.body.len() / 2;
    if !is_chunked {
        reply = reply.length(gave.body.len());
    }
    reply.body(&gave.body[..half]).cut(Cut::Fin)
}

impl Gave {
    /// Describes the answer in a line.
    pub(super) fn summary(&self) -> String {
        let status = if self.confirms { 304 } else { self.status };
        format!("{}: {status} to {} {:?} {:?}", self.id, self.method, self.request, self.fields)
    }
}
