//! Judgement of several keys together: contradictions are problems, likely slips are warnings.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::bounds::OBJECT_SHARE;
use super::keys::Settings;
use super::problem::ConfigProblem;
use super::secret;
use super::visit::KeyPlaces;
use crate::route::{CacheMode, RouteMode};
use crate::units::ByteCount;

/// Collects contradictions between keys.
struct ContradictionCheck<'a> {
    places: &'a KeyPlaces,
    problems: Vec<ConfigProblem>,
}

impl ContradictionCheck<'_> {
    /// Reports a contradiction among `keys`, shown at the first of them that the file has. Nothing
    /// is reported if one of them could not be read: its value is then not the one the user meant.
    fn contradiction(&mut self, keys: &[&str], what: String, allowed: String) {
        if keys.iter().any(|key| self.places.is_faulty(key)) {
            return;
        }
        let shown = keys.iter().find(|key| self.places.of(key).is_some()).or(keys.first()).copied().unwrap_or_default();
        self.problems.push(ConfigProblem { span: self.places.of(shown), key: shown.to_owned(), what, allowed });
    }
}

/// Returns every contradiction.
pub(super) fn problems(checked: &Settings, places: &KeyPlaces) -> Vec<ConfigProblem> {
    let mut judge = ContradictionCheck { places, problems: Vec::new() };
    listeners(checked, &mut judge);
    origin(checked, &mut judge);
    traces(checked, &mut judge, cfg!(feature = "otel"));
    let share = checked.memory.capacity / OBJECT_SHARE;
    let too_large = |bytes: u64| format!("{} is more than an eighth of `memory.capacity`", ByteCount(bytes));
    let allowed =
        format!("at most {} here: an object may take an eighth, so that it cannot evict all others", ByteCount(share));
    if checked.memory.object_bytes_max > share {
        let keys = ["memory.object_bytes_max", "memory.capacity"];
        judge.contradiction(&keys, too_large(checked.memory.object_bytes_max), allowed.clone());
    }
    let mut names = HashMap::new();
    for (index, route) in checked.routes.iter().enumerate() {
        let key = |name: &str| format!("route[{index}].{name}");
        if route.cache == CacheMode::Force && route.ttl.is_none() {
            let what = "\"force\" needs a lifetime, and the route has no `ttl`".to_owned();
            judge.contradiction(
                &[&key("cache"), &key("ttl")],
                what,
                "`ttl = \"5m\"` beside it, or another `cache`".into(),
            );
        }
        if let Some(bytes) = route.object_bytes_max.filter(|&bytes| bytes > share) {
            judge.contradiction(&[&key("object_bytes_max"), "memory.capacity"], too_large(bytes), allowed.clone());
        }
        if let Some(name) = &route.name
            && let Some(first) = names.insert(name.clone(), index)
        {
            let what = format!("the name {name:?} is already used by route {}", first + 1);
            judge.contradiction(&[&key("name")], what, "a unique name: stats are listed by it".into());
        }
    }
    judge.problems
}

/// Checks that the two listeners do not meet, and that the admin interface is not open to
/// strangers.
fn listeners(checked: &Settings, judge: &mut ContradictionCheck<'_>) {
    let Some(admin) = checked.admin.listen else { return };
    if meet(checked.listen, admin) {
        let what = format!("{admin} is where the proxy listens (`listen = \"{}\"`)", checked.listen);
        judge.contradiction(&["admin.listen", "listen"], what, "another port, or \"off\"".into());
    }
    let has_token = checked.admin.token.is_some() || checked.admin.token_file.is_some();
    if !admin.ip().is_loopback() && !has_token {
        let what = "a non-loopback admin address needs `token` or `token_file`".to_owned();
        judge.contradiction(
            &["admin.listen"],
            what,
            format!(
                "a loopback address such as \"127.0.0.1:9180\", or \"off\", or a `token` or `token_file` next to it: {}",
                secret::ALLOWED
            ),
        );
    }
    if checked.admin.token.is_some() && checked.admin.token_file.is_some() {
        let what = "there are two tokens: `token` and `token_file`".to_owned();
        judge.contradiction(&["admin.token_file", "admin.token"], what, "one of the two".into());
    }
}

/// Checks that Larder is not its own origin: a Larder that proxies to itself answers nobody.
fn origin(checked: &Settings, judge: &mut ContradictionCheck<'_>) {
    let Some(url) = &checked.origin.url else { return };
    let authority = url.authority().replace("localhost:", "127.0.0.1:");
    let Ok(origin) = authority.parse::<SocketAddr>() else { return };
    let is_at = |listen: SocketAddr| meet(listen, origin) && (origin.ip().is_loopback() || listen == origin);
    if is_at(checked.listen) {
        let what = format!("{url} is where Larder itself listens (`listen = \"{}\"`)", checked.listen);
        judge.contradiction(&["origin.url", "listen"], what, "the address that the app listens on".into());
    }
    // A client of the proxy could otherwise reach the admin interface through it.
    if let Some(admin) = checked.admin.listen.filter(|admin| is_at(*admin)) {
        let what = format!("{url} is where Larder's admin interface listens (`admin.listen = \"{admin}\"`)");
        judge.contradiction(&["origin.url", "admin.listen"], what, "the address that the app listens on".into());
    }
}

/// The command that builds Larder with traces. Few users need them, so they are off by default.
const BUILD_TRACES: &str = "cargo build --release --features otel";

/// Checks that this build can export traces; `are_built` tells whether it can.
fn traces(checked: &Settings, judge: &mut ContradictionCheck<'_>, are_built: bool) {
    if checked.traces.endpoint.is_some() && !are_built {
        let what = "this larder was built without traces".to_owned();
        let allowed = format!("remove it, or build Larder with `{BUILD_TRACES}`");
        judge.contradiction(&["traces.endpoint"], what, allowed);
    }
}

/// Tells whether two addresses cannot both be listened on.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || is_any(a.ip(), b.ip()) || is_any(b.ip(), a.ip()))
}

/// Tells whether `wide` stands for every address of the machine, including `narrow`.
fn is_any(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

/// Returns likely slips, which are allowed: a sentence each.
pub(super) fn warnings(checked: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    if checked.origin.url.is_none() {
        found.push(
            "`origin.url` is not set. `larder serve` needs it: set it in the file, or use `--origin http://127.0.0.1:3000`."
                .to_owned(),
        );
    }
    if !checked.listen.ip().is_loopback() && checked.sites.iter().all(|site| site.hosts.is_empty()) {
        found.push(format!(
            "Larder listens on {} and no [[site]] lists its hosts: requests with made-up Host headers can fill the cache.",
            checked.listen
        ));
    }
    for net in checked.purge.method_from.iter().filter(|net| net.prefix_len() == 0) {
        found.push(format!("`purge.method_from` has {net}: every client may purge the cache, URL by URL."));
    }
    if let (Some(admin), Some(_)) = (checked.admin.listen, checked.admin.secret())
        && !admin.ip().is_loopback()
    {
        found.push(format!(
            "The admin interface on {admin} is reachable from other machines. It requires the token, but the token is \
             sent unencrypted: restrict that port to trusted networks."
        ));
    }
    for net in checked.server.trusted_proxies.iter().filter(|net| net.prefix_len() == 0) {
        found.push(format!("`server.trusted_proxies` has {net}: every client may forge its address and scheme."));
    }
    if checked.mode == RouteMode::Shadow || checked.routes.iter().any(|route| route.mode == Some(RouteMode::Shadow)) {
        let all = checked.mode == RouteMode::Shadow
            && checked.routes.iter().all(|route| route.mode != Some(RouteMode::Serve));
        let what = if all { "Larder is in shadow mode" } else { "Some routes are in shadow mode" };
        found.push(format!(
            "{what}: every request there goes to the app. `larder shadow-report` shows what a cache would have done. Set \
             `mode = \"serve\"` to go live."
        ));
    }
    if checked.log.access_file.is_some() && checked.log.access.is_none() {
        found.push("`log.access_file` has no effect while `log.access` is \"off\".".to_owned());
    }
    routes(checked, &mut found);
    found
}

fn routes(checked: &Settings, found: &mut Vec<String>) {
    if let Some(index) = checked.routes.iter().position(super::RouteSection::matches_all)
        && index + 1 < checked.routes.len()
    {
        found.push(format!("Route {} matches every request: the routes after it are unreachable.", index + 1));
    }
    for (index, route) in checked.routes.iter().enumerate() {
        let earlier = checked.routes[..index].iter().position(|other| !other.matches_all() && other.covers(route));
        if let Some(earlier) = earlier {
            found.push(format!(
                "Route {} is unreachable: route {} already matches everything it would.",
                index + 1,
                earlier + 1
            ));
        }
    }
    for (index, route) in checked.routes.iter().enumerate() {
        if route.cache == CacheMode::Bypass && route.ttl.is_some() {
            found.push(format!("Route {}: `ttl` has no effect together with `cache = \"bypass\"`.", index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_builds_traces_names_the_feature() {
        assert!(include_str!("../../Cargo.toml").contains("\notel = ["));
        assert!(BUILD_TRACES.ends_with(" --features otel"));
    }

    #[test]
    fn traces_are_refused_where_they_are_not_built_and_asked_for() {
        let check = |endpoint: Option<&str>, are_built: bool, refused: &[&str]| {
            let mut checked = Settings::default();
            checked.traces.endpoint = endpoint.map(str::to_owned);
            let mut judge = ContradictionCheck { places: &KeyPlaces::default(), problems: Vec::new() };
            traces(&checked, &mut judge, are_built);
            assert_eq!(judge.problems.iter().map(|problem| &*problem.key).collect::<Vec<_>>(), refused);
            assert!(judge.problems.iter().all(|problem| problem.allowed.contains(BUILD_TRACES)));
        };
        check(Some("http://c:4318"), false, &["traces.endpoint"]);
        check(Some("http://c:4318"), true, &[]);
        check(None, false, &[]);
    }

    #[test]
    fn addresses_meet_where_one_covers_the_other() {
        let check = |a: &str, b: &str, expected| {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((meet(a, b), meet(b, a)), (expected, expected), "{a} {b}");
        };
        check("127.0.0.1:80", "127.0.0.1:80", true);
        check("127.0.0.1:80", "127.0.0.1:81", false);
        check("127.0.0.1:80", "127.0.0.2:80", false);
        check("0.0.0.0:80", "127.0.0.1:80", true);
        check("[::]:80", "127.0.0.1:80", true);
        check("0.0.0.0:80", "[::1]:80", false);
        check("127.0.0.1:0", "127.0.0.1:0", false);
    }
}
