//! The real binary as a child process, for tests of signals, memory and exit codes.

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
    /// The folder with the configuration, which a successor shares.
    folder: Arc<TempDir>,
}

impl Process {
    /// Starts `larder serve` in front of `origin` with a configuration of these lines (tables other
    /// than `[origin]` and `[admin]`), and returns once it accepts connections.
    #[track_caller]
    pub(crate) fn serve(origin: &Origin, lines: &str) -> Self {
        Self::serve_under("true", origin, lines)
    }

    /// Starts Larder in a shell that has run `before`, such as a limit for the process to inherit.
    #[track_caller]
    pub(crate) fn serve_under(before: &str, origin: &Origin, lines: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        configure(&folder, lines);
        Self::start(before, origin, folder, &[], Stdio::null())
    }

    /// Starts Larder as systemd does when it holds the socket: as descriptor 3, with the
    /// environment variables that say so.
    #[track_caller]
    pub(crate) fn activated(origin: &Origin, lines: &str, socket: TcpListener) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        configure(&folder, lines);
        let before = "exec 3<&0 </dev/null && export LISTEN_FDS=1 LISTEN_PID=$$";
        Self::start(before, origin, folder, &[], OwnedFd::from(socket).into())
    }

    /// Starts a second Larder with the same configuration, to take this one's place.
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

        // Larder prints its addresses on standard error: `… on http://127.0.0.1:1234 …`, then the
        // admin side likewise.
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
        let next = || addresses.recv_timeout(BOUND).expect("larder serve prints its addresses");
        let (addr, admin) = (next(), next());
        Self { child, addr, admin, stderr: Some(stderr), stdout: Some(stdout), folder }
    }

    /// Replaces the configuration by these lines, as editors do: by renaming. The process is not
    /// notified.
    pub(crate) fn configure(&self, lines: &str) {
        configure(&self.folder, lines);
    }

    /// Returns the folder that the process runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Reloads the configuration. Returns the status and the report.
    pub(crate) fn reload(&self) -> (u16, Value) {
        let response = self.admin().exchange("POST", "/reload", &[], b"");
        (response.status(), serde_json::from_slice(&response.body).unwrap())
    }

    /// Tells whether the process has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Returns the address of the proxy's port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the address of the admin side.
    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// Connects to the proxy's port.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Connects to the admin side.
    pub(crate) fn admin(&self) -> Client {
        Client::connect(self.admin).host(&self.admin.to_string())
    }

    /// Returns `/stats`.
    pub(crate) fn stats(&self) -> Value {
        let response = self.admin().get("/stats");
        serde_json::from_slice(&response.body).unwrap()
    }

    /// Returns a figure of `/proc/…/status` in bytes: `VmRSS` is the resident memory, `VmHWM` its
    /// peak.
    pub(crate) fn memory(&self, figure: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Sends SIGTERM, as an operator or a supervisor does.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
    }

    /// Waits until the process has ended. Returns its exit status and its standard output.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        eventually("larder serve ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let stdout = self.stdout.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        (status.expect("larder serve ended in time"), stdout)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let written = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        if std::thread::panicking() {
            eprintln!("standard error of larder serve:\n{written}");
        }
    }
}

/// The file name of the configuration.
const FILE: &str = "larder.toml";

fn configure(folder: &TempDir, lines: &str) {
    let (draft, file) = (folder.path().join("draft.toml"), folder.path().join(FILE));
    std::fs::write(&draft, format!("listen = \"127.0.0.1:0\"\nadmin.listen = \"127.0.0.1:0\"\n{lines}\n")).unwrap();
    std::fs::rename(draft, file).unwrap();
}

fn address(text: &str) -> Option<SocketAddr> {
    text.split(|c: char| c == '/' || c.is_whitespace()).next()?.parse().ok()
}

/// The result of a command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// Standard output and standard error together.
    pub(crate) output: String,
}

/// Runs `larder` with these arguments until it ends.
pub(crate) fn run(arguments: &[&str]) -> Ran {
    ran(Stdio::null(), arguments)
}

/// Runs `larder` with these arguments, and the file at `input` on its standard input, until it
/// ends.
pub(crate) fn run_with(input: &Path, arguments: &[&str]) -> Ran {
    ran(std::fs::File::open(input).unwrap().into(), arguments)
}

fn ran(input: Stdio, arguments: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(LARDER).current_dir(folder.path()).args(arguments).stdin(input).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code(), output: String::from_utf8_lossy(&text).into_owned() }
}
