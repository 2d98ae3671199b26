//! The URLs whose responses were found to differ by user although nothing in them says so.
//!
//! They form a short list behind one lock. It is written only when such a response is found, which
//! is rare, since the key is passed for a while after that. A new URL replaces the one that was
//! found longest ago.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::stored::DifferingCredentials;

/// The most URLs that are listed: enough for a person who fixes the app, since that fixes a pattern
/// and not each URL.
const URLS_MAX: usize = 100;

/// The most bytes of a URL that are kept.
const URL_BYTES_MAX: usize = 1024;

/// A URL whose responses were found to differ by user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferingUrlRow {
    /// The canonical URL, cut to its first 1,024 bytes.
    pub url: String,
    /// The number of times that it was found.
    pub times: u64,
    /// The fields in which requests differed that got different responses, of all times together.
    pub differing: DifferingCredentials,
}

/// The findings since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonalisedSnapshot {
    /// The number of times that a stored body was found to be one user's.
    pub found: u64,
    /// The URLs, the latest first; at most 100.
    pub urls: Vec<DifferingUrlRow>,
}

/// The list of URLs.
#[derive(Debug, Default)]
pub(super) struct PersonalisedRegister {
    /// Guards the number of findings and the list, the latest last. Nothing awaits under it.
    list: Mutex<(u64, VecDeque<DifferingUrlRow>)>,
}

impl PersonalisedRegister {
    /// Records that a response for `url` was found to differ by user.
    pub(super) fn record(&self, url: &str, differing: DifferingCredentials) {
        let url = &url[..url.floor_char_boundary(URL_BYTES_MAX)];
        let mut list = self.list.lock();
        let (found, urls) = &mut *list;
        *found += 1;
        let known = urls.iter().position(|known| known.url == url).and_then(|at| urls.remove(at));
        let mut row = known.unwrap_or_else(|| DifferingUrlRow {
            url: url.to_owned(),
            times: 0,
            differing: DifferingCredentials::default(),
        });
        row.times += 1;
        row.differing.cookie |= differing.cookie;
        row.differing.authorization |= differing.authorization;
        if urls.len() == URLS_MAX {
            urls.pop_front();
        }
        urls.push_back(row);
    }

    /// Copies the list.
    pub(super) fn snapshot(&self) -> PersonalisedSnapshot {
        let list = self.list.lock();
        PersonalisedSnapshot { found: list.0, urls: list.1.iter().rev().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: DifferingCredentials = DifferingCredentials { cookie: true, authorization: false };

    #[test]
    fn the_list_is_bounded_and_the_last_found_is_first() {
        let register = PersonalisedRegister::default();
        for nth in 0..URLS_MAX + 10 {
            register.record(&format!("http://h/{nth}"), COOKIE);
        }
        register.record("http://h/50", DifferingCredentials { cookie: false, authorization: true });
        let found = register.snapshot();
        assert_eq!((found.found, found.urls.len()), (URLS_MAX as u64 + 11, URLS_MAX));
        let differing = DifferingCredentials { cookie: true, authorization: true };
        assert_eq!(found.urls[0], DifferingUrlRow { url: "http://h/50".into(), times: 2, differing });
        assert_eq!(found.urls[99].url, "http://h/10");
    }

    #[test]
    fn a_long_url_is_cut() {
        let register = PersonalisedRegister::default();
        register.record(&format!("http://h/{}", "x".repeat(URL_BYTES_MAX)), COOKIE);
        assert_eq!(register.snapshot().urls[0].url.len(), URL_BYTES_MAX);
    }
}
