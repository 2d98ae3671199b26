//! The hostile suite: requests and responses as attackers send them. Each class is a file with
//! tables, each case names the section that it follows from, and is judged from both sides: by the
//! client's responses, and by the exact bytes that the origin's socket received.
//!
//! The judge sends a case and, after it on the same connection, a sentinel. A parser that reads the
//! case in another way than Larder does would take the sentinel for content, or a part of the case
//! for a request, and either shows at the origin. The origin accepts only what the strict reader in
//! [`reference`] accepts; anything else fails the case, whatever the client received.

mod agree;
mod answers;
mod chunks;
mod deception;
mod fields;
mod framing;
mod host;
mod http2;
mod listed;
mod methods;
mod reference;
mod reflected;
mod sizes;
pub(crate) mod tap;
mod target;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{BOUND, Cache};
use reference::Message;
use tap::Tap;

/// The expected effect of a case.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// Refused with one of these statuses; the connection ends, and nothing reaches the origin.
    Refused(&'static [u16]),
    /// Refused in its content: the connection ends, and no whole request reaches the origin.
    Broken,
    /// Answered by Larder with this status; the connection continues, and the origin sees only the
    /// sentinel.
    Answered(u16),
    /// Answered by Larder with this status before the content has arrived; the connection ends.
    Unread(u16),
    /// Forwarded with this method, target and content; the connection continues.
    Passed(&'static str, &'static str, Vec<u8>),
    /// Forwarded likewise, and the connection ends.
    Last(&'static str, &'static str, Vec<u8>),
}

/// A case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// The section that demands the effect.
    pub(crate) section: &'static str,
    /// The bytes that the client sends.
    pub(crate) bytes: Vec<u8>,
    /// The expected effect.
    pub(crate) expect: Expect,
}

/// Makes cases that are refused with 400.
pub(crate) fn bad<B: AsRef<[u8]>>(section: &'static str, all: impl IntoIterator<Item = B>) -> Vec<Case> {
    refused(section, &[400], all)
}

/// Makes cases that are refused with one of `statuses`.
pub(crate) fn refused<B: AsRef<[u8]>>(
    section: &'static str,
    statuses: &'static [u16],
    all: impl IntoIterator<Item = B>,
) -> Vec<Case> {
    all.into_iter().map(|bytes| case(section, bytes, Expect::Refused(statuses))).collect()
}

/// Makes a case.
pub(crate) fn case(section: &'static str, bytes: impl AsRef<[u8]>, expect: Expect) -> Case {
    Case { section, bytes: bytes.as_ref().to_vec(), expect }
}

/// Makes a case that is forwarded and whose connection continues.
pub(crate) fn passed(
    section: &'static str,
    bytes: impl AsRef<[u8]>,
    method: &'static str,
    target: &'static str,
    content: &str,
) -> Case {
    case(section, bytes, Expect::Passed(method, target, content.as_bytes().to_vec()))
}

/// Makes a GET with these field lines, each with its line end.
pub(crate) fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: example.org\r\n{lines}\r\n")
}

/// Makes a POST with these field lines and this content.
pub(crate) fn post(lines: &str, content: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: example.org\r\n{lines}\r\n{content}")
}

/// The request that follows every case on its connection.
const SENTINEL: &str = "GET /sentinel HTTP/1.1\r\nHost: sentinel.example\r\nConnection: close\r\n\r\n";

/// Sends every case to one cache and lists those without the expected effect.
#[track_caller]
pub(crate) fn judge(cases: &[Case]) {
    let tap = Tap::start();
    let cache = tap.cache();
    let wrong: Vec<String> = cases.iter().filter_map(|case| judged(&tap, &cache, case).err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

fn judged(tap: &Tap, cache: &Cache, case: &Case) -> Result<(), String> {
    let described =
        || format!("[{}] {:?}", case.section, String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(160)]));
    let mut sent = case.bytes.clone();
    sent.extend_from_slice(SENTINEL.as_bytes());
    let got = exchange(cache.addr(), &sent);
    let statuses: Vec<u16> = got.iter().map(|response| response.status).collect();
    // A request that broke off is cut at the origin a moment later.
    let seen = tap.take(matches!(case.expect, Expect::Broken));
    let seen =
        seen.map_err(|malformed| format!("{}: the origin received a malformed request: {malformed}", described()))?;
    let requests: Vec<(&str, &str, &[u8])> = seen.whole.iter().map(Message::parts).collect();
    let sentinel = ("GET", "/sentinel", &b""[..]);
    let is_right = match &case.expect {
        Expect::Refused(allowed) => {
            matches!(&statuses[..], [status] if allowed.contains(status))
                && requests.is_empty()
                && seen.rest.is_empty()
                && got.iter().all(|response| response.says("connection", "close") && response.is_explained())
        }
        Expect::Broken => matches!(&statuses[..], [] | [400]) && requests.is_empty(),
        Expect::Answered(status) => statuses == [*status, 200] && requests == [sentinel],
        Expect::Unread(status) => statuses == [*status] && requests.is_empty() && seen.rest.is_empty(),
        Expect::Passed(method, target, content) => {
            statuses == [200, 200] && requests == [(*method, *target, &content[..]), sentinel]
        }
        Expect::Last(method, target, content) => statuses == [200] && requests == [(*method, *target, &content[..])],
    };
    if is_right {
        return Ok(());
    }
    let rest = String::from_utf8_lossy(&seen.rest);
    Err(format!(
        "{}: expected {:?}; the client got {statuses:?}, the origin {requests:?} and {rest:?}",
        described(),
        case.expect
    ))
}

/// A response as a client received it.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    /// The status code.
    pub(crate) status: u16,
    /// The head.
    pub(crate) head: String,
    /// The content.
    pub(crate) body: Vec<u8>,
}

impl Got {
    /// Returns the values of a field.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Tells whether a field has this value.
    pub(crate) fn says(&self, name: &str, value: &str) -> bool {
        self.values(name).iter().any(|own| own.eq_ignore_ascii_case(value))
    }

    /// Tells whether Cache-Status names a reason.
    fn is_explained(&self) -> bool {
        self.values("cache-status").iter().any(|value| value.contains("detail="))
    }
}

/// Sends bytes on a new connection and returns every response until the other side closes.
#[track_caller]
pub(crate) fn exchange(addr: SocketAddr, bytes: &[u8]) -> Vec<Got> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    // The other side may have answered and closed before everything is sent.
    let _ = stream.write_all(bytes);
    responses(&until_close(&mut stream), bytes)
}

/// Reads until the other side closes, in whichever way.
#[track_caller]
pub(crate) fn until_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    if let Err(error) = stream.read_to_end(&mut all) {
        let text = String::from_utf8_lossy(&all);
        assert!(
            error.kind() == std::io::ErrorKind::ConnectionReset,
            "the connection was not closed: {error} after {text:?}"
        );
    }
    all
}

/// Splits bytes into responses; `sent` shows whether they answer a HEAD.
fn responses(mut bytes: &[u8], sent: &[u8]) -> Vec<Got> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let mut got = Got { status, head, body: Vec::new() };
        bytes = &bytes[end + 4..];
        let is_empty = status < 200 || status == 204 || status == 304 || (all.is_empty() && sent.starts_with(b"HEAD"));
        if !is_empty {
            let length = match got.values("content-length").first() {
                Some(length) => length.parse::<usize>().unwrap().min(bytes.len()),
                None => bytes.len(),
            };
            got.body = bytes[..length].to_vec();
            bytes = &bytes[length..];
        }
        if status >= 200 {
            all.push(got);
        }
    }
    all
}

#[test]
fn at_least_three_hundred_cases_each_name_their_section() {
    let tables = [
        framing::cases(),
        host::cases(),
        target::cases(),
        methods::cases(),
        sizes::cases(),
        chunks::cases(),
        fields::cases(),
    ];
    assert!(tables.iter().flatten().all(|case| case.section.starts_with("RFC ")));
    let judged: usize = tables.iter().map(Vec::len).sum();
    let others = [reflected::count(), deception::count(), listed::count(), http2::count(), answers::count()];
    let all = judged + others.iter().sum::<usize>();
    assert!(all >= 300, "{all} cases: {judged} and {others:?}");
}
