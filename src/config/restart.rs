//! Which keys wait for a restart, and what is said where a reload finds them changed.

use std::collections::BTreeMap;

use super::keys::Settings;
use super::kind::Kind;
use super::visit::Keys;

/// The keys that a reload leaves as they are: sockets, threads and the map are made once, at the start.
pub(super) const FIXED: [&str; 13] = [
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
    "admin.token_file",
    "log.format",
    "traces.endpoint",
];

/// Every key with its value as it is printed; empty where it is not set.
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

    /// No key of a list is fixed.
    fn tables<T: Default>(&mut self, _: &'static str, _: &mut Vec<T>, _: usize, _: impl Fn(&mut T, &mut Self)) {}
}

/// Says which keys of `fresh` differ from what `running` was started with and wait for a restart: a sentence each.
pub(super) fn needed(running: &Settings, fresh: &Settings) -> Vec<String> {
    // What a secret was and is must not be told, so it is not among the values.
    let secret = (running.admin.secret() != fresh.admin.secret())
        .then(|| "The token of [admin] stays what it was until Larder is started again.".to_owned());
    let (running, fresh) = (KeyValues::of(running), KeyValues::of(fresh));
    let shown = |value: Option<&String>| value.filter(|value| !value.is_empty()).cloned().unwrap_or("not set".into());
    let differs = FIXED.iter().filter(|&&key| running.get(key) != fresh.get(key));
    differs
        .map(|&key| {
            let (was, is) = (shown(running.get(key)), shown(fresh.get(key)));
            format!("`{key}` stays {was} until Larder is started again; the file says {is}.")
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
    fn only_fixed_keys_that_differ_are_told() {
        let running = Settings::default();
        let mut fresh = Settings::default();
        fresh.cache.keep *= 2;
        assert_eq!(needed(&running, &fresh), [""; 0]);
        fresh.memory.capacity = 1 << 30;
        fresh.server.workers = Some(3);
        assert_eq!(
            needed(&running, &fresh),
            [
                "`server.workers` stays \"auto\" until Larder is started again; the file says 3.",
                "`memory.capacity` stays \"256MiB\" until Larder is started again; the file says \"1GiB\".",
            ]
        );
    }
}
