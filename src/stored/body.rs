//! A stored body, in one or more content codings.

use bytes::Bytes;
use smallvec::SmallVec;

/// A content coding in which Larder stores or serves a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// The bytes as the origin sent them, whatever their own Content-Encoding.
    Identity,
    /// zstd (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// Returns the token of Content-Encoding.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// One representation's bytes in one coding.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The coding of `bytes`.
    pub coding: Coding,
    /// The whole body. The budget counts these bytes until the last reader drops them.
    pub bytes: Bytes,
}

/// A stored body: its original length and its renditions.
#[derive(Clone, Debug, Default)]
pub struct StoredBody {
    /// The length as the origin sent it, in bytes.
    pub identity_bytes: u64,
    /// At least one rendition, the stored form first.
    pub renditions: SmallVec<[Rendition; 1]>,
}

impl StoredBody {
    /// Makes a body of bytes as the origin sent them.
    pub fn identity(bytes: Bytes) -> Self {
        Self {
            identity_bytes: bytes.len() as u64,
            renditions: SmallVec::from_buf([Rendition { coding: Coding::Identity, bytes }]),
        }
    }

    /// Returns the bytes in `coding`, if they are stored.
    pub fn get(&self, coding: Coding) -> Option<&Bytes> {
        self.renditions.iter().find(|held| held.coding == coding).map(|held| &held.bytes)
    }

    /// Returns the bytes of all renditions.
    pub fn held_bytes(&self) -> usize {
        self.renditions.iter().map(|held| held.bytes.len()).sum()
    }
}
