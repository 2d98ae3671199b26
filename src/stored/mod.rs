//! The stored response: a flat head, the facts parsed from it, a body in one or more codings, and
//! the variants of a key.
//!
//! A [`StoredResponse`] is a plain value. A [`StoredEntry`] adds the state that it has in this
//! process: its use, its guard, and its account in the [`Budget`]. `policy` decides whether an entry
//! may be used; `store` decides where it lives. No value holds a piece of a network buffer: heads
//! are copied into one exact-size run of bytes.

mod body;
mod budget;
mod entry;
mod facts;
mod head;
mod response;
mod shadow_fingerprint;
mod sharing_guard;

pub use body::{Coding, Rendition, StoredBody};
pub use budget::{Budget, Reservation};
pub use entry::{StoredEntry, Variants};
pub use facts::{Facts, LifetimeSource, StaleUse};
pub use head::FlatHead;
pub use response::{Selecting, StoredResponse};
pub use shadow_fingerprint::{BodyComparison, FieldValue, ShadowFingerprint};
pub use sharing_guard::{CredentialValues, Credentials, DifferingCredentials, SharingGuard};
