//! A Larder inside the test's process, on free ports, whose clock stands still until a test steps
//! it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::clock::{Clock, Timestamp};
use larder::config::Flags;
use larder::key::Scheme;
use larder::route::{PathMatcher, Rule, Table};
use larder::server::{self, Instance, NewConfig, StartOptions};
use larder::{admin, origin, proxy, store};
use serde_json::Value;

use super::{Client, Origin, Response, eventually};

/// 2026-01-01 00:00:00 UTC, when every test begins.
pub(crate) const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// The settings that a test may change before the cache starts.
pub(crate) struct Setup {
    /// The configuration, without its routes.
    pub(crate) config: server::Config,
    /// The rule for requests that match no route.
    pub(crate) rule: Rule,
    /// The routes, in order.
    pub(crate) routes: Vec<(PathMatcher, Rule)>,
}

/// A running cache.
pub(crate) struct Cache {
    running: Option<Instance>,
    addr: SocketAddr,
    admin: SocketAddr,
    clock: Clock,
    /// True where the next reload reads an invalid configuration.
    is_broken: Arc<AtomicBool>,
}

impl Cache {
    /// Starts a cache in front of `origin`.
    pub(crate) fn start(origin: &Origin) -> Self {
        Self::with(origin, |_| {})
    }

    /// Starts a cache in front of `origin`, with the settings that `change` makes.
    pub(crate) fn with(origin: &Origin, change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup { config: config(origin.addr()), rule: Rule::default(), routes: Vec::new() };
        change(&mut setup);
        let Setup { mut config, rule, routes } = setup;
        config.route_names = (0..routes.len()).map(|index| format!("route {index}")).collect();
        let numbered = routes.into_iter().enumerate().map(|(index, (matcher, rule))| {
            let rule = Rule { index: u16::try_from(index).ok(), ..rule };
            (matcher, Arc::new(rule))
        });
        config.routes = Table::new(numbered.collect(), Arc::new(rule));
        Self::of(config)
    }

    /// Starts a cache in front of `origin`, configured by these lines of a configuration file.
    #[track_caller]
    pub(crate) fn configured(origin: &Origin, lines: &str) -> Self {
        let text = format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n{lines}");
        let flags = Flags { origin: format!("http://{}", origin.addr()).parse().ok(), ..Flags::default() };
        let checked = larder::config::parse("the test's", &text, &flags).unwrap_or_else(|error| panic!("{error:?}"));
        Self::of(checked.assemble().expect("the configuration names an origin"))
    }

    fn of(config: server::Config) -> Self {
        let clock = Clock::stepped(START);
        let is_broken = Arc::<AtomicBool>::default();
        let source = {
            let (config, is_broken) = (config.clone(), Arc::clone(&is_broken));
            move || match is_broken.load(Ordering::SeqCst) {
                true => Err(vec![fault()]),
                false => Ok(NewConfig { config: config.clone(), needs_restart: Vec::new(), in_force: Box::new(|| ()) }),
            }
        };
        let start = StartOptions { source: Some(Box::new(source)), ..StartOptions::default() };
        let running = server::start_with(config, clock.clone(), start).unwrap();
        let (addr, admin) = (running.addr(), running.admin_addr().unwrap());
        Self { running: Some(running), addr, admin, clock, is_broken }
    }

    /// Returns the address of the proxy's port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connects to the proxy's port.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Returns the address of the admin side.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Connects to the admin side.
    pub(crate) fn admin(&self) -> Client {
        Client::connect(self.admin).host(&self.admin.to_string())
    }

    /// Returns the URL of a page of the admin side.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Advances the cache's clock.
    pub(crate) fn step(&self, seconds: u64) {
        self.clock.step(Duration::from_secs(seconds));
    }

    /// Sends a request on a new connection, reads the response, and waits until the fetch that the
    /// request began has ended.
    #[track_caller]
    pub(crate) fn request(&self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        let response = self.client().exchange(method, target, fields, body);
        self.settle();
        response
    }

    /// Sends a GET as [`Cache::request`] does.
    #[track_caller]
    pub(crate) fn get(&self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    /// Sends a GET with these fields as [`Cache::request`] does.
    #[track_caller]
    pub(crate) fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.request("GET", target, fields, b"")
    }

    /// Waits until no fill is under way. A client has the last byte of a body a moment before the
    /// body is stored.
    #[track_caller]
    pub(crate) fn settle(&self) {
        let mut admin = self.admin();
        eventually("no fill is under way", || stats(&mut admin)["fills_in_flight"] == 0);
    }

    /// Waits until the cache has read everything that was sent to it: the kernel holds no pending
    /// connection and no unread byte. Then requests `target` often enough that each core is likely
    /// to have answered once, since a core answers in the order in which it reads.
    #[track_caller]
    pub(crate) fn catch_up(&self, target: &str) {
        let ours = format!(":{:04X}", self.addr.port());
        eventually("everything sent has been read", || {
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            // Columns: local address, remote address, state, bytes waiting to be sent and read
            // (proc(5)).
            let mut rows = sockets.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
            rows.all(|row| !row[1].ends_with(&ours) || row[4].ends_with(":00000000"))
        });
        (0..8).for_each(|_| _ = self.client().get(target));
    }

    /// Returns `/stats`.
    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        stats(&mut self.admin())
    }

    /// Sends `POST /purge` with this body; returns the response.
    pub(crate) fn purge(&self, body: &str) -> Response {
        self.admin().exchange("POST", "/purge", &[("Content-Type", "application/json")], body.as_bytes())
    }

    /// Reloads the configuration, valid or broken. A valid one takes effect.
    #[track_caller]
    pub(crate) fn reload(&self, in_order: bool) {
        self.is_broken.store(!in_order, Ordering::SeqCst);
        let answer = self.admin().exchange("POST", "/reload", &JSON, b"");
        assert_eq!(answer.status() == 200, in_order, "{}", answer.text());
    }

    /// Explains what would happen to a request.
    #[track_caller]
    pub(crate) fn explain(&self, question: &Value) -> Value {
        let answer = self.admin().exchange("POST", "/explain", &JSON, question.to_string().as_bytes());
        assert_eq!(answer.status(), 200, "{question}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Drains the cache, and returns once all its threads have ended.
    pub(crate) fn drain(mut self) {
        self.running.take().expect("the cache runs until it is drained").drain();
    }
}

const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

#[track_caller]
fn stats(admin: &mut Client) -> Value {
    let response = admin.get("/stats");
    assert_eq!(response.status(), 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

fn config(origin: SocketAddr) -> server::Config {
    let seconds = Duration::from_secs;
    server::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        workers: 2,
        connections_max: 4_000,
        drain_timeout: seconds(10),
        head_timeout: seconds(20),
        idle_timeout: seconds(60),
        body_idle_timeout: seconds(20),
        head_bytes_max: 32 << 10,
        http2_streams_max: 100,
        proxy: proxy::Config {
            scheme: Scheme::Http,
            trusted_proxies: Vec::new(),
            debug_from: Vec::new(),
            purge_from: Vec::new(),
            hosts: Vec::new(),
            request_body_max: 1 << 20,
            upgrades: vec!["websocket".to_owned()],
            tunnel: proxy::tunnel::TunnelLimits { idle: seconds(60), client: seconds(20), origin: seconds(20) },
            reader_stall: seconds(5),
            flight_timeout: seconds(20),
            hit_for_miss: seconds(10),
            personalised_for: seconds(600),
            guard_sample: 200,
            compress: true,
            compress_level: 3,
            compress_min_bytes: 1_400,
            ask_identity: true,
            traces: proxy::trace::Config::default(),
        },
        origin: origin::Config {
            authority: origin.to_string(),
            host: None,
            connect_timeout: seconds(5),
            response_timeout: seconds(20),
            body_idle_timeout: seconds(20),
            pool_idle_timeout: seconds(2),
            connections_max: 1_000,
            permit_timeout: seconds(20),
            permit_queue_max: 4_000,
            breaker_failures: 0,
            breaker_interval: seconds(2),
        },
        store: store::Config {
            capacity: 64 << 20,
            variants_max: 8,
            tags_max: 64,
            ledger_max: 1_000,
            keep: seconds(24 * 3600),
            soft_max: seconds(60),
        },
        routes: Table::new(Vec::new(), Arc::default()),
        route_names: Vec::new(),
        admin: admin::Config { listen: Some("127.0.0.1:0".parse().unwrap()), token: None, connections_max: 256 },
        access: None,
        warnings: Vec::new(),
    }
}

/// The fault of a broken configuration.
fn fault() -> admin::ConfigFault {
    let [file, key, what, allowed] = ["the test's", "listen", "is wrong on purpose", "nothing"].map(str::to_owned);
    admin::ConfigFault { file, line: Some(1), key, what, allowed }
}
