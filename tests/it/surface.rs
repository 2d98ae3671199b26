//! The surface: every name that a user's script may depend on, compared with a recorded snapshot.
//!
//! A snapshot is a text file in `tests/it/surface`, one item a line, sorted. The files hold names,
//! types, defaults, ranges and tokens. Sentences (help texts, descriptions, reasons' explanations)
//! stay out, so that prose may change.
//!
//! - `commands.txt`: `larder … -h` of the binary, every command
//! - `config.txt`: `larder schema`, and `larder check` on an empty file
//! - `tokens.txt`: outcomes; reasons with Cache-Status and Proxy-Status of a real request; fields
//! - `access_log.txt`: lines of the three formats
//! - `metrics.txt`: `/metrics` of a running cache: names, types, labels and their closed values
//! - `admin.txt`: the admin side's paths, methods and bodies, content types, event names, alerts
//! - `json.txt`: the paths and types of all JSON in responses of the admin side and to PURGE
//!
//! The attributes of trace spans are not here: `traces/otlp.rs` names each of them.
//!
//! A difference fails the test, on a developer's machine and in CI alike. Where the change is
//! intended, this command records the new surface, and the snapshot's diff belongs in the same
//! commit:
//!
//! ```text
//! LARDER_UPDATE_SNAPSHOTS=1 cargo test --profile tests --all-features --test it surface
//! ```

mod admin;
mod commands;
mod config;
mod requests;
mod shape;

use std::collections::BTreeSet;
use std::path::Path;

/// The variable that records the surface in place of comparing it.
const UPDATE: &str = "LARDER_UPDATE_SNAPSHOTS";

/// The command that records the surface.
const UPDATE_COMMAND: &str = "LARDER_UPDATE_SNAPSHOTS=1 cargo test --profile tests --all-features --test it surface";

/// The items of one snapshot: a line each.
type Items = BTreeSet<String>;

/// Compares `found` with the snapshot `name`, or records it where [`UPDATE`] is set.
#[track_caller]
fn check(name: &str, found: &Items) {
    assert!(!found.is_empty() && found.iter().all(|item| !item.contains('\n')), "{name}: {found:?}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/surface").join(name);
    if std::env::var_os(UPDATE).is_some() {
        let text: String = found.iter().map(|item| format!("{item}\n")).collect();
        return std::fs::write(file, text).unwrap();
    }
    let recorded = std::fs::read_to_string(&file).unwrap_or_default();
    if let Some(difference) = difference(&recorded, found) {
        panic!(
            "tests/it/surface/{name} differs from what Larder shows (-: recorded, +: found):\n{difference}\n\
             Users' scripts may depend on these names. Where the change is intended, type:\n    {UPDATE_COMMAND}"
        );
    }
}

/// Returns the lines that only one side has; `None` where both have the same.
fn difference(recorded: &str, found: &Items) -> Option<String> {
    let recorded: Items = recorded.lines().map(str::to_owned).collect();
    let gone = recorded.difference(found).map(|item| format!("- {item}"));
    let new = found.difference(&recorded).map(|item| format!("+ {item}"));
    let lines: Vec<String> = gone.chain(new).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[test]
fn a_difference_lists_the_lines_of_each_side() {
    let found = Items::from(["listen".to_owned(), "mode".to_owned()]);
    assert_eq!(difference("listen\nmode\n", &found), None);
    assert_eq!(difference("listen\nmodes\n", &found).as_deref(), Some("- modes\n+ mode"));
    assert_eq!(difference("", &found).as_deref(), Some("+ listen\n+ mode"));
}
