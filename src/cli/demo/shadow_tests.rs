//! Shadow mode predicts what a live cache reaches. The same requests go to the sample app over real
//! TCP, first in shadow mode, then in live mode on a fresh cache, with the same steps of the clock.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::app;
use crate::clock::{Clock, Timestamp};
use crate::config::{Flags, parse};
use crate::server;

/// 2026-01-01, before the app's own Date, so that its responses are new.
const START: Timestamp = Timestamp::from_secs(1_767_225_600);

const REQUESTS: usize = 3_000;

/// The tolerance between prediction and result.
const WITHIN: f64 = 0.02;

/// A request: method, target, fields.
type DemoRequest = (&'static str, String, Vec<(&'static str, String)>);

/// Draws numbers (xorshift; Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Draws a rank below `count`; the weight of a rank is the reciprocal of its number.
    fn zipf(&mut self, count: usize) -> usize {
        let total: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
        let mut at = (self.next() % (1 << 50)) as f64 / (1_u64 << 50) as f64 * total;
        (1..=count)
            .find(|rank| {
                at -= 1.0 / *rank as f64;
                at < 0.0
            })
            .unwrap_or(count)
            - 1
    }
}

/// The number of different searches, and their share in percent.
#[derive(Clone, Copy)]
struct Searches {
    count: usize,
    share: usize,
}

/// Makes the requests of the visitors.
fn sequence(searches: Searches) -> Vec<DemoRequest> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let pages = ["/", "/articles/1", "/articles/2", "/api/prices", "/big", "/slow", "/moved", "/unmarked", "/flaky"];
    let assets = ["/assets/style.1.css", "/assets/age.1.js", "/assets/logo.1.svg", "/assets/shelf.1.svg"];
    let ask = |_| {
        let mut fields = Vec::new();
        let (mut method, mut target) = ("GET", String::new());
        if random.below(100) < searches.share {
            let target = format!("/search?q=word{}", random.zipf(searches.count));
            return (method, target, vec![("Accept-Language", ["en", "de", "fr"][random.zipf(3)].to_owned())]);
        }
        match random.below(78) {
            0..40 => target.push_str(pages[random.zipf(pages.len())]),
            40..60 => target.push_str(assets[random.zipf(assets.len())]),
            60..66 => {
                target.push_str("/account");
                fields.push(("Cookie", format!("visitor={}", random.below(50))));
            }
            66..69 => target.push_str("/checkout"),
            69..73 => target = format!("/missing/{}", random.zipf(30)),
            73..75 => {
                target.push_str("/articles/1");
                fields.push(("If-None-Match", "W/\"article-1\"".to_owned()));
            }
            75 => (method, target) = ("HEAD", "/articles/2".to_owned()),
            76 => target.push_str("/broken"),
            _ => (method, target) = ("POST", "/api/prices".to_owned()),
        }
        (method, target, fields)
    };
    (0..REQUESTS).map(ask).collect()
}

/// Sends the requests to a Larder with these lines in its configuration; returns the JSON at `path`
/// of its admin interface afterwards.
fn run(lines: &str, requests: &[DemoRequest], path: &str) -> Value {
    let app = app::start_with(Duration::from_millis(2)).unwrap();
    let text = format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n{lines}");
    let flags = Flags { origin: format!("http://{}", app.addr()).parse().ok(), ..Flags::default() };
    let config = parse("the test's", &text, &flags).unwrap().assemble().unwrap();
    let clock = Clock::stepped(START);
    let running = server::start(config, clock.clone()).unwrap();
    let mut client = DemoClient::connect(running.addr());
    for (method, target, fields) in requests {
        clock.step(Duration::from_millis(40));
        client.ask(method, target, fields);
    }
    let mut admin = DemoClient::connect(running.admin_addr().unwrap());
    let text = admin.ask("GET", path, &[]);
    running.drain();
    serde_json::from_slice(&text).unwrap()
}

/// A persistent connection.
struct DemoClient(BufReader<TcpStream>);

impl DemoClient {
    fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Sends a request, and returns the response's content.
    fn ask(&mut self, method: &str, target: &str, fields: &[(&str, String)]) -> Vec<u8> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n");
        fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
        self.0.get_mut().write_all(format!("{head}{length}\r\n").as_bytes()).unwrap();
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            assert!(!name.eq_ignore_ascii_case("transfer-encoding"), "the app's pages have lengths");
            if name.eq_ignore_ascii_case("content-length") && method != "HEAD" {
                length = value.trim().parse().unwrap();
            }
        }
        let mut content = vec![0; length];
        self.0.read_exact(&mut content).unwrap();
        content
    }
}

#[track_caller]
fn check(lines: &str, searches: Searches) -> u64 {
    let requests = sequence(searches);
    let predicted = run(&format!("mode = \"shadow\"\n{lines}"), &requests, "/shadow");
    let reached = run(lines, &requests, "/stats");
    let (predicted, reached) = (&predicted["total"], &reached);
    let ratio = |value: &Value| value.as_f64().unwrap();
    let (would, is) = (ratio(&predicted["hit_ratio"]), ratio(&reached["ratios"]["cache_hit"]));
    println!("predicted {would:.4} {}", predicted["would_be"]);
    println!("reached   {is:.4} {} {}", reached["requests"]["by_outcome"], reached["store"]["evicted"]);
    assert_eq!(predicted["requests"], REQUESTS);
    assert!((would - is).abs() < WITHIN, "predicted {would}, reached {is}");
    reached["store"]["evicted"]["size"].as_u64().unwrap()
}

#[test]
fn the_hit_ratio_of_the_sample_app_is_predicted() {
    check("", Searches { count: 200, share: 22 });
}

/// More searches than the memory can hold.
#[test]
fn the_hit_ratio_of_a_small_cache_is_predicted() {
    let evicted = check("[memory]\ncapacity = \"1MiB\"\n", Searches { count: 2_000, share: 70 });
    assert!(evicted > 100, "{evicted}");
}
