//! What is stored: a flat head, the facts parsed from it, a body in one or more codings, and the variants of a key.
//!
//! Plain values only. Whether an [`StoredEntry`] may be used is decided in `policy`; where it lives, in `store`.
//! Nothing here holds a piece of a buffer that came off the wire: heads are copied into one exact-size run of bytes.

mod body;
mod entry;
mod facts;
mod head;
mod shadow_fingerprint;
mod sharing_guard;

pub use body::{Coding, Rendition, StoredBody};
pub use entry::{Selecting, StoredEntry, Variants};
pub use facts::{Facts, LifetimeSource, StaleUse};
pub use head::FlatHead;
pub use shadow_fingerprint::{BodyComparison, FieldValue, ShadowFingerprint};
pub use sharing_guard::{CredentialValues, Credentials, DifferingCredentials, SharingGuard};
