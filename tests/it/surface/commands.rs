//! Commands and flags, read off the short help of the binary.

use super::{Items, check};
use crate::harness::process::run;

#[test]
fn commands_and_flags() {
    let mut items = Items::new();
    walk(&mut vec![], &mut items);
    check("commands.txt", &items);
}

/// Adds the items of a command and of all commands below it.
fn walk(words: &mut Vec<String>, items: &mut Items) {
    let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    arguments.push("-h");
    let ran = run(&arguments);
    let command = [&["larder".to_owned()], &words[..]].concat().join(" ");
    assert_eq!(ran.code, Some(0), "{command} -h: {}", ran.output);
    let help = Help::read(&ran.output);
    assert!(!help.usage.is_empty(), "{command} -h has no usage: {}", ran.output);
    items.insert(format!("{command}: {}", help.usage));
    items.extend(help.flags.iter().map(|flag| format!("{command}: {flag}")));
    // `help` is clap's own, and repeats all the others.
    for name in help.commands.into_iter().filter(|name| name != "help") {
        words.push(name);
        walk(words, items);
        words.pop();
    }
}

/// The names in a help text.
#[derive(Debug, Default)]
struct Help {
    usage: String,
    commands: Vec<String>,
    /// Flags and arguments as they are written, each with its notes in brackets.
    flags: Vec<String>,
}

impl Help {
    /// Reads a text as clap lays it out: a heading at the margin, an item a line below,
    /// descriptions far to the right.
    fn read(text: &str) -> Self {
        let (mut help, mut heading) = (Self::default(), String::new());
        let mut flags: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            let indent = line.len() - line.trim_start().len();
            let (item, description) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
            if let Some(usage) = line.strip_prefix("Usage: ") {
                help.usage = format!("Usage: {usage}");
            } else if indent == 0 {
                heading = line.trim_end_matches(':').to_owned();
            } else if heading == "Commands" && indent == 2 {
                help.commands.push(item.to_owned());
            } else if heading != "Commands" && indent <= 6 && item.starts_with(['-', '<', '[']) {
                flags.push((item.to_owned(), description.to_owned()));
            } else if let Some((_, description)) = flags.last_mut() {
                description.push_str(&format!(" {}", line.trim()));
            }
        }
        help.flags = flags.iter().map(|(item, description)| format!("{item}{}", notes(description))).collect();
        help
    }
}

/// Returns the notes that clap adds to a description: `[default: …]`, `[possible values: …]`,
/// `[env: …]`. A default that has a space in it is a sentence.
fn notes(description: &str) -> String {
    let notes = description.split('[').skip(1).filter_map(|rest| rest.split_once(']'));
    let is_kept = |note: &&str| match note.split_once(": ") {
        Some(("default", value)) => !value.contains(' '),
        Some(("possible values" | "env" | "aliases" | "short aliases", _)) => true,
        _ => false,
    };
    notes.map(|(note, _)| note).filter(is_kept).map(|note| format!(" [{note}]")).collect()
}

#[test]
fn names_are_read_and_prose_is_left_out() {
    let help = Help::read(
        "Says a thing\n\nUsage: larder say [OPTIONS] <WHAT>\n\nCommands:\n  one  Do one\n       and more\n\nArguments:\n  \
         <WHAT>  The thing [see below]\n\nOptions:\n  -n, --name <NAME>  A name [default:\n                     x]\n      \
         --all          All [default: what the file says]\n",
    );
    assert_eq!(
        (help.usage.as_str(), &help.commands[..]),
        ("Usage: larder say [OPTIONS] <WHAT>", &["one".to_owned()][..])
    );
    assert_eq!(help.flags, ["<WHAT>", "-n, --name <NAME> [default: x]", "--all"]);
}
