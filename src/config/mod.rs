//! The configuration: from a TOML file to the parts that [`crate::server`] starts with.
//!
//! The parser turns a file into a document in which every value knows its position. The one
//! description of all keys (`config/keys.rs`) reads the document into [`Settings`], in which every
//! value is allowed, or into [`ConfigProblems`]: *all* problems, each with its line, its key, the
//! fault and the values allowed. `serde`'s derive would stop at the first problem. The same
//! description prints [`Settings`] as TOML that reads back as the same value.
//!
//! Only the command line, `main` and tests import this module. Deliberately absent: running
//! anything.

mod across;
mod bounds;
mod keys;
mod kind;
mod origin_url;
mod problem;
mod restart;
mod route;
mod rules;
mod schema;
mod secret;
mod syntax;
mod visit;

use std::net::SocketAddr;
use std::path::Path;

use toml::de::DeTable;

pub use keys::{
    AdminSection, AskOrigin, CacheSection, CompressionSection, LogFormat, LogLevel, LogSection, MemorySection,
    OriginSection, PurgeSection, ServerSection, Settings, SiteSection, TracesSection,
};
pub use origin_url::OriginUrl;
pub use problem::{ConfigProblem, ConfigProblems};
pub use route::{KeySection, RouteSection};
pub use secret::Secret;

use crate::{access, admin, origin, proxy, server, store};

/// The reason why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {file}")]
    Unreadable {
        /// The name of the file.
        file: String,
        /// The reason.
        source: std::io::Error,
    },
    /// The file can be read, but is not valid.
    #[error(transparent)]
    Wrong(#[from] ConfigProblems),
}

/// Flags of the command line, which override the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--origin`
    pub origin: Option<OriginUrl>,
    /// `--admin`
    pub admin: Option<AdminListen>,
}

/// The address that `--admin` sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// Turns the admin interface off.
    Off,
    /// Listens on this address.
    At(SocketAddr),
}

/// Reads and checks the file at `path`; `flags` override it.
///
/// # Errors
/// A file that cannot be read, or everything that is wrong in it.
pub fn load(path: &Path, flags: &Flags) -> Result<Settings, Error> {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&file, &text, flags)?),
        Err(source) => Err(Error::Unreadable { file, source }),
    }
}

/// Checks the configuration in `text`; reports call it `file`, and `flags` override it.
///
/// # Errors
/// Everything that is wrong in it.
pub fn parse(file: &str, text: &str, flags: &Flags) -> Result<Settings, ConfigProblems> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut checked = Settings::default();
    let (mut places, mut problems) = visit::FileReader::read(document.get_ref(), |reader| checked.keys(reader));
    if errors.is_empty() {
        overlay(&mut checked, flags, &mut places, &mut problems);
        settle(&mut checked, &places);
        problems.extend(read_token(&mut checked, &places));
        problems.extend(across::problems(&checked, &places));
    } else {
        // After a syntax error the parser guesses how the file goes on. A problem is believed only
        // on a line without a syntax error.
        let line = |problem: &ConfigProblem| problem.span.as_ref().map(|span| problem::line_of(text, span.start));
        let syntax = syntax::problems(text, &errors, &places);
        problems.retain(|problem| !syntax.iter().any(|broken| line(broken) == line(problem)));
        problems.extend(syntax);
    }
    if problems.is_empty() { Ok(checked) } else { Err(ConfigProblems::new(file, text, problems)) }
}

/// Applies the flags over the file. A key that a flag replaces cannot be wrong in the file.
fn overlay(checked: &mut Settings, flags: &Flags, places: &mut visit::KeyPlaces, problems: &mut Vec<ConfigProblem>) {
    let mut replaced = |key: &str| {
        places.forget(key);
        problems.retain(|problem| problem.key != key);
    };
    if let Some(listen) = flags.listen {
        checked.listen = listen;
        replaced("listen");
    }
    if let Some(url) = &flags.origin {
        checked.origin.url = Some(url.clone());
        replaced("origin.url");
    }
    if let Some(admin) = flags.admin {
        checked.admin.listen = match admin {
            AdminListen::Off => None,
            AdminListen::At(addr) => Some(addr),
        };
        replaced("admin.listen");
    }
}

/// Reads the token from its file, if one is named.
fn read_token(checked: &mut Settings, places: &visit::KeyPlaces) -> Option<ConfigProblem> {
    const KEY: &str = "admin.token_file";
    // With `token` set as well, only the contradiction is reported.
    let file = checked.admin.token_file.as_deref().filter(|_| checked.admin.token.is_none())?;
    let refused = |what| ConfigProblem {
        span: places.of(KEY),
        key: KEY.to_owned(),
        what,
        allowed: format!("a readable file that contains only the token: {}", secret::ALLOWED),
    };
    match Secret::read(file) {
        Ok(secret) => {
            checked.admin.token_read = Some(secret);
            None
        }
        Err(what) => Some(refused(what)),
    }
}

/// Adapts a default to the other keys: a small capacity lowers the default object limit.
fn settle(checked: &mut Settings, places: &visit::KeyPlaces) {
    if places.of("memory.object_bytes_max").is_none() {
        let share = checked.memory.capacity / bounds::OBJECT_SHARE;
        checked.memory.object_bytes_max = checked.memory.object_bytes_max.min(share);
    }
}

/// Returns the JSON Schema of the file, for editors.
pub fn schema() -> serde_json::Value {
    schema::schema()
}

impl Settings {
    /// Prints the settings as TOML that reads back as the same value.
    pub fn to_toml(&self) -> String {
        let mut copy = self.clone();
        visit::FilePrinter::print(|printer| copy.keys(printer))
    }

    /// Returns likely slips, which are allowed: a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        across::warnings(self)
    }

    /// Lists the keys that differ from `running`, the settings at startup, and need a restart: a
    /// sentence each.
    pub fn needs_restart(&self, running: &Self) -> Vec<String> {
        restart::needed(running, self)
    }

    /// Assembles the configuration of the server; `None` if no `origin.url` is known.
    pub fn assemble(&self) -> Option<server::Config> {
        let authority = self.origin.url.as_ref()?.authority();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let warnings = self.warnings();
        Some(server::Config {
            warnings,
            listen: self.listen,
            workers: self.server.workers.unwrap_or_else(cores),
            connections_max: self.server.connections_max,
            drain_timeout: self.server.drain_timeout,
            head_timeout: self.server.head_timeout,
            idle_timeout: self.server.idle_timeout,
            body_idle_timeout: self.server.body_idle_timeout,
            head_bytes_max: usize::try_from(self.server.head_bytes_max).unwrap_or(usize::MAX),
            http2_streams_max: u32::try_from(self.server.http2_streams_max).unwrap_or(u32::MAX),
            proxy: self.proxy_part(),
            origin: self.origin_part(authority),
            store: self.store_part(),
            routes: rules::table(self),
            route_names: self.route_names(),
            admin: admin::Config {
                listen: self.admin.listen,
                token: self.admin.secret().map(|secret| admin::Token::new(secret.expose())),
                connections_max: self.admin.connections_max,
            },
            access: self.log.access.map(|format| access::Config { format, file: self.log.access_file.clone() }),
        })
    }

    fn route_names(&self) -> Vec<String> {
        self.routes.iter().map(RouteSection::shown_name).collect()
    }

    fn proxy_part(&self) -> proxy::Config {
        proxy::Config {
            scheme: self.server.scheme,
            trusted_proxies: self.server.trusted_proxies.clone(),
            debug_from: self.server.debug_from.clone(),
            purge_from: self.purge.method_from.clone(),
            hosts: self.sites.iter().flat_map(|site| site.hosts.iter().cloned()).collect(),
            request_body_max: self.server.request_body_max,
            upgrades: self.server.upgrades.clone(),
            tunnel: proxy::tunnel::TunnelLimits {
                idle: self.server.tunnel_idle_timeout,
                client: self.server.body_idle_timeout,
                origin: self.origin.body_idle_timeout,
            },
            reader_stall: self.cache.reader_stall,
            flight_timeout: self.cache.flight_timeout,
            hit_for_miss: self.cache.hit_for_miss,
            personalised_for: self.cache.personalised_for,
            guard_sample: u32::try_from(self.cache.guard_sample).unwrap_or(u32::MAX),
            compress: self.compression.enabled,
            compress_level: i32::try_from(self.compression.level).unwrap_or(i32::MAX),
            compress_min_bytes: self.compression.min_bytes,
            ask_identity: self.compression.ask_origin == AskOrigin::Identity,
            traces: proxy::trace::Config { sample: self.traces.sample, route_names: self.route_names() },
        }
    }

    fn origin_part(&self, authority: String) -> origin::Config {
        origin::Config {
            authority,
            host: self.origin.host.clone(),
            connect_timeout: self.origin.connect_timeout,
            response_timeout: self.origin.response_timeout,
            body_idle_timeout: self.origin.body_idle_timeout,
            pool_idle_timeout: self.origin.pool_idle_timeout,
            connections_max: self.origin.connections_max,
            permit_timeout: self.origin.permit_timeout,
            permit_queue_max: self.origin.permit_queue_max,
            breaker_failures: u32::try_from(self.origin.breaker_failures).unwrap_or(u32::MAX),
            breaker_interval: self.origin.breaker_interval,
        }
    }

    fn store_part(&self) -> store::Config {
        store::Config {
            capacity: self.memory.capacity,
            variants_max: self.memory.variants_max,
            tags_max: self.memory.tags_max,
            ledger_max: self.memory.ledger_max,
            keep: self.cache.keep,
            soft_max: self.cache.soft_max,
        }
    }
}

#[cfg(test)]
mod tests;
