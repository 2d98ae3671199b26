//! What takes minutes to show: Larder as a process under an hour's worth of mishaps. Two runs, each of which prints a small
//! table and exits with 1 when a promise is broken.
//!
//! ```text
//! cargo bench --bench soak -- mixed [SECONDS] [CONNECTIONS]   default 600 and 1000
//! cargo bench --bench soak -- slow [SECONDS]                  default 30
//! ```
//!
//! Both need two open files per connection: `ulimit -n 8192` is enough.

mod mixed;
mod process;
mod slow;

use std::process::ExitCode;

fn main() -> ExitCode {
    // cargo passes `--bench` along.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default: u64| {
        arguments.get(at).map_or(Some(default), |argument| argument.parse().ok()).filter(|number| *number > 0)
    };
    let broken = match (arguments.first().map(String::as_str), number(1, 600), number(1, 30), number(2, 1_000)) {
        (Some("mixed"), Some(seconds), _, Some(connections)) => mixed::run(seconds, connections as usize),
        (Some("slow"), _, Some(seconds), _) => slow::run(seconds),
        _ => {
            eprintln!("usage: soak mixed [SECONDS] [CONNECTIONS] | soak slow [SECONDS]");
            return ExitCode::from(2);
        }
    };
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
