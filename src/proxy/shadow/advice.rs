//! What was seen, turned into what to write: lines for the configuration, and what the app can say in their place.
//!
//! A parameter is advised against only where it never changed a body; a field or cookie is named only where it alone can
//! have been the cause. What is written fits the routes that are in force: the lines name the `[[route]]` that they belong
//! under, and hold what stands there already.

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

/// How often a parameter has to have changed nothing before it is advised against.
const EVIDENCE: u64 = 3;

/// On how many paths of one route a parameter has to have changed nothing before it is taken for one that no page reads.
const PATHS: usize = 3;

/// The most advice of a kind.
const ADVICE_MAX: usize = 20;

/// The URLs that are named as examples.
const EXAMPLES: usize = 3;

/// Reasons that a few words in the configuration or the app's responses change.
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

/// The share of requests from which on a reason is worth a word.
const WORTH: f64 = 0.05;

/// Something to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// `query`, `header`, `cookie`, `changes`, `storing`.
    pub about: String,
    /// What was seen, and what it means.
    pub because: String,
    /// What to write into the configuration; empty where that is for the app to do.
    pub toml: String,
    /// What the app can do in its place; empty where it can do nothing.
    pub app: String,
}

/// Returns what to change.
pub(super) fn advice(routes: &Table, snapshot: &metrics::ShadowSnapshot) -> Vec<Advice> {
    let mut advice = queries(routes, &snapshot.parameters);
    advice.extend(causes(routes, &snapshot.differs));
    advice.extend(changes(&snapshot.differs));
    advice.extend(storing(routes, &snapshot.total, &snapshot.not_hits));
    advice
}

/// Where advice belongs: the route that matches, or a new one for a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AdvicePlace {
    /// The route's index in the file; `None` where none matches.
    route: Option<u16>,
    /// The path of the route to be written, where none matches; `None`: every path.
    path: Option<String>,
}

/// Tells which parameters to drop.
fn queries(routes: &Table, parameters: &[Parameter]) -> Vec<Advice> {
    let is_idle = |row: &&Parameter| row.different == 0 && row.same >= EVIDENCE && is_plain(&row.name);
    let changing: BTreeSet<&str> = parameters.iter().filter(|row| row.different > 0).map(|row| &*row.name).collect();
    // By route and name: on which paths, and how often.
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
        // Of a route in force, one path may contradict what another shows.
        let names: BTreeSet<&str> =
            names.into_iter().filter(|name| place.route.is_none() || !changing.contains(name)).collect();
        let first = rows.first()?;
        let rule = rule_of(routes, &first.host, &first.path)?;
        (!names.is_empty()).then(|| drop_them(routes, &place, rule, &names, &rows))
    });
    advice.take(ADVICE_MAX).collect()
}

fn drop_them(routes: &Table, place: &AdvicePlace, rule: &Rule, names: &BTreeSet<&str>, rows: &[&Parameter]) -> Advice {
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
            "{list}: other values, or none, got the same body {times} times and another one never, at {examples}. Dropped, \
             they split the page no more."
        ),
        toml: under(routes, place, &line),
        app: String::new(),
    }
}

/// Tells which fields and cookies change bodies that are one page to the cache.
fn causes(routes: &Table, differs: &[Difference]) -> Vec<Advice> {
    let mut named: BTreeMap<(&str, &str), Vec<&Difference>> = BTreeMap::new();
    for row in differs {
        let causes: Vec<&Suspect> = row.causes().collect();
        // Where several changed each time, nobody can say which.
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
    let (noun, field) = if kind == "cookie" { ("cookie", "Cookie".to_owned()) } else { ("field", spelled(name)) };
    let places: BTreeSet<AdvicePlace> = rows.iter().filter_map(|row| place_of(routes, &row.url)).collect();
    let key = if kind == "cookie" { "cookies" } else { "headers" };
    let lines = |place: &AdvicePlace| {
        let existing = place.route.and_then(|route| routes.rule(route));
        let existing: Vec<&str> = match existing {
            Some(rule) if kind == "cookie" => rule.key_cookies.iter().map(|name| &**name).collect(),
            Some(rule) => rule.key_headers.iter().map(|name| name.as_str()).collect(),
            None => Vec::new(),
        };
        under(routes, place, &format!("key.{key} = {}", array(existing.into_iter().chain([name]))))
    };
    let is_whose = field == "Cookie" || field == "Authorization";
    let private = if is_whose { ", or `Cache-Control: private` where the page is one user's" } else { "" };
    Advice {
        about: kind.to_owned(),
        because: format!(
            "The {noun} {name} changes the body, and nothing tells a cache so: {times} times a request with another value got \
             another page, at {}.",
            examples(rows)
        ),
        toml: places.iter().take(EXAMPLES).map(lines).collect::<Vec<_>>().join("\n"),
        app: format!("Send `Vary: {field}`{private}."),
    }
}

/// Tells of pages that change from one request to the next.
fn changes(differs: &[Difference]) -> Option<Advice> {
    let rows: Vec<&Difference> = differs.iter().filter(|row| row.by_itself > 0 && row.same_tag < row.times).collect();
    let times: u64 = rows.iter().map(|row| row.by_itself).sum();
    (!rows.is_empty()).then(|| Advice {
        about: "changes".to_owned(),
        because: format!(
            "{} changed while fresh, {times} times without any difference between the requests: {}. A cache goes on with one \
             version for as long as the app says that it is fresh. Where that is right, there is nothing to do.",
            if rows.len() == 1 { "One page".to_owned() } else { format!("{} pages", rows.len()) },
            examples(&rows)
        ),
        toml: String::new(),
        app: "Send a shorter max-age, or `no-cache` with an ETag, for pages of which nobody may see an older version.".to_owned(),
    })
}

/// Tells why much would not be stored, and where.
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
            line.map(|line| places.iter().map(|place| under(routes, place, line)).collect::<Vec<_>>().join("\n"));
        let urls: Vec<&str> = row.urls.iter().map(|url| &**url).collect();
        Advice {
            about: "storing".to_owned(),
            because: format!(
                "{share:.0} % of the requests are not answered from the cache for this: {} Most of the app's time goes to {}.",
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

/// Puts a line under the route that it belongs to.
fn under(routes: &Table, place: &AdvicePlace, line: &str) -> String {
    let mut text = String::new();
    match (place.route, &place.path) {
        (Some(route), _) => {
            let path = routes.matcher(route).and_then(|matcher| matcher.path.as_ref());
            let path = path.map(|path| format!(" (path = {})", quoted(path.as_str()))).unwrap_or_default();
            let _ = write!(text, "# under [[route]] number {}{path}:\n{line}", u32::from(route) + 1);
        }
        (None, Some(path)) => {
            // One URL was seen, so one path is named: a prefix would cover what lies below it, too.
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

/// Writes names as an array of TOML.
fn array<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", names.map(quoted).collect::<Vec<_>>().join(", "))
}

/// Writes text as a string of TOML.
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

/// Tells whether a parameter's name stands for itself in a configuration: `*` would be a pattern, `%` an encoding.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'*' | b'%' | b'+'))
}

/// Writes a field's name as it is usually spelled.
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
    fn what_a_route_says_already_stays() {
        let list = |names: &[&str]| names.iter().map(|&name| name.into()).collect();
        let rows = [parameter("/shop/a", "utm", 3, 0)];
        let under = "# under [[route]] number 1 (path = \"/shop/\"):\n";
        let dropped = format!("{under}key.query = {{ drop = [\"ref\", \"utm\"] }}");
        check_query(QueryRule::Drop(list(&["ref"])), &rows, &[&dropped]);
        let patterns = format!("{under}key.query = [\"q\"]");
        check_query(QueryRule::Keep(list(&["q", "utm"])), &rows, &[&patterns]);
        // Another path of the same route shows the contrary.
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
    fn what_keeps_much_from_the_cache_is_told_with_its_places() {
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
        assert!(advice.because.starts_with("5 % of the requests"), "{}", advice.because);
    }

    #[test]
    fn text_is_written_as_toml_reads_it() {
        assert_eq!(quoted("/a\"b\\c\n"), "\"/a\\\"b\\\\c\\u000a\"");
        assert_eq!([spelled("accept-language"), spelled("dnt"), spelled("x--y")], ["Accept-Language", "Dnt", "X--Y"]);
    }
}
