//! Watching from the command line: `larder stats --watch`, and `larder top` without a terminal.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::harness::process::{LARDER, run};
use crate::harness::{Cache, Origin, Reply, eventually};

/// A command that runs until it is killed. Dropping it kills it.
struct WatchProcess(Child);

impl Drop for WatchProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn stats_are_printed_again_until_ctrl_c() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let admin = cache.admin_addr().to_string();
    let mut command = Command::new(LARDER);
    command.args(["stats", "--watch", "1", "--admin", &admin]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut watching = WatchProcess(command.spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut pages = || {
        lines.find(|line| line.starts_with("Larder ") && line.ends_with(", ready")).expect("a page begins");
        lines.find(|line| line.contains("│ requests ")).expect("and has figures")
    };
    assert!(pages().contains(" 0 "));
    cache.get("/");
    eventually("the page counts the request", || pages().contains(" 1 "));
    assert!(Command::new("kill").args(["-INT", &watching.0.id().to_string()]).status().unwrap().success());
    assert_eq!(watching.0.wait().unwrap().code(), Some(0));
    let nobody = run(&["stats", "--watch", "--admin", "127.0.0.1:1"]);
    assert!(nobody.code == Some(1) && nobody.output.contains("is Larder running"), "{nobody:?}");
}

#[test]
fn top_without_a_terminal_says_what_to_do() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let ran = run(&["top", "--admin", &cache.admin_addr().to_string()]);
    let wanted =
        if cfg!(feature = "tui") { "needs a terminal" } else { "\n    cargo build --release --features tui\n" };
    assert!(ran.code == Some(1) && ran.output.contains(wanted), "{ran:?}");
}
