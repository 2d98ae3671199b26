//! The fields of a stored response as one flat run of bytes.

use std::cell::RefCell;
use std::fmt;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Names that take one byte in a [`FlatHead`]: names of response fields, the most common ones
/// first. The order is the encoding. It exists in memory only, so it may change between versions.
static COMMON: [HeaderName; 36] = [
    header::DATE,
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::SERVER,
    header::ETAG,
    header::LAST_MODIFIED,
    header::VARY,
    header::EXPIRES,
    header::CONTENT_ENCODING,
    header::ACCEPT_RANGES,
    header::SET_COOKIE,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::LOCATION,
    header::VIA,
    header::STRICT_TRANSPORT_SECURITY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
    header::CONTENT_SECURITY_POLICY,
    header::REFERRER_POLICY,
    header::LINK,
    header::AGE,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::ALLOW,
    header::ALT_SVC,
    header::CACHE_STATUS,
    header::CDN_CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::PRAGMA,
];

/// Marks a name that is spelled out. A field is `tag, [name length u8, name,] value length u32 LE,
/// value`.
const SPELLED: u8 = u8::MAX;

/// A response's fields as one exact-size run of bytes, in order of arrival.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FlatHead(Box<[u8]>);

impl FlatHead {
    /// Flattens `fields`. Names longer than 255 bytes are left out: no field that a cache must keep
    /// has one.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a [u8])>) -> Self {
        thread_local! {
            /// A head is built here first, so that the only allocation is its own exact size.
            static RUN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        RUN.with_borrow_mut(|run| {
            run.clear();
            for (name, value) in fields {
                let spelled = name.as_str().as_bytes();
                // Standard names compare by number, so a scan of all of them is faster than a
                // search by text.
                match COMMON.iter().position(|known| known == name) {
                    Some(at) => run.push(at as u8),
                    None if spelled.len() <= usize::from(u8::MAX) => {
                        run.extend_from_slice(&[SPELLED, spelled.len() as u8]);
                        run.extend_from_slice(spelled);
                    }
                    None => continue,
                }
                run.extend_from_slice(&(value.len() as u32).to_le_bytes());
                run.extend_from_slice(value);
            }
            Self(run.as_slice().into())
        })
    }

    /// Flattens every field of `map`.
    pub fn from_map(map: &HeaderMap) -> Self {
        Self::from_fields(map.iter().map(|(name, value)| (name, value.as_bytes())))
    }

    /// Returns the bytes of the head.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the head has no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the fields in order: name, value.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, &[u8])> {
        HeadWalk { run: &self.0, at: 0 }.map(|(name, start, end)| (name.to_name(), &self.0[start..end]))
    }

    /// Returns the first value of `name`.
    pub fn get<'a>(&'a self, name: &HeaderName) -> Option<&'a [u8]> {
        let found = HeadWalk { run: &self.0, at: 0 }.find(|(found, ..)| found.is(name));
        found.map(|(_, start, end)| &self.0[start..end])
    }

    /// Iterates over every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        HeadWalk { run: &self.0, at: 0 }
            .filter(move |(found, ..)| found.is(name))
            .map(|(_, start, end)| &self.0[start..end])
    }

    /// Appends to `map` every field for which `keep` holds.
    ///
    /// The run is copied once, and the values share that copy. So cores that serve the same entry
    /// share no memory.
    pub fn append_to(&self, map: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
        let shared = Bytes::copy_from_slice(&self.0);
        for (name, start, end) in (HeadWalk { run: &self.0, at: 0 }) {
            let name = name.to_name();
            if keep(&name)
                && let Ok(value) = HeaderValue::from_maybe_shared(shared.slice(start..end))
            {
                map.append(name, value);
            }
        }
    }

    /// Makes a map of every field.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(24);
        self.append_to(&mut map, |_| true);
        map
    }
}

impl fmt::Debug for FlatHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())))
            .finish()
    }
}

/// A field name inside a run.
enum HeadName<'a> {
    Common(&'static HeaderName),
    Spelled(&'a [u8]),
}

impl HeadName<'_> {
    fn to_name(&self) -> HeaderName {
        match self {
            Self::Common(name) => (*name).clone(),
            Self::Spelled(bytes) => HeaderName::from_bytes(bytes).expect("was a field name when it was flattened"),
        }
    }

    fn is(&self, name: &HeaderName) -> bool {
        match self {
            Self::Common(own) => *own == name,
            Self::Spelled(bytes) => *bytes == name.as_str().as_bytes(),
        }
    }
}

/// Walks a run field by field: the name, and where its value starts and ends.
struct HeadWalk<'a> {
    run: &'a [u8],
    at: usize,
}

impl<'a> Iterator for HeadWalk<'a> {
    type Item = (HeadName<'a>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = *self.run.get(self.at)?;
        self.at += 1;
        let name = if tag == SPELLED {
            let length = usize::from(self.run[self.at]);
            let spelled = &self.run[self.at + 1..][..length];
            self.at += 1 + length;
            HeadName::Spelled(spelled)
        } else {
            HeadName::Common(&COMMON[usize::from(tag)])
        };
        let length = self.run[self.at..][..4].try_into().map(u32::from_le_bytes).expect("four bytes were taken");
        let start = self.at + 4;
        self.at = start + length as usize;
        Some((name, start, self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_distinct() {
        for (at, name) in COMMON.iter().enumerate() {
            assert!(!COMMON[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn a_flat_head_gives_back_its_fields() {
        let mut map = HeaderMap::new();
        map.append("content-type", HeaderValue::from_static("text/html"));
        map.append("x-own", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        map.append("set-cookie", HeaderValue::from_static("a=1"));
        map.append("set-cookie", HeaderValue::from_static("b=2"));
        let flat = FlatHead::from_map(&map);
        assert_eq!(flat.to_map(), map);
        assert_eq!(flat.get(&HeaderName::from_static("x-own")), Some(&b"caf\xe9"[..]));
        assert_eq!(flat.get_all(&header::SET_COOKIE).count(), 2);
        assert_eq!(flat.get(&header::AGE), None);
        assert_eq!(FlatHead::default().to_map().len(), 0);
    }
}
