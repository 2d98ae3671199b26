//! The keys that need a restart, and the sentences about them after a reload.

use std::collections::BTreeMap;

use super::keys::Settings;
use super::kind::Kind;
use super::visit::Keys;

/// The keys that a reload leaves unchanged: sockets, threads and the map are made once, at startup.
///
/// A test keeps the lists in `config.toml` and in the user's guide equal to this one.
pub(super) const FIXED: [&str; 14] = [
    "listen",
    "reload_on_change",
    "server.workers",
    "server.connections_max",
    "server.upgrade_socket",
    "memory.capacity",
    "memory.ledger_max",
    "cache.soft_max",
    "admin.listen",
    "admin.connections_max",
    "admin.token",
    "admin.token_file",
    "log.format",
    "traces.endpoint",
];

/// Every key with its printed value; empty if it is not set.
#[derive(Default)]
struct KeyValues {
    path: String,
    values: BTreeMap<String, String>,
}

impl KeyValues {
    fn of(checked: &Settings) -> BTreeMap<String, String> {
        let mut values = Self::default();
        checked.clone().keys(&mut values);
        values.values
    }
}

impl Keys for KeyValues {
    fn key<T: 'static>(&mut self, name: &'static str, value: &mut T, kind: Kind<T>) {
        let value = kind.print(value).map_or_else(String::new, |value| value.to_string());
        self.values.insert(format!("{}{name}", self.path), value);
    }

    fn table(&mut self, name: &'static str, body: impl FnOnce(&mut Self)) {
        let outer = self.path.clone();
        self.path = format!("{outer}{name}.");
        body(self);
        self.path = outer;
    }

    /// Does nothing: no key of a list needs a restart.
    fn tables<T: Default>(&mut self, _: &'static str, _: &mut Vec<T>, _: usize, _: impl Fn(&mut T, &mut Self)) {}
}

/// Lists the keys of `fresh` that differ from `running`, the settings at startup, and need a
/// restart.
pub(super) fn needed(running: &Settings, fresh: &Settings) -> Vec<String> {
    // A secret must not be shown, so it is compared by itself and reported without its values.
    let secret = (running.admin.secret() != fresh.admin.secret())
        .then(|| "`admin.token` needs a restart: the token has changed.".to_owned());
    let (running, fresh) = (KeyValues::of(running), KeyValues::of(fresh));
    let shown = |value: Option<&String>| value.filter(|value| !value.is_empty()).cloned().unwrap_or("not set".into());
    let differs = FIXED.iter().filter(|&&key| key != "admin.token" && running.get(key) != fresh.get(key));
    differs
        .map(|&key| {
            let (was, is) = (shown(running.get(key)), shown(fresh.get(key)));
            format!("`{key}` needs a restart: still {was}, the file has {is}.")
        })
        .chain(secret)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fixed_key_exists() {
        let values = KeyValues::of(&Settings::default());
        assert!(FIXED.iter().all(|key| values.contains_key(*key)), "{values:?}");
    }

    #[test]
    fn only_fixed_keys_that_differ_are_reported() {
        let running = Settings::default();
        let mut fresh = Settings::default();
        fresh.cache.keep *= 2;
        assert_eq!(needed(&running, &fresh), [""; 0]);
        fresh.memory.capacity = 1 << 30;
        fresh.server.workers = Some(3);
        assert_eq!(
            needed(&running, &fresh),
            [
                "`server.workers` needs a restart: still \"auto\", the file has 3.",
                "`memory.capacity` needs a restart: still \"256MiB\", the file has \"1GiB\".",
            ]
        );
    }

    /// Returns the words in backticks of `text`, in order.
    fn quoted(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn the_reference_lists_the_keys_that_need_a_restart() {
        let text = include_str!("../../config.toml");
        let (_, list) = text.split_once("These keys need a restart:").expect("config.toml lists the keys");
        // The list ends with its comment.
        let list: Vec<_> = list.lines().enumerate().take_while(|(n, line)| *n == 0 || line.starts_with('#')).collect();
        let list: String = list.into_iter().map(|(_, line)| line).collect();
        assert_eq!(quoted(&list), FIXED, "the comment on `reload_on_change` in config.toml");
    }

    /// The guide has one line, a row of a table, that names all of these keys and no others.
    #[test]
    fn the_guide_lists_the_keys_that_need_a_restart() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = ["src/docs/operating.md", "README.md"].map(|page| root.join(page));
        let page = pages.iter().find(|page| page.exists()).expect("there is a guide");
        let text = std::fs::read_to_string(page).unwrap();
        let mut rows = text.lines().filter(|line| line.starts_with('|') && line.contains("`reload_on_change`"));
        let row = rows.next().unwrap_or_else(|| panic!("{} has no list of keys that need a restart", page.display()));
        assert_eq!(quoted(row), FIXED, "{}", page.display());
        assert_eq!(rows.next(), None, "{} has a second list", page.display());
    }
}
