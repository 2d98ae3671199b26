//! Soak runs of minutes: Larder as a process under sustained faults. Each run prints a small table,
//! and exits with 1 when a promise is broken.
//!
//! ```text
//! cargo bench --bench soak -- mixed [SECONDS] [CONNECTIONS]   default 600 and 1000
//! cargo bench --bench soak -- slow [SECONDS]                  default 30
//! cargo bench --bench soak -- floods [SECONDS]                default 10, for each flood
//! cargo bench --bench soak -- purge [ENTRIES]                 default 1000000; takes 2 GB
//! ```
//!
//! All but the last need two open files per connection: `ulimit -n 8192` is enough.

mod floods;
mod mixed;
mod process;
mod purge;
mod slow;

use std::process::ExitCode;

fn main() -> ExitCode {
    // cargo passes `--bench` along.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let number = |at: usize, default: u64| {
        arguments.get(at).map_or(Some(default), |argument| argument.parse().ok()).filter(|number| *number > 0)
    };
    let mode = arguments.first().map_or("", String::as_str);
    let default = match mode {
        "mixed" => 600,
        "slow" => 30,
        "purge" => 1_000_000,
        _ => 10,
    };
    let broken = match (mode, number(1, default), number(2, 1_000)) {
        ("mixed", Some(seconds), Some(connections)) => mixed::run(seconds, connections as usize),
        ("slow", Some(seconds), _) => slow::run(seconds),
        ("floods", Some(seconds), _) => floods::run(seconds),
        ("purge", Some(entries), _) => purge::run(entries),
        _ => {
            eprintln!(
                "usage: soak mixed [SECONDS] [CONNECTIONS] | slow [SECONDS] | floods [SECONDS] | purge [ENTRIES]"
            );
            return ExitCode::from(2);
        }
    };
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
