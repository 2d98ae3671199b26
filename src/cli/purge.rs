//! `larder purge`: makes a running Larder purge URLs, prefixes, hosts, tags or everything.

use anyhow::Context;
use clap::{ArgGroup, Args};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin_client::{AdminArgs, AdminClient};
use super::print::print_line;

/// The selectors to purge, and the kind of purge.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["urls", "prefixes", "hosts", "tags", "all"]))]
pub(super) struct PurgeArgs {
    /// URLs as clients request them, with scheme and host
    #[arg(value_name = "URL")]
    urls: Vec<String>,
    /// Everything below a path: example.org/shop/ (not /shop itself, not /shopping)
    #[arg(long = "prefix", value_name = "HOST/PATH")]
    prefixes: Vec<String>,
    /// Everything of a host
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Everything with this tag of the app (Surrogate-Key, Cache-Tag, xkey, Cache-Groups)
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Everything
    #[arg(long, conflicts_with_all = ["urls", "prefixes", "hosts", "tags"])]
    all: bool,
    /// Mark as stale: keep serving it (at most `soft_max`) while one request refreshes it
    #[arg(long)]
    soft: bool,
    /// Revalidate with the app before serving it again
    #[arg(long, conflicts_with = "soft")]
    validate: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The response of the admin interface.
#[derive(Debug, Deserialize)]
struct PurgeReply {
    purged: u64,
    sequence: u64,
    entries: Option<u64>,
    swept: Option<String>,
}

/// Purges, and reports the result.
///
/// # Errors
/// An admin interface that cannot be reached, refuses, or answers with something else.
pub(super) fn run(args: &PurgeArgs) -> anyhow::Result<()> {
    let admin = args.admin.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(purge(&admin, &content(args)))?;
    print_line(format_args!("{}", reply_text(&answer)));
    Ok(())
}

async fn purge(admin: &AdminClient, content: &Value) -> anyhow::Result<PurgeReply> {
    let text = admin.post("/purge", content).await?;
    serde_json::from_str(&text).with_context(|| admin.unexpected("/purge", "the result of a purge", &text))
}

/// Writes the purge as the admin interface reads it.
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

/// Returns the report of a purge. Only URLs have a number of entries; a sweep finds the rest.
fn reply_text(answer: &PurgeReply) -> String {
    let selectors = count(answer.purged, "selector");
    match (answer.entries, &answer.swept) {
        (Some(0), None) => "Nothing was cached there.".to_owned(),
        (Some(entries), None) => format!("Purged {}.", count(entries, "cached response")),
        (None, None) => format!("Purged {selectors}."),
        (entries, Some(_)) => {
            let known = entries.map(|entries| format!(" ({} by URL)", count(entries, "cached response")));
            format!(
                "Purged {selectors}{}. Matching responses are no longer served as fresh. A background sweep frees their \
                 memory; it is done when `larder stats` shows at least {} purges swept.",
                known.unwrap_or_default(),
                answer.sequence
            )
        }
    }
}

fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
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
    fn the_result_is_reported() {
        let answer = |text: &str| reply_text(&serde_json::from_str(text).unwrap());
        let one = answer(r#"{"purged": 1, "sequence": 7, "entries": 2}"#);
        assert_eq!(one, "Purged 2 cached responses.");
        assert_eq!(answer(r#"{"purged": 1, "sequence": 7, "entries": 0}"#), "Nothing was cached there.");
        let both = answer(r#"{"purged": 2, "sequence": 8, "entries": 1, "swept": "pending"}"#);
        assert!(both.starts_with("Purged 2 selectors (1 cached response by URL). Matching"), "{both}");
        let wide = answer(r#"{"purged": 2, "sequence": 8, "entries": null, "swept": "pending", "watch": "…"}"#);
        assert!(wide.starts_with("Purged 2 selectors. Matching responses are no longer served as fresh."), "{wide}");
    }
}
