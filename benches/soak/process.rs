//! `larder serve` as a child process, with the figures of the kernel and of its admin side.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running `larder serve`. Dropping it kills it.
pub(crate) struct Larder {
    child: Child,
    /// The address of the proxy's port.
    pub(crate) addr: SocketAddr,
    /// The address of the admin side.
    pub(crate) admin: SocketAddr,
    file: std::path::PathBuf,
}

impl Larder {
    /// Starts Larder in front of `origin` with these lines of configuration, and returns once it
    /// accepts connections.
    pub(crate) fn start(origin: SocketAddr, lines: &str) -> Self {
        let file = std::env::temp_dir().join(format!("larder-soak-{}-{}.toml", std::process::id(), origin.port()));
        let text = format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n{lines}\n");
        std::fs::write(&file, text).expect("the folder for temporary files can be written to");
        let mut child = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["serve", "--origin", &format!("http://{origin}"), "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("larder starts");
        // Larder prints its addresses on standard error, the admin side second.
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut addresses = Vec::new();
        let mut line = String::new();
        while addresses.len() < 2 && stderr.read_line(&mut line).is_ok_and(|length| length > 0) {
            let address: Option<SocketAddr> =
                line.split(" on http://").nth(1).and_then(|rest| rest.split(['/', ' ', '\n']).next()?.parse().ok());
            addresses.extend(address);
            line.clear();
        }
        // Nobody needs the further output, but somebody has to read it.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let [addr, admin] = addresses[..] else { panic!("larder serve printed no addresses") };
        Self { child, addr, admin, file }
    }

    /// Returns the resident memory in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.unwrap_or(0_u64) << 10
    }

    /// Returns the number of open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    /// Returns `/stats`, over a connection that is closed afterwards.
    pub(crate) fn stats(&self) -> serde_json::Value {
        let ask = || {
            let mut stream = TcpStream::connect(self.admin)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET /stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        let text = ask().unwrap_or_default();
        let json = text.find("\r\n\r\n").map_or("", |at| &text[at..]);
        serde_json::from_str(json.trim()).unwrap_or_default()
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A source of random choices (xorshift64*).
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Makes a source from a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `sides`.
    pub(crate) fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }

    /// Returns true with this chance in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}
