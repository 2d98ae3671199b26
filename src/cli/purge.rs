//! `larder purge`: has a running Larder purge URLs, prefixes, hosts, tags or everything.

use std::fmt::Write as _;

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{AdminArgs, AdminClient};
use super::print::say;

/// What to purge, and how.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["urls", "prefixes", "hosts", "tags", "all"]))]
pub(super) struct PurgeArgs {
    /// URLs as clients ask for them, with scheme and host
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Everything below a path: example.org/shop/ (not /shop itself, not /shopping)
    #[arg(long = "prefix", value_name = "HOST/PATH")]
    prefixes: Vec<String>,
    /// Everything of a host
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Everything that the app tagged so (Surrogate-Key, Cache-Tag, xkey, Cache-Groups)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["urls", "prefixes", "hosts", "tags"])]
    all: bool,
    /// Serve it stale while one request refreshes it, and for no longer than `soft_max`
    #[arg(long)]
    soft: bool,
    /// Ask the app whether it still holds before it is served again
    #[arg(long, conflicts_with = "soft")]
    validate: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What the admin side answers.
#[derive(Debug, Deserialize)]
struct PurgeReply {
    purged: u64,
    sequence: u64,
    entries: Option<u64>,
    swept: Option<String>,
}

/// Purges, and says what became of it.
///
/// # Errors
/// An admin side that cannot be reached, refuses, or answers with something else.
pub(super) fn run(args: &PurgeArgs) -> anyhow::Result<()> {
    let admin = args.admin.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(purge(&admin, &content(args)))?;
    say(format_args!("{}", reply_text(&answer)));
    Ok(())
}

async fn purge(admin: &AdminClient, content: &Value) -> anyhow::Result<PurgeReply> {
    let text = admin.post("/purge", content).await?;
    serde_json::from_str(&text).with_context(|| admin.unlike("/purge", "what a purge comes to", &text))
}

/// Makes the purge as the admin side reads it.
fn content(args: &PurgeArgs) -> Value {
    let kind = match (args.soft, args.validate) {
        (true, _) => "soft",
        (false, true) => "validate",
        (false, false) => "hard",
    };
    let mut content = json!({ "kind": kind });
    let lists = [("urls", &args.urls), ("prefixes", &args.prefixes), ("hosts", &args.hosts), ("tags", &args.tags)];
    for (name, list) in lists {
        if !list.is_empty() {
            content[name] = json!(list);
        }
    }
    if args.all {
        content["all"] = json!(true);
    }
    content
}

fn reply_text(answer: &PurgeReply) -> String {
    let noun = if answer.purged == 1 { "selector" } else { "selectors" };
    let mut message = format!("Purged {} {noun}, up to number {}.", answer.purged, answer.sequence);
    if let Some(entries) = answer.entries {
        let _ = write!(message, " The URLs had {entries} stored.");
    }
    if answer.swept.is_some() {
        let _ = write!(
            message,
            " From now on none of it is served as fresh; what it frees is freed when `purges … swept` of `larder stats` \
             has reached that number."
        );
    }
    message
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn args(line: &str) -> Result<PurgeArgs, String> {
        match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Purge(args)) => Ok(args),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn flags_become_one_purge() {
        let check = |line: &str, expected: Value| assert_eq!(content(&args(line).unwrap()), expected, "{line}");
        check("larder purge http://a/ http://b/", json!({ "kind": "hard", "urls": ["http://a/", "http://b/"] }));
        check(
            "larder purge --soft --tag a --tag b --prefix a/x/ --host c",
            json!({ "kind": "soft", "tags": ["a", "b"], "prefixes": ["a/x/"], "hosts": ["c"] }),
        );
        check("larder purge --all --validate", json!({ "kind": "validate", "all": true }));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in ["larder purge", "larder purge --all --tag a", "larder purge --soft --validate --all"] {
            assert!(args(line).is_err(), "{line}");
        }
    }

    #[test]
    fn it_says_what_became_of_it() {
        let answer = |text: &str| reply_text(&serde_json::from_str(text).unwrap());
        let one = answer(r#"{"purged": 1, "sequence": 7, "entries": 2}"#);
        assert_eq!(one, "Purged 1 selector, up to number 7. The URLs had 2 stored.");
        let wide = answer(r#"{"purged": 2, "sequence": 8, "entries": null, "swept": "pending", "watch": "…"}"#);
        assert!(wide.starts_with("Purged 2 selectors, up to number 8. From now on"), "{wide}");
    }
}
