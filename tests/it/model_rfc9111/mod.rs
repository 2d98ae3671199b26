//! Random origins, clients, faults and clock steps against a simple model of RFC 9111 (`rules`).
//! For every response the model says whether reuse was allowed; in the plain cases, that reuse was
//! required.
//!
//! All choices follow from a seed, which a failure prints together with the history of its URL. The
//! default is a few seeds with a few hundred steps each. `LARDER_MODEL_SEEDS=1000` tries that many
//! seeds, `LARDER_MODEL_SEED=7` just that one, and `LARDER_MODEL_STEPS` sets the number of steps.

mod rules;
mod world;

use std::fmt::Write;

use larder::route::SetCookie;
use rules::{Asks, Failure, Fields, Gave};
use world::{Dice, Plan, World};

use crate::harness::cache::START;
use crate::harness::{Cache, End, Response};

/// The number of URLs. Those below [`PERSONAL_FROM`] never have personal bodies.
const URLS: usize = 5;
const PERSONAL_FROM: usize = 3;

/// How long the cache remembers an uncacheable URL. In that time it need not store what could be
/// stored.
const HIT_FOR_MISS: i64 = 10;

/// A client's request.
#[derive(Clone, Debug)]
struct Ask {
    url: usize,
    method: &'static str,
    fields: Fields,
}

impl Ask {
    fn is_plain(&self) -> bool {
        self.method == "GET" && self.fields.is_empty()
    }
}

/// A run of one seed.
struct Run {
    dice: Dice,
    world: World,
    cache: Cache,
    now: i64,
    story: Vec<String>,
    /// When each URL last had an answer that cannot be stored.
    unstorable_at: [i64; URLS],
    /// The last answer to a plain GET of each URL.
    plainly_given: [Option<usize>; URLS],
    reused: usize,
    demanded: usize,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let plans = (0..URLS).map(|url| Plan::roll(&mut dice, 1, url >= PERSONAL_FROM)).collect();
        let world = World::start(plans, START.as_secs());
        let set_cookie = if seed.is_multiple_of(2) { SetCookie::Obey } else { SetCookie::default() };
        let cache = Cache::with(&world.origin, |setup| setup.rule.set_cookie = set_cookie);
        let (story, unstorable_at) = (Vec::new(), [i64::MIN / 2; URLS]);
        let (now, plainly_given) = (START.as_secs(), [None; URLS]);
        Self { dice, world, cache, now, story, unstorable_at, plainly_given, reused: 0, demanded: 0 }
    }

    /// Does something at random. An error describes the broken rule.
    fn step(&mut self) -> Result<(), String> {
        match self.dice.below(20) {
            0..=2 => {
                let seconds = [1, 2, 5, 9, 10, 11, 30, 61, 600, 4_000][self.dice.below(10)];
                self.cache.step(seconds);
                self.now += seconds as i64;
                self.world.state().now = self.now;
                self.story.push(format!("{} s pass", seconds));
            }
            3 => {
                let url = self.dice.below(URLS);
                let version = self.world.state().plans[url].version + 1;
                let plan = Plan::roll(&mut self.dice, version, url >= PERSONAL_FROM);
                self.story.push(format!("/{url} becomes {plan:?}"));
                self.world.state().plans[url] = plan;
            }
            4 if self.dice.below(4) == 0 => {
                let url = self.dice.below(URLS);
                let purged = self.cache.purge(&format!("{{\"url\": \"http://example.org/{url}\"}}"));
                assert_eq!(purged.status(), 200, "{}", purged.text());
                self.story.push(format!("/{url} is purged"));
                self.world.state().each(url, |gave| gave.is_gone = true);
            }
            _ => return self.exchange(),
        }
        Ok(())
    }

    fn ask(&mut self) -> Ask {
        let url = self.dice.below(URLS);
        let method = match self.dice.below(40) {
            0..=2 => "HEAD",
            3 => "POST",
            4 => "PUT",
            5 => "DELETE",
            _ => "GET",
        };
        let mut fields = Fields::new();
        if method == "GET" && self.dice.below(2) == 0 {
            return Ask { url, method, fields };
        }
        let mut set = |name: &str, value: String| drop(fields.insert(name.into(), value));
        let dice = &mut self.dice;
        if dice.below(5) == 0 {
            set("cookie", format!("user={}", ["a", "b"][dice.below(2)]));
        }
        if dice.below(15) == 0 {
            set("authorization", format!("Bearer {}", ["a", "b"][dice.below(2)]));
        }
        if dice.below(4) == 0 {
            set("x-lang", ["en", "de"][dice.below(2)].into());
        }
        if dice.below(4) == 0 {
            let seconds = [0, 1, 5, 20, 100][dice.below(5)];
            let directive = match dice.below(9) {
                0 => "no-cache".into(),
                1 => "no-store".into(),
                2 => "only-if-cached".into(),
                3 | 4 => format!("max-age={seconds}"),
                5 => "max-stale".into(),
                6 => format!("max-stale={seconds}"),
                7 => format!("min-fresh={seconds}"),
                _ => format!("max-age={seconds}, max-stale={seconds}"),
            };
            set("cache-control", directive);
        } else if dice.below(30) == 0 {
            set("pragma", "no-cache".into());
        }
        let versions = self.world.state().plans[url].version;
        match dice.below(14) {
            0 => set("range", ["bytes=0-9", "bytes=10-", "bytes=-5", "bytes=9999-"][dice.below(4)].into()),
            // A validator that some client may have: of this version or of an earlier one.
            1 => {
                let version = versions - dice.below(2).min(versions - 1);
                let known = self.world.state().known_etag(url, version);
                set("if-none-match", known.unwrap_or_else(|| "\"unheard-of\"".into()));
            }
            2 => set("if-modified-since", world::some_date(dice.below(1_200))),
            _ => {}
        }
        Ask { url, method, fields }
    }

    fn exchange(&mut self) -> Result<(), String> {
        let ask = self.ask();
        let (first, demanded) = {
            let mut state = self.world.state();
            let fault = world::Fault::roll(&mut self.dice);
            state.begin(fault, &ask.fields);
            let last = state.gave.iter().rev().find(|gave| state.url_of[gave.id] == ask.url);
            let is_demanded = |gave: &&Gave| {
                ask.is_plain()
                    && ask.url < PERSONAL_FROM
                    && self.plainly_given[ask.url] == Some(gave.id)
                    && gave.at - self.unstorable_at[ask.url] > HIT_FOR_MISS
                    && !gave.is_gone
                    && gave.is_plainly_fresh(self.now)
            };
            (state.gave.len(), last.filter(is_demanded).map(|gave| gave.id))
        };
        let fields: Vec<(&str, &str)> = ask.fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let content: &[u8] = if matches!(ask.method, "POST" | "PUT") { b"content" } else { b"" };
        let answer = self.cache.request(ask.method, &format!("/{}", ask.url), &fields, content);
        let failure = self.world.state().failure;
        self.story.push(format!(
            "{} /{} {:?} -> {} {:?} id={:?} age={:?} `{}`; origin: {failure:?}, {:?}",
            ask.method,
            ask.url,
            ask.fields,
            answer.status(),
            answer.end,
            answer.header("x-id"),
            answer.header("age"),
            answer.cache_status(),
            self.world.state().gave[first..].iter().map(Gave::summary).collect::<Vec<_>>(),
        ));
        self.judge(&ask, &answer, first, failure)?;
        if let Some(id) = demanded {
            self.demanded += 1;
            if answer.header("x-id").and_then(|id| id.parse().ok()).is_none_or(|id: usize| id >= first) {
                return Err(format!("[RFC 9111 §4] {id} is plainly fresh but was not reused"));
            }
        }
        self.learn(&ask, &answer, first);
        Ok(())
    }

    /// Records what an exchange has changed.
    fn learn(&mut self, ask: &Ask, answer: &Response, first: usize) {
        let is_unsafe = !matches!(ask.method, "GET" | "HEAD");
        let mut state = self.world.state();
        if is_unsafe && (200..400).contains(&answer.status()) {
            state.each(ask.url, |gave| gave.is_invalid = true);
        }
        // A body that arrived during a user's probation answers its own request only, and is not
        // kept.
        if ask.is_plain() && state.gave.len() == first + 1 && answer.has("stored") {
            self.plainly_given[ask.url] = Some(first);
        }
        let is_unstorable = |gave: &Gave| gave.not_storable().is_some() || gave.confirms;
        if state.failure.is_some() || state.gave[first..].iter().any(is_unstorable) {
            self.unstorable_at[ask.url] = self.now;
        }
    }

    /// Returns an error where an answer breaks a rule.
    fn judge(&mut self, ask: &Ask, answer: &Response, first: usize, failure: Option<Failure>) -> Result<(), String> {
        let state = self.world.state();
        let was_cut = state.has_cut;
        let only_if_cached = ask.fields.get("cache-control").is_some_and(|list| list == "only-if-cached");
        if answer.end != End::Clean {
            return if was_cut { Ok(()) } else { Err("cut off, and the origin was not".into()) };
        }
        let status = answer.status();
        let Some(gave) = state.find(ask.url, answer) else {
            let is_ours = matches!(status, 502..=504) && (failure.is_some() || was_cut || only_if_cached);
            return if is_ours { Ok(()) } else { Err(format!("{status}: the origin never gave this answer")) };
        };
        if state.url_of[gave.id] != ask.url {
            return Err(format!("{} belongs to another URL", gave.id));
        }
        check_body(ask, answer, gave)?;
        if !matches!(ask.method, "GET" | "HEAD") {
            return if gave.id >= first {
                Ok(())
            } else {
                Err("[RFC 9111 §4] an unsafe method, from the store".into())
            };
        }
        let asks = Asks { now: self.now, fields: &ask.fields, failure };
        if gave.id >= first {
            if gave.confirms && status != 304 && !state.was_confirmable(ask.url, gave, &asks) {
                return Err(format!("{} confirms a response that must not be stored", gave.id));
            }
            return Ok(());
        }
        self.reused += 1;
        // A 304 has a validator but no number, a 416 not even that. Any answer with the validator
        // may be meant.
        if matches!(status, 304 | 416) && answer.header("x-id").is_none() {
            let etag = answer.header("etag");
            let alike = state.gave[..first].iter().filter(|other| {
                state.url_of[other.id] == ask.url && (etag.is_none() || other.fields.get("etag") == etag.as_ref())
            });
            let mut verdicts: Vec<_> = alike.map(|other| other.forbidden(&asks)).collect();
            verdicts.sort();
            return verdicts
                .into_iter()
                .next()
                .flatten()
                .map_or(Ok(()), |why| Err(format!("a 304 from the store: {why}")));
        }
        if let Some(why) = gave.forbidden(&asks) {
            return Err(format!("{} must not be reused: {why}", gave.id));
        }
        let (age_field, age) = (answer.header("age"), gave.age(self.now));
        if age_field != Some(age.to_string()) {
            return Err(format!("[RFC 9111 §5.1] Age of {} is {age}, the response has {age_field:?}", gave.id));
        }
        Ok(())
    }
}

/// Checks that a body is the whole body of an answer, or the part that Content-Range names.
fn check_body(ask: &Ask, answer: &Response, gave: &Gave) -> Result<(), String> {
    let expected = match answer.status() {
        _ if ask.method == "HEAD" => "",
        204 | 304 | 416 => "",
        206 => {
            let range = answer.header("content-range").ok_or("a part without Content-Range")?;
            let part = range.strip_prefix("bytes ").and_then(|range| {
                let (ends, length) = range.split_once('/')?;
                let (first, last) = ends.split_once('-')?;
                let is_length = length.parse() == Ok(gave.body.len());
                gave.body.get(first.parse().ok()?..last.parse::<usize>().ok()? + 1).filter(|_| is_length)
            });
            part.ok_or_else(|| format!("`{range}` of {} bytes", gave.body.len()))?
        }
        status if status == gave.status => &gave.body,
        status => return Err(format!("{status} instead of {}", gave.status)),
    };
    let is_shown = answer.status() != 416;
    if is_shown && answer.text() != expected {
        return Err(format!("the body of {} is {expected:?}, the response has {:?}", gave.id, answer.text()));
    }
    Ok(())
}

/// Runs a seed. Returns how often a response was reused, and how often reuse was required.
fn run(seed: u64, steps: usize) -> (usize, usize) {
    let mut run = Run::new(seed);
    for step in 0..steps {
        if let Err(why) = run.step() {
            let mut story = String::new();
            for line in &run.story[run.story.len().saturating_sub(40)..] {
                let _ = writeln!(story, "  {line}");
            }
            panic!("LARDER_MODEL_SEED={seed}, step {step}: {why}\n{story}");
        }
    }
    (run.reused, run.demanded)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

#[test]
fn every_answer_is_one_that_rfc9111_permits() {
    let steps = number("LARDER_MODEL_STEPS").unwrap_or(500) as usize;
    let seeds = match number("LARDER_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LARDER_MODEL_SEEDS").unwrap_or(5),
    };
    let runs = seeds.end - seeds.start;
    let (mut reused, mut demanded) = (0, 0);
    for seed in seeds {
        let (more_reused, more_demanded) = run(seed, steps);
        reused += more_reused;
        demanded += more_demanded;
    }
    println!("{runs} runs of {steps} steps: {reused} answers from the store, {demanded} of them demanded");
    // A cache that stores nothing would break no rule.
    assert!(reused > steps * runs as usize / 20 && demanded > 0, "{reused} reused, {demanded} demanded");
}
