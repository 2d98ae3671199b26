//! Turns shadow mode's observations into advice: lines for the configuration, and what the app can
//! send instead.
//!
//! A parameter is only to be dropped if it never changed a body; a field or cookie is only named if
//! no other can have been the cause. The lines fit the routes in force: they name the `[[route]]`
//! that they belong under, and repeat what is already there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use http::Method;
use serde::{Deserialize, Serialize};

use crate::analytics::reasons::NonHitReason;
use crate::analytics::shadow::{Difference, Parameter, ShadowCounters, Suspect};
use crate::key::{CanonicalUrl, ExtraSource};
use crate::metrics;
use crate::outcome::Reason;
use crate::route::{QueryRule, Rule, Table, wildcard};

/// How many same bodies it takes to advise dropping a parameter.
const EVIDENCE: u64 = 3;

/// The number of paths of one route on which a parameter must have changed nothing before no page
/// is taken to read it.
const PATHS: usize = 3;

/// The most advice of one kind.
const ADVICE_MAX: usize = 20;

/// The URLs that are named as examples.
const EXAMPLES: usize = 3;

/// Reasons that a small change in the configuration or in the app's responses can fix.
const FIXABLE: [Reason; 8] = [
    Reason::NoLifetime,
    Reason::NoStore,
    Reason::Private,
    Reason::SetCookie,
    Reason::AlreadyStale,
    Reason::VaryStar,
    Reason::VaryMiss,
    Reason::Personalised,
];

/// The share of requests from which a reason is worth mentioning.
const WORTH: f64 = 0.05;

/// One piece of advice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The kind: `query`, `header`, `cookie`, `changes`, `storing`.
    pub about: String,
    /// The observation, and what it means.
    pub because: String,
    /// Lines for the configuration; empty if only the app can fix it.
    pub toml: String,
    /// The change in the app that helps instead; empty if there is none.
    pub app: String,
}

/// Returns the advice for a snapshot.
pub(super) fn advice(routes: &Table, snapshot: &metrics::ShadowSnapshot) -> Vec<Advice> {
    let mut advice = queries(routes, &snapshot.parameters);
    advice.extend(causes(routes, &snapshot.differs));
    advice.extend(changes(&snapshot.differs));
    advice.extend(storing(routes, &snapshot.total, &snapshot.not_hits));
    advice
}

/// The place for advice: the matching route, or a new one for a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AdvicePlace {
    /// The route's index in the file; `None` if no route matches.
    route: Option<u16>,
    /// The path of the new route, if no route matches; `None`: every path.
    path: Option<String>,
}

/// Advises which parameters to drop.
fn queries(routes: &Table, parameters: &[Parameter]) -> Vec<Advice> {
    let is_idle = |row: &&Parameter| row.different == 0 && row.same >= EVIDENCE && is_plain(&row.name);
    let changing: BTreeSet<&str> = parameters.iter().filter(|row| row.different > 0).map(|row| &*row.name).collect();
    // By route and name: the paths, with their counts.
    let mut idle: BTreeMap<(Option<u16>, &str), Vec<&Parameter>> = BTreeMap::new();
    for row in parameters.iter().filter(is_idle) {
        let Some(rule) = rule_of(routes, &row.host, &row.path) else { continue };
        idle.entry((rule.index, &*row.name)).or_default().push(row);
    }
    let mut places: BTreeMap<AdvicePlace, (BTreeSet<&str>, Vec<&Parameter>)> = BTreeMap::new();
    for ((route, name), rows) in idle {
        let is_wide = rows.len() >= PATHS && !changing.contains(name);
        for row in rows {
            let path = (route.is_none() && !is_wide).then(|| row.path.to_string());
            let (names, evidence) = places.entry(AdvicePlace { route, path }).or_default();
            names.insert(name);
            evidence.push(row);
        }
    }
    let advice = places.into_iter().filter_map(|(place, (names, rows))| {
        // For a route in force, one path may contradict another.
        let names: BTreeSet<&str> =
            names.into_iter().filter(|name| place.route.is_none() || !changing.contains(name)).collect();
        let first = rows.first()?;
        let rule = rule_of(routes, &first.host, &first.path)?;
        (!names.is_empty()).then(|| drop_parameters(routes, &place, rule, &names, &rows))
    });
    advice.take(ADVICE_MAX).collect()
}

fn drop_parameters(
    routes: &Table,
    place: &AdvicePlace,
    rule: &Rule,
    names: &BTreeSet<&str>,
    rows: &[&Parameter],
) -> Advice {
    let times: u64 = rows.iter().filter(|row| names.contains(&*row.name)).map(|row| row.same).sum();
    let paths: BTreeSet<String> = rows.iter().map(|row| format!("{}{}", row.host, row.path)).collect();
    let examples = paths.iter().take(EXAMPLES).cloned().collect::<Vec<_>>().join(", ");
    let list = names.iter().copied().collect::<Vec<_>>().join(", ");
    let line = match &rule.query {
        QueryRule::Keep(patterns) => {
            let patterns = patterns
                .iter()
                .map(|name| &**name)
                .filter(|patterns| !names.iter().any(|name| wildcard(patterns, name)));
            format!("key.query = {}", array(patterns))
        }
        QueryRule::Drop(dropped) => {
            let all = dropped.iter().map(|name| &**name).chain(names.iter().copied());
            format!("key.query = {{ drop = {} }}", array(all))
        }
        QueryRule::All | QueryRule::None => format!("key.query = {{ drop = {} }}", array(names.iter().copied())),
    };
    Advice {
        about: "query".to_owned(),
        because: format!(
            "{list}: another value, or none, never changed the body ({times} comparisons, at {examples}). Dropped from \
             the key, all values share one cached copy."
        ),
        toml: under_route(routes, place, &line),
        app: String::new(),
    }
}

/// Names the fields and cookies that change bodies which share one key.
fn causes(routes: &Table, differs: &[Difference]) -> Vec<Advice> {
    let mut named: BTreeMap<(&str, &str), Vec<&Difference>> = BTreeMap::new();
    for row in differs {
        let causes: Vec<&Suspect> = row.causes().collect();
        // If several changed each time, the cause is not known.
        if let [cause] = causes[..] {
            let kind = if cause.source == ExtraSource::Cookie { "cookie" } else { "header" };
            named.entry((kind, &cause.name)).or_default().push(row);
        }
    }
    let mut advice: Vec<_> = named.into_iter().map(|((kind, name), rows)| cause(routes, kind, name, &rows)).collect();
    advice.truncate(ADVICE_MAX);
    advice
}

fn cause(routes: &Table, kind: &str, name: &str, rows: &[&Difference]) -> Advice {
    let times: u64 = rows.iter().map(|row| row.times).sum();
    let (noun, field) = if kind == "cookie" { ("cookie", "Cookie".to_owned()) } else { ("header", spelled(name)) };
    let places: BTreeSet<AdvicePlace> = rows.iter().filter_map(|row| place_of(routes, &row.url)).collect();
    let key = if kind == "cookie" { "cookies" } else { "headers" };
    let lines = |place: &AdvicePlace| {
        let existing = place.route.and_then(|route| routes.rule(route));
        let existing: Vec<&str> = match existing {
            Some(rule) if kind == "cookie" => rule.key_cookies.iter().map(|name| &**name).collect(),
            Some(rule) => rule.key_headers.iter().map(|name| name.as_str()).collect(),
            None => Vec::new(),
        };
        under_route(routes, place, &format!("key.{key} = {}", array(existing.into_iter().chain([name]))))
    };
    let is_personal = field == "Cookie" || field == "Authorization";
    let private = if is_personal { ", or `Cache-Control: private` if the page is personal" } else { "" };
    let mismatches = if times == 1 { "mismatch" } else { "mismatches" };
    Advice {
        about: kind.to_owned(),
        because: format!(
            "The body depends on the {noun} `{name}`, but the response does not say so ({times} {mismatches}, at {}).",
            examples(rows)
        ),
        toml: places.iter().take(EXAMPLES).map(lines).collect::<Vec<_>>().join("\n"),
        app: format!("Send `Vary: {field}`{private}."),
    }
}

/// Names pages that change from one request to the next.
fn changes(differs: &[Difference]) -> Option<Advice> {
    let rows: Vec<&Difference> = differs.iter().filter(|row| row.by_itself > 0 && row.same_tag < row.times).collect();
    let times: u64 = rows.iter().map(|row| row.by_itself).sum();
    (!rows.is_empty()).then(|| Advice {
        about: "changes".to_owned(),
        because: format!(
            "{} changed while fresh, {times} times without any difference between the requests: {}. A cache serves one \
             version for as long as the app says that it is fresh. If that is acceptable, change nothing.",
            if rows.len() == 1 { "One page".to_owned() } else { format!("{} pages", rows.len()) },
            examples(&rows)
        ),
        toml: String::new(),
        app: "Send a shorter max-age, or `no-cache` with an ETag, for pages that must never be served outdated."
            .to_owned(),
    })
}

/// Names the reasons why much would not be stored, and where.
fn storing(routes: &Table, total: &ShadowCounters, reasons: &[NonHitReason]) -> Vec<Advice> {
    let is_worth =
        |row: &&NonHitReason| FIXABLE.contains(&row.reason) && row.requests as f64 >= WORTH * total.requests as f64;
    let advice = |row: &NonHitReason| {
        let share = row.requests as f64 * 100.0 / total.requests as f64;
        let line = match row.reason {
            Reason::NoLifetime => Some("ttl = \"1m\""),
            // No line for cookies: a page that sets one may be its visitor's own, and `strip` would give it to everybody.
            _ => None,
        };
        let places: BTreeSet<AdvicePlace> = row.urls.iter().filter_map(|url| place_of(routes, url)).collect();
        let toml =
            line.map(|line| places.iter().map(|place| under_route(routes, place, line)).collect::<Vec<_>>().join("\n"));
        let urls: Vec<&str> = row.urls.iter().map(|url| &**url).collect();
        Advice {
            about: "storing".to_owned(),
            because: format!(
                "{share:.0} % of requests are not served from cache: {} Most of their origin time goes to {}.",
                row.reason.why(),
                urls.join(", ")
            ),
            toml: toml.unwrap_or_default(),
            app: row.reason.remedy().to_owned(),
        }
    };
    reasons.iter().filter(is_worth).map(advice).collect()
}

fn place_of(routes: &Table, url: &str) -> Option<AdvicePlace> {
    let url = CanonicalUrl::parse_absolute(url).ok()?;
    let route = routes.choose(&Method::GET, &url).index;
    Some(AdvicePlace { route, path: route.is_none().then(|| url.path().to_owned()) })
}

fn rule_of<'a>(routes: &'a Table, host: &str, path: &str) -> Option<&'a Rule> {
    let url = CanonicalUrl::parse_absolute(&format!("http://{host}{path}")).ok()?;
    Some(routes.choose(&Method::GET, &url))
}

/// Puts a line under its route.
fn under_route(routes: &Table, place: &AdvicePlace, line: &str) -> String {
    let mut text = String::new();
    match (place.route, &place.path) {
        (Some(route), _) => {
            let path = routes.matcher(route).and_then(|matcher| matcher.path.as_ref());
            let path = path.map(|path| format!(" (path = {})", quoted(path.as_str()))).unwrap_or_default();
            let _ = write!(text, "# under [[route]] number {}{path}:\n{line}", u32::from(route) + 1);
        }
        (None, Some(path)) => {
            // One URL was observed, so exactly one path is named: a prefix would also cover the
            // paths below it.
            let _ = write!(text, "[[route]]\npath = {}\n{line}", quoted(&format!("={path}")));
        }
        (None, None) => {
            let _ = write!(text, "# as the last [[route]] of the file:\n[[route]]\n{line}");
        }
    }
    text
}

fn examples(rows: &[&Difference]) -> String {
    rows.iter().take(EXAMPLES).map(|row| &*row.url).collect::<Vec<_>>().join(", ")
}

/// Writes names as a TOML array.
fn array<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", names.map(quoted).collect::<Vec<_>>().join(", "))
}

/// Writes text as a TOML string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            _ if char.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(char));
            }
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// Tells whether a parameter's name stands for itself in the configuration: `*` would be a pattern,
/// `%` an encoding.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'%' | b'+'))
}

/// Writes a field's name in its usual spelling.
fn spelled(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_ascii_uppercase() + rest
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::route::{PathMatcher, PathPattern};

    fn parameter(path: &str, name: &str, same: u64, different: u64) -> Parameter {
        Parameter { host: "h.org".into(), path: path.into(), name: name.into(), same, different, is_restless: false }
    }

    fn table(query: QueryRule) -> Table {
        let matcher = PathMatcher { path: PathPattern::parse("/shop/").ok(), ..PathMatcher::default() };
        let rule = Rule { index: Some(0), query, key_headers: [http::header::ORIGIN].into(), ..Rule::default() };
        Table::new(vec![(matcher, Arc::new(rule))], Arc::default())
    }

    #[track_caller]
    fn check_query(query: QueryRule, parameters: &[Parameter], expected: &[&str]) {
        let advice = queries(&table(query), parameters);
        assert_eq!(advice.iter().map(|advice| &*advice.toml).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_parameter_is_dropped_where_it_changes_nothing() {
        let rows = [
            parameter("/a", "utm", 3, 0),
            parameter("/a", "ref", 9, 0),
            parameter("/a", "q", 9, 1),
            parameter("/a", "few", 2, 0),
            parameter("/a", "x%5B", 9, 0),
        ];
        check_query(QueryRule::All, &rows, &["[[route]]\npath = \"=/a\"\nkey.query = { drop = [\"ref\", \"utm\"] }"]);
        let wide = ["/a", "/b", "/c"].map(|path| parameter(path, "utm", 3, 0));
        check_query(
            QueryRule::All,
            &wide,
            &["# as the last [[route]] of the file:\n[[route]]\nkey.query = { drop = [\"utm\"] }"],
        );
        check_query(QueryRule::All, &[], &[]);
    }

    #[test]
    fn the_rules_of_a_route_in_force_stay() {
        let list = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        let rows = [parameter("/shop/a", "utm", 3, 0)];
        let under = "# under [[route]] number 1 (path = \"/shop/\"):\n";
        let dropped = format!("{under}key.query = {{ drop = [\"ref\", \"utm\"] }}");
        check_query(QueryRule::Drop(list(&["ref"])), &rows, &[&dropped]);
        let patterns = format!("{under}key.query = [\"q\"]");
        check_query(QueryRule::Keep(list(&["q", "utm"])), &rows, &[&patterns]);
        // Another path of the same route shows the opposite.
        check_query(QueryRule::All, &[rows[0].clone(), parameter("/shop/b", "utm", 0, 1)], &[]);
    }

    fn difference(url: &str, names: &[(ExtraSource, &str)]) -> Difference {
        let suspect =
            |&(source, name): &(ExtraSource, &str)| Suspect { source, name: name.into(), times: 2, harmless: 0 };
        let suspects = names.iter().map(suspect).collect();
        Difference { url: url.into(), times: 2, same: 0, same_tag: 0, by_itself: 0, suspects, response: Vec::new() }
    }

    #[test]
    fn a_cause_is_named_where_it_is_the_only_one() {
        use ExtraSource::{Cookie, Header};
        let routes = table(QueryRule::All);
        let rows = [
            difference("http://h.org/a", &[(Header, "accept-language")]),
            difference("http://h.org/shop/b", &[(Header, "accept-language")]),
            difference("http://h.org/c", &[(Cookie, "currency")]),
            difference("http://h.org/d", &[(Cookie, "a"), (Cookie, "b")]),
        ];
        let advice = causes(&routes, &rows);
        let toml: Vec<_> = advice.iter().map(|advice| (&*advice.about, &*advice.toml)).collect();
        let language = "[[route]]\npath = \"=/a\"\nkey.headers = [\"accept-language\"]\n\
                        # under [[route]] number 1 (path = \"/shop/\"):\nkey.headers = [\"origin\", \"accept-language\"]";
        let currency = "[[route]]\npath = \"=/c\"\nkey.cookies = [\"currency\"]";
        assert_eq!(toml, [("cookie", currency), ("header", language)]);
        assert_eq!(advice[1].app, "Send `Vary: Accept-Language`.");
        assert!(advice[0].app.starts_with("Send `Vary: Cookie`, or `Cache-Control: private`"));
    }

    #[test]
    fn frequent_reasons_are_listed_with_their_places() {
        let urls = ["http://h.org/plain", "http://h.org/shop/x"];
        let reasons =
            |reason, requests| NonHitReason { reason, requests, origin_micros: 1, urls: urls.map(Into::into).to_vec() };
        let mut total = ShadowCounters::default();
        total.requests = 100;
        let all = [reasons(Reason::NoLifetime, 5), reasons(Reason::UriMiss, 90), reasons(Reason::NoStore, 4)];
        let advice = storing(&table(QueryRule::All), &total, &all);
        let [advice] = &advice[..] else { panic!("{advice:?}") };
        let route = "[[route]]\npath = \"=/plain\"\nttl = \"1m\"";
        assert_eq!(advice.toml, format!("{route}\n# under [[route]] number 1 (path = \"/shop/\"):\nttl = \"1m\""));
        assert!(advice.because.starts_with("5 % of requests"), "{}", advice.because);
    }

    #[test]
    fn text_is_written_as_toml_reads_it() {
        assert_eq!(quoted("/a\"b\\c\n"), "\"/a\\\"b\\\\c\\u000a\"");
        assert_eq!([spelled("accept-language"), spelled("dnt"), spelled("x--y")], ["Accept-Language", "Dnt", "X--Y"]);
    }
}
