//! The listening sockets: bound by this process, or handed over to it and by it.

mod bind;
pub mod handover;

pub(crate) use self::bind::{bind, deal, raise_open_files};
pub(crate) use self::handover::Offer;
pub use self::handover::Sockets;
