//! The real binary as a process of its own: for what only a process has (signals, memory, exit codes).

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use super::{BOUND, Client, Origin, eventually};

/// The binary that was built with these tests.
pub(crate) const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// A running `larder serve`. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    addr: SocketAddr,
    admin: SocketAddr,
    stderr: Option<JoinHandle<String>>,
    stdout: Option<JoinHandle<String>>,
    /// Holds the configuration; a successor reads the same.
    folder: Arc<TempDir>,
}

impl Process {
    /// Starts `larder serve` in front of `origin` with a configuration of these lines (tables but `[origin]` and
    /// `[admin]`), and returns once it accepts.
    #[track_caller]
    pub(crate) fn serve(origin: &Origin, lines: &str) -> Self {
        Self::serve_under("true", origin, lines)
    }

    /// Starts it in a shell that has run `before`: for limits that a process inherits.
    #[track_caller]
    pub(crate) fn serve_under(before: &str, origin: &Origin, lines: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        configure(&folder, lines);
        Self::start(before, origin, folder, &[], Stdio::null())
    }

    /// Starts it as systemd does that holds the socket: as descriptor 3, with the environment that tells so.
    #[track_caller]
    pub(crate) fn activated(origin: &Origin, lines: &str, socket: TcpListener) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        configure(&folder, lines);
        let before = "exec 3<&0 </dev/null && export LISTEN_FDS=1 LISTEN_PID=$$";
        Self::start(before, origin, folder, &[], OwnedFd::from(socket).into())
    }

    /// Starts another with the same configuration, to take this one's place.
    #[track_caller]
    pub(crate) fn successor(&self, origin: &Origin) -> Self {
        Self::start("true", origin, Arc::clone(&self.folder), &["--takeover"], Stdio::null())
    }

    #[track_caller]
    fn start(before: &str, origin: &Origin, folder: Arc<TempDir>, flags: &[&str], stdin: Stdio) -> Self {
        let file = folder.path().join(FILE);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before} && exec \"$0\" \"$@\"")).arg(LARDER);
        command.current_dir(folder.path()).arg("serve").arg("--config").arg(&file);
        command.arg("--origin").arg(format!("http://{}", origin.addr())).args(flags);
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();

        // Standard error names the addresses: `Listening on http://127.0.0.1:1234 …`, then the
        // admin side's likewise.
        let (found, addresses) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(addr) = line.split(" on http://").nth(1).and_then(address) {
                    let _ = found.send(addr);
                }
                text.push_str(&line);
                text.push('\n');
            }
            text
        });
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stdout.read_to_string(&mut text);
            text
        });
        let next = || addresses.recv_timeout(BOUND).expect("larder serve tells where it listens");
        let (addr, admin) = (next(), next());
        Self { child, addr, admin, stderr: Some(stderr), stdout: Some(stdout), folder }
    }

    /// Puts a configuration of these lines in the place of the one before, as editors do: by renaming. It is not told.
    pub(crate) fn configure(&self, lines: &str) {
        configure(&self.folder, lines);
    }

    /// Returns the folder that it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Has it read its configuration again, and returns what it says of that.
    pub(crate) fn reload(&self) -> (u16, Value) {
        let response = self.admin().exchange("POST", "/reload", &[], b"");
        (response.status(), serde_json::from_slice(&response.body).unwrap())
    }

    /// Tells whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Returns where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns where the admin side listens.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Connects to it.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Connects to the admin side.
    pub(crate) fn admin(&self) -> Client {
        Client::connect(self.admin).host(&self.admin.to_string())
    }

    /// Returns what `/stats` says.
    pub(crate) fn stats(&self) -> Value {
        let response = self.admin().get("/stats");
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Returns a figure of `/proc/…/status` in bytes: `VmRSS` is what is resident, `VmHWM` the most there ever was.
    pub(crate) fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Asks it to stop, as an operator or a supervisor does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Waits until it has ended. Returns how, and what it had written to standard output.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("larder serve ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        (status.expect("it has ended"), stdout)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let written = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("larder serve had said:\n{written}");
        }
    }
}

/// The name of the configuration.
const FILE: &str = "larder.toml";

fn configure(folder: &TempDir, lines: &str) {
    let (draft, file) = (folder.path().join("draft.toml"), folder.path().join(FILE));
    std::fs::write(&draft, format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n{lines}\n")).unwrap();
    std::fs::rename(draft, file).unwrap();
}

fn address(text: &str) -> Option<SocketAddr> {
    text.split(|c: char| c == '/' || c.is_whitespace()).next()?.parse().ok()
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// Its standard output and standard error.
    pub(crate) output: String,
}

/// Runs `larder` with these arguments until it ends.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(Stdio::null(), arguments)
}

/// Runs `larder` with the file at `input` on its standard input until it ends.
pub(crate) fn run_with(input: &Path, arguments: &[&str]) -> Ran {
    ran(std::fs::File::open(input).unwrap().into(), arguments)
}

fn ran(input: Stdio, arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(LARDER).current_dir(folder.path()).args(arguments).stdin(input).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code(), output: String::from_utf8_lossy(&text).into_owned() }
}
