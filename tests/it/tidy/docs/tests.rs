//! Small pages, each with one link or one name.

use super::*;

const NONE: [usize; 0] = [];

/// The lines of `page`, at `path` in a small repository, that are reported.
fn check(path: &str, page: &str) -> Vec<usize> {
    let files = [
        ("config.toml", ""),
        ("tests/run", ""),
        ("src/lib.rs", ""),
        ("src/proxy/serve.rs", ""),
        ("src/docs/purging.md", "# Purging\n\n## By tag, and by *path*\n\n## Twice\n\n## Twice\n"),
    ];
    let tree = Tree::of(&[&files[..], &[(path, page)]].concat());
    violations(&tree).into_iter().filter(|found| found.path == path).map(|found| found.line).collect()
}

#[test]
fn a_link_to_nothing_is_found() {
    let dead = [
        "[a](nothing.md)",
        "[a](src/docs/nothing.md)",
        "![a](src/docs/a.svg)",
        "[a](src/docs/purging.md#by-key)",
        "[a](#no-such-heading)",
        "[a](../outside.md)",
        "[a]: src/docs/nothing.md",
        "[a][nothing]",
        "[`a`](nothing.rs \"title\")",
    ];
    for link in dead {
        assert_eq!(check("README.md", &format!("# Title\n\nSee {link} for more.").replace("See [a]:", "[a]:")), [3]);
    }
    assert_eq!(check("src/docs/watching.md", "[a](src/docs/purging.md)"), [1], "links start at their page's folder");
    assert_eq!(check("src/docs/watching.md", "See [purging]."), [1], "a page's name without a definition");
}

#[test]
fn a_link_to_something_is_fine() {
    let alive = [
        "[a](src/docs/purging.md)",
        "[a](src/docs/purging.md#by-tag-and-by-path)",
        "[a](src/docs/purging.md#twice-1)",
        "[a](src/docs)",
        "[a](#title)",
        "[a](https://example.com/nothing.md)",
        "[a](crate::proxy::serve)",
        "[a]: ./config.toml",
        "`[a](nothing.md)`",
        "[server] and `[site]`",
    ];
    for link in alive {
        assert_eq!(check("README.md", &format!("# Title\n\n{link}\n")), NONE, "{link}");
    }
    assert_eq!(check("src/docs/watching.md", "[purging] and [this][purging]\n\n[purging]: purging.md"), NONE);
    assert_eq!(check("README.md", "```md\n[a](nothing.md)\n```\n"), NONE, "examples are no links");
}

#[test]
fn a_name_of_no_file_is_found() {
    for name in ["proxy/gone.rs", "gone.toml", "src/gone", "tests/walk", "proxy/gone/", ".github/GONE.md"] {
        assert_eq!(check("README.md", &format!("Read\n`{name}`.")), [2], "{name}");
        assert_eq!(check("src/key.rs", &format!("fn f() {{}}\n/// Read `{name}`.")), [2], "{name} in a comment");
    }
    assert_eq!(check("README.md", "Type `cargo run -- --config gone.toml`."), [1], "in a command");
    assert_eq!(check("README.md", "`nothing/*.rs`"), [1], "a pattern in no folder");
}

#[test]
fn a_name_of_a_file_is_fine() {
    let names = [
        "config.toml",
        "proxy/serve.rs",
        "src/proxy/serve.rs",
        "proxy/serve.rs:12",
        "proxy/serve.rs::serve",
        "run",
        "tests/run --all",
        "src/docs/*.md",
        "proxy/",
        "/etc/larder/site.toml",
        "text/html",
        "10.0.0.0/8",
        ".rs",
        "mod.rs",
        "<name>.rs",
        "https://example.com/a.js",
    ];
    for name in names {
        assert_eq!(check("README.md", &format!("`{name}`")), NONE, "{name}");
    }
    assert_eq!(check("src/docs/watching.md", "`purging.md`"), NONE, "beside the page");
    assert_eq!(check("README.md", "[`gone.rs`](https://example.com/gone.rs)"), NONE, "another site's file");
    assert_eq!(check("README.md", "```\ncat gone.toml\n```\nand gone.toml"), NONE, "not in code style");
}
