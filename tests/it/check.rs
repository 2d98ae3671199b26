//! `larder check` on broken configurations: each problem is reported with file, line, key, the
//! fault and the allowed range.

use std::path::Path;

use crate::harness::process;

#[test]
fn every_broken_configuration_gets_its_own_report() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/broken");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(files.len() >= 15, "{} files", files.len());
    for file in &files {
        let path = file.to_str().unwrap();
        let ran = process::run(&["check", "--config", path]);
        assert_eq!(ran.code, Some(1), "{path}: {}", ran.output);
        // Compiler style: `--> file:line:column`.
        let place = ran.output.split(path).nth(1).unwrap_or_else(|| panic!("{path} is not named: {}", ran.output));
        let line = place.strip_prefix(':').and_then(|rest| rest.split(':').next()).and_then(|line| line.parse().ok());
        let line: usize = line.unwrap_or_else(|| panic!("{path}: no line: {}", ran.output));
        let text = std::fs::read_to_string(file).unwrap();
        let shown = text.lines().nth(line - 1).unwrap_or_else(|| panic!("{path} has no line {line}"));
        assert!(ran.output.contains(shown.trim()), "{path}: line {line} is not shown: {}", ran.output);
        // The key is the name before the equals sign, or the name of the table.
        let key = shown.split('=').next().unwrap_or_default().trim().trim_matches(['[', ']']);
        assert!(ran.output.contains(key), "{path}: `{key}` is not named: {}", ran.output);
        let is_syntax = path.ends_with("syntax.toml") || path.ends_with("duplicate_key.toml");
        assert!(is_syntax || ran.output.contains("allowed"), "{path}: the allowed values are missing: {}", ran.output);
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/broken/many_at_once.toml");
    let ran = process::run(&["check", "--config", file]);
    for part in ["localhost:8080", "htpps", "workers", "capcity", "stale_if_error", "0s", "did you mean"] {
        assert!(ran.output.contains(part), "{part}: {}", ran.output);
    }
}

#[test]
fn the_reference_configuration_is_valid_and_lists_what_is_missing() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let ran = process::run(&["check", "--config", file]);
    assert_eq!(ran.code, Some(0), "{}", ran.output);
    assert!(ran.output.contains("origin.url"), "a note says that there is no origin: {}", ran.output);
    let ran = process::run(&["serve", "--config", file]);
    assert_eq!(ran.code, Some(1), "{}", ran.output);
    assert!(ran.output.contains("--origin http://"), "the note says what to type: {}", ran.output);
}

#[test]
fn pages_are_made_from_the_definition() {
    let check = |arguments: &[&str], parts: &[&str]| {
        let ran = process::run(arguments);
        assert_eq!(ran.code, Some(0), "{}", ran.output);
        for part in parts {
            assert!(ran.output.contains(part), "{part:?} is not in {arguments:?}: {}", ran.output);
        }
    };
    check(&["man"], &[".TH larder 1", "serve", "completions"]);
    check(&["man", "serve"], &[".TH larder-serve 1", "takeover", "\\-\\-origin"]);
    for shell in ["bash", "zsh", "fish"] {
        check(&["completions", shell], &["larder", "takeover", "completions"]);
    }
    check(&["schema"], &["\"$schema\"", "\"upgrade_socket\"", "\"heuristic_fraction\""]);
    check(&["service"], &["Type=notify", "ExecStart=/usr/local/bin/larder serve", "NoNewPrivileges=yes"]);
    let ran = process::run(&["man", "sevre"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.output.contains("serve, check, demo"), "{}", ran.output);
}
