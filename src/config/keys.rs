//! Every key of `config.toml`: its name, its table, its default, and the values allowed.
//!
//! [`Settings`] is the value that the program uses. [`Settings::keys`] is the one description of
//! the file. The reader, the printer and the JSON Schema walk it. `config.toml` says why each
//! default is what it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::StatusCode;
use ipnet::IpNet;

use super::bounds::{DAY, HOUR, KIB, MIB, MINUTE, OBJECT_MOST, ROUTES_MAX, SECOND, TIB, YEAR};
use super::kind;
use super::origin_url::OriginUrl;
use super::route::RouteSection;
use super::secret::Secret;
use super::visit::Keys;
use crate::access;
use crate::key::Scheme;
use crate::route::{IGNORED_COOKIES, RouteMode, SetCookie};

/// A configuration in which every value is allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The address on which the proxy listens.
    pub listen: SocketAddr,
    /// Reload when the file changes.
    pub reload_on_change: bool,
    /// Serve from the cache, or only watch (shadow mode); a route may override this.
    pub mode: RouteMode,
    /// `[server]`
    pub server: ServerSection,
    /// `[[site]]`
    pub sites: Vec<SiteSection>,
    /// `[origin]`
    pub origin: OriginSection,
    /// `[memory]`
    pub memory: MemorySection,
    /// `[compression]`
    pub compression: CompressionSection,
    /// `[cache]`
    pub cache: CacheSection,
    /// `[purge]`
    pub purge: PurgeSection,
    /// `[admin]`
    pub admin: AdminSection,
    /// `[log]`
    pub log: LogSection,
    /// `[traces]`
    pub traces: TracesSection,
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<RouteSection>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            reload_on_change: true,
            mode: RouteMode::Serve,
            server: ServerSection::default(),
            sites: Vec::new(),
            origin: OriginSection::default(),
            memory: MemorySection::default(),
            compression: CompressionSection::default(),
            cache: CacheSection::default(),
            purge: PurgeSection::default(),
            admin: AdminSection::default(),
            log: LogSection::default(),
            traces: TracesSection::default(),
            routes: Vec::new(),
        }
    }
}

impl Settings {
    /// Describes the keys of the file.
    pub(super) fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("listen", &mut self.listen, kind::address());
        keys.key("reload_on_change", &mut self.reload_on_change, kind::flag());
        keys.key("mode", &mut self.mode, kind::choice(&super::route::MODES));
        keys.table("server", |keys| self.server.keys(keys));
        keys.tables("site", &mut self.sites, 1000, SiteSection::keys);
        keys.table("origin", |keys| self.origin.keys(keys));
        keys.table("memory", |keys| self.memory.keys(keys));
        keys.table("compression", |keys| self.compression.keys(keys));
        keys.table("cache", |keys| self.cache.keys(keys));
        keys.table("purge", |keys| self.purge.keys(keys));
        keys.table("admin", |keys| self.admin.keys(keys));
        keys.table("log", |keys| self.log.keys(keys));
        keys.table("traces", |keys| self.traces.keys(keys));
        keys.tables("route", &mut self.routes, ROUTES_MAX, RouteSection::keys);
    }
}

/// `[server]`: the client side.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct ServerSection {
    pub scheme: Scheme,
    pub workers: Option<usize>,
    pub connections_max: usize,
    pub trusted_proxies: Vec<IpNet>,
    pub drain_timeout: Duration,
    pub head_timeout: Duration,
    pub idle_timeout: Duration,
    pub body_idle_timeout: Duration,
    pub tunnel_idle_timeout: Duration,
    pub upgrades: Vec<String>,
    pub request_body_max: u64,
    pub debug_from: Vec<IpNet>,
    pub head_bytes_max: u64,
    pub http2_streams_max: usize,
    pub upgrade_socket: Option<PathBuf>,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            scheme: Scheme::Http,
            workers: None,
            connections_max: 10_000,
            trusted_proxies: Vec::new(),
            drain_timeout: 8 * SECOND,
            head_timeout: 10 * SECOND,
            idle_timeout: 75 * SECOND,
            body_idle_timeout: 30 * SECOND,
            tunnel_idle_timeout: 5 * MINUTE,
            upgrades: vec!["websocket".to_owned()],
            request_body_max: 100 * MIB,
            debug_from: Vec::new(),
            head_bytes_max: 32 * KIB,
            http2_streams_max: 100,
            upgrade_socket: None,
        }
    }
}

impl ServerSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        let scheme = kind::choice(&[("http", Scheme::Http), ("https", Scheme::Https)]);
        keys.key("scheme", &mut self.scheme, scheme);
        keys.key("workers", &mut self.workers, kind::count(1..=256).or_word("auto"));
        keys.key("connections_max", &mut self.connections_max, kind::count(1..=1_000_000));
        keys.key("trusted_proxies", &mut self.trusted_proxies, kind::network().list(1000));
        keys.key("drain_timeout", &mut self.drain_timeout, kind::duration(Duration::ZERO..=HOUR));
        keys.key("head_timeout", &mut self.head_timeout, kind::duration(SECOND / 10..=10 * MINUTE));
        keys.key("idle_timeout", &mut self.idle_timeout, kind::duration(SECOND / 10..=DAY));
        keys.key("body_idle_timeout", &mut self.body_idle_timeout, kind::duration(SECOND / 10..=HOUR));
        keys.key("tunnel_idle_timeout", &mut self.tunnel_idle_timeout, kind::duration(SECOND..=DAY));
        keys.key("upgrades", &mut self.upgrades, kind::protocol().list(16));
        keys.key("request_body_max", &mut self.request_body_max, kind::bytes(0..=TIB));
        keys.key("debug_from", &mut self.debug_from, kind::network().list(1000));
        keys.key("head_bytes_max", &mut self.head_bytes_max, kind::bytes(4 * KIB..=MIB));
        keys.key("http2_streams_max", &mut self.http2_streams_max, kind::count(1..=10_000));
        keys.key("upgrade_socket", &mut self.upgrade_socket, kind::file().optional());
    }
}

/// `[[site]]`: hosts that are served.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteSection {
    /// The hosts: exact, or `*.example.org`.
    pub hosts: Vec<String>,
}

impl SiteSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("hosts", &mut self.hosts, kind::host_pattern().list(1000));
    }
}

/// `[origin]`: the app behind Larder.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct OriginSection {
    pub url: Option<OriginUrl>,
    pub host: Option<String>,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    pub body_idle_timeout: Duration,
    pub pool_idle_timeout: Duration,
    pub connections_max: usize,
    pub permit_timeout: Duration,
    pub permit_queue_max: usize,
    pub breaker_failures: usize,
    pub breaker_interval: Duration,
}

impl Default for OriginSection {
    fn default() -> Self {
        Self {
            url: None,
            host: None,
            connect_timeout: 3 * SECOND,
            response_timeout: MINUTE,
            body_idle_timeout: 30 * SECOND,
            pool_idle_timeout: 3 * SECOND / 2,
            connections_max: 1024,
            permit_timeout: 10 * SECOND,
            permit_queue_max: 4096,
            breaker_failures: 5,
            breaker_interval: 2 * SECOND,
        }
    }
}

impl OriginSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("url", &mut self.url, kind::origin_url().optional());
        keys.key("host", &mut self.host, kind::authority().optional());
        keys.key("connect_timeout", &mut self.connect_timeout, kind::duration(SECOND / 100..=MINUTE));
        keys.key("response_timeout", &mut self.response_timeout, kind::duration(SECOND / 100..=HOUR));
        keys.key("body_idle_timeout", &mut self.body_idle_timeout, kind::duration(SECOND / 100..=HOUR));
        keys.key("pool_idle_timeout", &mut self.pool_idle_timeout, kind::duration(Duration::ZERO..=10 * MINUTE));
        keys.key("connections_max", &mut self.connections_max, kind::count(1..=100_000));
        keys.key("permit_timeout", &mut self.permit_timeout, kind::duration(Duration::ZERO..=10 * MINUTE));
        keys.key("permit_queue_max", &mut self.permit_queue_max, kind::count(0..=1_000_000));
        keys.key("breaker_failures", &mut self.breaker_failures, kind::count(0..=1000));
        keys.key("breaker_interval", &mut self.breaker_interval, kind::duration(SECOND / 100..=10 * MINUTE));
    }
}

/// `[memory]`: limits of the store.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct MemorySection {
    pub capacity: u64,
    pub object_bytes_max: u64,
    pub variants_max: usize,
    pub tags_max: usize,
    pub ledger_max: usize,
}

impl Default for MemorySection {
    fn default() -> Self {
        Self { capacity: 256 * MIB, object_bytes_max: 10 * MIB, variants_max: 16, tags_max: 128, ledger_max: 10_000 }
    }
}

impl MemorySection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("capacity", &mut self.capacity, kind::bytes(MIB..=16 * TIB));
        keys.key("object_bytes_max", &mut self.object_bytes_max, kind::bytes(KIB..=OBJECT_MOST));
        keys.key("variants_max", &mut self.variants_max, kind::count(1..=1024));
        keys.key("tags_max", &mut self.tags_max, kind::count(0..=1024));
        keys.key("ledger_max", &mut self.ledger_max, kind::count(16..=1_000_000));
    }
}

/// `[compression]`: the form in which bodies are stored and requested.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct CompressionSection {
    pub enabled: bool,
    pub level: usize,
    pub min_bytes: u64,
    pub ask_origin: AskOrigin,
}

/// The Accept-Encoding that cacheable requests send to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskOrigin {
    /// None: the origin sends the plain body.
    Identity,
    /// The client's own header.
    Client,
}

impl Default for CompressionSection {
    fn default() -> Self {
        Self { enabled: true, level: 3, min_bytes: 1400, ask_origin: AskOrigin::Identity }
    }
}

impl CompressionSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        let ask = kind::choice(&[("identity", AskOrigin::Identity), ("client", AskOrigin::Client)]);
        keys.key("enabled", &mut self.enabled, kind::flag());
        keys.key("level", &mut self.level, kind::count(1..=19));
        keys.key("min_bytes", &mut self.min_bytes, kind::bytes(0..=OBJECT_MOST));
        keys.key("ask_origin", &mut self.ask_origin, ask);
    }
}

/// `[cache]`: freshness, staleness, and what is stored.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct CacheSection {
    pub heuristic_fraction: f64,
    pub heuristic_max: Duration,
    pub stale_if_error: Duration,
    pub stale_while_revalidate: Duration,
    pub keep: Duration,
    pub soft_max: Duration,
    pub hit_for_miss: Duration,
    pub flight_timeout: Duration,
    pub reader_stall: Duration,
    pub obey_client_no_cache: bool,
    pub strict_s_maxage: bool,
    pub store_unsized: bool,
    pub set_cookie: SetCookie,
    pub ttl_by_status: Vec<(StatusCode, Duration)>,
    pub personalisation_guard: bool,
    pub ignore_cookies: Vec<String>,
    pub guard_sample: usize,
    pub personalised_for: Duration,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self {
            heuristic_fraction: 0.1,
            heuristic_max: DAY,
            stale_if_error: HOUR,
            stale_while_revalidate: Duration::ZERO,
            keep: DAY,
            soft_max: MINUTE,
            hit_for_miss: 10 * SECOND,
            flight_timeout: 75 * SECOND,
            reader_stall: 5 * SECOND,
            obey_client_no_cache: true,
            strict_s_maxage: false,
            store_unsized: false,
            set_cookie: SetCookie::NeverStore,
            ttl_by_status: Vec::new(),
            personalisation_guard: true,
            ignore_cookies: IGNORED_COOKIES.map(str::to_owned).to_vec(),
            guard_sample: 200,
            personalised_for: 10 * MINUTE,
        }
    }
}

impl CacheSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        let any = || kind::duration(Duration::ZERO..=YEAR);
        keys.key("heuristic_fraction", &mut self.heuristic_fraction, kind::fraction(0.0..=1.0));
        keys.key("heuristic_max", &mut self.heuristic_max, any());
        keys.key("stale_if_error", &mut self.stale_if_error, any());
        keys.key("stale_while_revalidate", &mut self.stale_while_revalidate, any());
        keys.key("keep", &mut self.keep, any());
        keys.key("soft_max", &mut self.soft_max, any());
        keys.key("hit_for_miss", &mut self.hit_for_miss, kind::duration(Duration::ZERO..=HOUR));
        keys.key("flight_timeout", &mut self.flight_timeout, kind::duration(SECOND / 10..=HOUR));
        keys.key("reader_stall", &mut self.reader_stall, kind::duration(SECOND / 10..=HOUR));
        keys.key("obey_client_no_cache", &mut self.obey_client_no_cache, kind::flag());
        keys.key("strict_s_maxage", &mut self.strict_s_maxage, kind::flag());
        keys.key("store_unsized", &mut self.store_unsized, kind::flag());
        keys.key("set_cookie", &mut self.set_cookie, kind::choice(&super::route::SET_COOKIE));
        keys.key("ttl_by_status", &mut self.ttl_by_status, kind::ttl_by_status(SECOND..=YEAR));
        keys.key("personalisation_guard", &mut self.personalisation_guard, kind::flag());
        keys.key("ignore_cookies", &mut self.ignore_cookies, kind::cookie_name().list(super::route::COOKIES_MAX));
        keys.key("guard_sample", &mut self.guard_sample, kind::count(1..=1_000_000));
        keys.key("personalised_for", &mut self.personalised_for, kind::duration(Duration::ZERO..=DAY));
    }
}

/// `[purge]`: the PURGE method on the proxy's port.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PurgeSection {
    /// The networks from which PURGE is accepted.
    pub method_from: Vec<IpNet>,
}

impl PurgeSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("method_from", &mut self.method_from, kind::network().list(1000));
    }
}

/// `[admin]`: the operator's side.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSection {
    /// The address of the admin interface; `None` turns it off.
    pub listen: Option<SocketAddr>,
    /// The maximum number of connections at once.
    pub connections_max: usize,
    /// The token that clients of the admin interface must send.
    pub token: Option<Secret>,
    /// The file that contains the token, instead of `token`.
    pub token_file: Option<PathBuf>,
    /// The token as read from that file.
    pub token_read: Option<Secret>,
}

impl Default for AdminSection {
    fn default() -> Self {
        let listen = Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 9180)));
        Self { listen, connections_max: 256, token: None, token_file: None, token_read: None }
    }
}

impl AdminSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("listen", &mut self.listen, kind::address().or_word("off"));
        keys.key("connections_max", &mut self.connections_max, kind::count(64..=10_000));
        keys.key("token", &mut self.token, kind::secret().optional());
        keys.key("token_file", &mut self.token_file, kind::file().optional());
    }

    /// Returns the token, from either key.
    pub fn secret(&self) -> Option<&Secret> {
        self.token.as_ref().or(self.token_read.as_ref())
    }
}

/// `[log]`: Larder's own log and the access log.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct LogSection {
    pub level: LogLevel,
    pub format: LogFormat,
    pub access: Option<access::AccessFormat>,
    pub access_file: Option<PathBuf>,
}

/// The minimum severity that is logged.
pub type LogLevel = tracing::level_filters::LevelFilter;

/// The format of Larder's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A readable line.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: LogLevel::INFO, format: LogFormat::Text, access: None, access_file: None }
    }
}

const LEVELS: [(&str, LogLevel); 6] = [
    ("off", LogLevel::OFF),
    ("error", LogLevel::ERROR),
    ("warn", LogLevel::WARN),
    ("info", LogLevel::INFO),
    ("debug", LogLevel::DEBUG),
    ("trace", LogLevel::TRACE),
];

const ACCESS: [(&str, Option<access::AccessFormat>); 4] = [
    ("off", None),
    ("common", Some(access::AccessFormat::Common)),
    ("combined", Some(access::AccessFormat::Combined)),
    ("json", Some(access::AccessFormat::Json)),
];

impl LogSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        let format = kind::choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);
        keys.key("level", &mut self.level, kind::choice(&LEVELS));
        keys.key("format", &mut self.format, format);
        keys.key("access", &mut self.access, kind::choice(&ACCESS));
        keys.key("access_file", &mut self.access_file, kind::file().optional());
    }
}

/// `[traces]`: spans for a collector.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct TracesSection {
    pub endpoint: Option<String>,
    pub sample: f64,
}

impl Default for TracesSection {
    fn default() -> Self {
        Self { endpoint: None, sample: 0.01 }
    }
}

impl TracesSection {
    fn keys<K: Keys>(&mut self, keys: &mut K) {
        keys.key("endpoint", &mut self.endpoint, kind::collector().optional());
        keys.key("sample", &mut self.sample, kind::fraction(0.0..=1.0));
    }
}
