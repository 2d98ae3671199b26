//! What several keys say together: contradictions are problems, what is allowed but likely unwanted is a warning.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::bounds::OBJECT_SHARE;
use super::keys::Checked;
use super::problem::Problem;
use super::secret;
use super::visit::Places;
use crate::route::{CacheMode, Mode};
use crate::units::ByteCount;

/// Judges the keys against each other.
struct Judge<'a> {
    places: &'a Places,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    /// Reports a contradiction among `keys`, shown at the first of them that the file has. Where one of them could not be
    /// read, nothing is reported: its value is not the one that was meant.
    fn contradiction(&mut self, keys: &[&str], what: String, allowed: String) {
        if keys.iter().any(|key| self.places.is_faulty(key)) {
            return;
        }
        let shown = keys.iter().find(|key| self.places.of(key).is_some()).or(keys.first()).copied().unwrap_or_default();
        self.problems.push(Problem { span: self.places.of(shown), key: shown.to_owned(), what, allowed });
    }
}

/// Returns every contradiction.
pub(super) fn problems(checked: &Checked, places: &Places) -> Vec<Problem> {
    let mut judge = Judge { places, problems: Vec::new() };
    listeners(checked, &mut judge);
    origin(checked, &mut judge);
    traces(checked, &mut judge, cfg!(feature = "otel"));
    let share = checked.memory.capacity / OBJECT_SHARE;
    let too_large = |bytes: u64| format!("{} is more than an eighth of `memory.capacity`", ByteCount(bytes));
    let allowed = format!(
        "at most {} here: an object may take an eighth, so that it cannot push out all others",
        ByteCount(share)
    );
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
            let what = format!("the name {name:?} is taken by route {} of the file", first + 1);
            judge.contradiction(&[&key("name")], what, "a name of its own: figures are listed by it".into());
        }
    }
    judge.problems
}

/// The two listeners must not meet, and the admin side must not be reachable from elsewhere.
fn listeners(checked: &Checked, judge: &mut Judge<'_>) {
    let Some(admin) = checked.admin.listen else { return };
    if meet(checked.listen, admin) {
        let what = format!("{admin} is where the proxy listens (`listen = \"{}\"`)", checked.listen);
        judge.contradiction(&["admin.listen", "listen"], what, "another port, or \"off\"".into());
    }
    let has_token = checked.admin.token.is_some() || checked.admin.token_file.is_some();
    if !admin.ip().is_loopback() && !has_token {
        let what = format!("{} can be reached from elsewhere, and there is no token to ask for", admin.ip());
        judge.contradiction(
            &["admin.listen"],
            what,
            format!(
                "a loopback address, such as \"127.0.0.1:9180\", or \"off\", or beside it `token` or `token_file`: {}",
                secret::ALLOWED
            ),
        );
    }
    if checked.admin.token.is_some() && checked.admin.token_file.is_some() {
        let what = "there are two tokens: `token` and `token_file`".to_owned();
        judge.contradiction(&["admin.token_file", "admin.token"], what, "one of the two".into());
    }
}

/// A Larder that asks itself would answer nobody.
fn origin(checked: &Checked, judge: &mut Judge<'_>) {
    let Some(url) = &checked.origin.url else { return };
    let authority = url.authority().replace("localhost:", "127.0.0.1:");
    let Ok(origin) = authority.parse::<SocketAddr>() else { return };
    let is_at = |listen: SocketAddr| meet(listen, origin) && (origin.ip().is_loopback() || listen == origin);
    if is_at(checked.listen) {
        let what = format!("{url} is where Larder itself listens (`listen = \"{}\"`)", checked.listen);
        judge.contradiction(&["origin.url", "listen"], what, "the address that the app listens on".into());
    }
    // Whoever reaches the proxy would reach the admin side through it.
    if let Some(admin) = checked.admin.listen.filter(|admin| is_at(*admin)) {
        let what = format!("{url} is where Larder's admin side listens (`admin.listen = \"{admin}\"`)");
        judge.contradiction(&["origin.url", "admin.listen"], what, "the address that the app listens on".into());
    }
}

/// How to get what sends traces: few need it, so that a build has it only where it is asked for.
const BUILD_TRACES: &str = "cargo build --release --features otel";

/// Traces need what a build may not have: `are_built` tells.
fn traces(checked: &Checked, judge: &mut Judge<'_>, are_built: bool) {
    if checked.traces.endpoint.is_some() && !are_built {
        let what = "this larder was built without traces".to_owned();
        let allowed = format!("nothing, or a larder that was built in the project's folder with `{BUILD_TRACES}`");
        judge.contradiction(&["traces.endpoint"], what, allowed);
    }
}

/// Tells whether two addresses cannot both be listened on.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || is_any(a.ip(), b.ip()) || is_any(b.ip(), a.ip()))
}

/// Tells whether `wide` stands for every address of the machine, `narrow` among them.
fn is_any(wide: IpAddr, narrow: IpAddr) -> bool {
    wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
}

/// Returns what is allowed, but likely not wanted: a sentence each.
pub(super) fn warnings(checked: &Checked) -> Vec<String> {
    let mut found = Vec::new();
    if checked.origin.url.is_none() {
        found.push(
            "`origin.url` is not set: `larder serve` needs it, in the file or as `--origin http://127.0.0.1:3000`."
                .to_owned(),
        );
    }
    if !checked.listen.ip().is_loopback() && checked.sites.iter().all(|site| site.hosts.is_empty()) {
        found.push(format!(
            "Larder listens on {} and no [[site]] lists its hosts: whatever Host a stranger sends fills the cache.",
            checked.listen
        ));
    }
    for net in checked.purge.method_from.iter().filter(|net| net.prefix_len() == 0) {
        found.push(format!("`purge.method_from` has {net}: every client may then empty the cache, URL by URL."));
    }
    if let (Some(admin), Some(_)) = (checked.admin.listen, checked.admin.secret())
        && !admin.ip().is_loopback()
    {
        found.push(format!(
            "The admin side listens on {admin}, where others can reach it: it asks for the token, which goes over the network \
             as it is. Let only networks that you trust reach that port."
        ));
    }
    for net in checked.server.trusted_proxies.iter().filter(|net| net.prefix_len() == 0) {
        found.push(format!(
            "`server.trusted_proxies` has {net}: every client may then say who it is and which scheme it uses."
        ));
    }
    if checked.mode == Mode::Shadow || checked.routes.iter().any(|route| route.mode == Some(Mode::Shadow)) {
        let all = checked.mode == Mode::Shadow && checked.routes.iter().all(|route| route.mode != Some(Mode::Serve));
        let what = if all { "Larder is in shadow mode" } else { "Some routes are in shadow mode" };
        found.push(format!(
            "{what}: nothing there is answered from the cache, and the app gets every request. `larder shadow-report` tells \
             what would have been; `mode = \"serve\"` begins in earnest."
        ));
    }
    if checked.log.access_file.is_some() && checked.log.access.is_none() {
        found.push("`log.access_file` has no effect while `log.access` is \"off\".".to_owned());
    }
    routes(checked, &mut found);
    found
}

fn routes(checked: &Checked, found: &mut Vec<String>) {
    if let Some(index) = checked.routes.iter().position(super::Route::matches_all)
        && index + 1 < checked.routes.len()
    {
        found.push(format!("Route {} matches every request: the routes after it are never reached.", index + 1));
    }
    for (index, route) in checked.routes.iter().enumerate() {
        let earlier = checked.routes[..index].iter().position(|other| !other.matches_all() && other.covers(route));
        if let Some(earlier) = earlier {
            found.push(format!(
                "Route {} is never reached: route {} before it matches all that it does.",
                index + 1,
                earlier + 1
            ));
        }
    }
    for (index, route) in checked.routes.iter().enumerate() {
        if route.cache == CacheMode::Bypass && route.ttl.is_some() {
            found.push(format!("Route {}: `ttl` has no effect beside `cache = \"bypass\"`.", index + 1));
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
            let mut checked = Checked::default();
            checked.traces.endpoint = endpoint.map(str::to_owned);
            let mut judge = Judge { places: &Places::default(), problems: Vec::new() };
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
