//! The listening sockets: bound by this process, or passed on from one process to the next.

mod bind;
pub(crate) mod handover;

pub(crate) use self::bind::{bind, distribute, raise_open_files};
pub(crate) use self::handover::Offer;
pub use self::handover::Sockets;
