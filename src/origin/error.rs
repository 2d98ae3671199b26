//! The ways in which the origin can fail, in the terms of RFC 9209 §2.3.
//!
//! hyper reports failures as chains of errors. This file alone decides what a chain means.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::outcome::Reason;

/// A failure on the origin's side.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Error {
    /// The kind of failure.
    pub reason: Reason,
    /// A description of what happened.
    pub detail: String,
    /// True if the request, or a part of it, may have reached the origin.
    pub was_sent: bool,
    /// When a retry may help, if known.
    pub retry_after: Option<Duration>,
}

/// The failure to read a request's content to its end.
///
/// A [`RequestBody`](super::RequestBody) fails with this error, so that the origin is not blamed.
/// The reason becomes the [`Error`]'s; any other error of a request body counts as
/// [`Reason::BadRequest`].
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the request's content failed: {0}")]
pub struct ContentFailed(pub Reason);

/// The name of the origin could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("the name could not be resolved")]
pub(super) struct NotResolved(#[source] pub(super) io::Error);

/// The connection, from the name to the handshake, took longer than `connect_timeout`.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {0:?}")]
pub(super) struct NotInTime(pub(super) Duration);

/// No connection could be made.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct ConnectError(pub(super) Box<dyn StdError + Send + Sync>);

/// The reason why a request got no response.
#[derive(Debug)]
pub(super) enum SendError {
    Unconnected(ConnectError),
    /// The connection ended before any byte of the request was written.
    Unwritten(hyper::Error),
    /// A part of the request may have been sent.
    Sent(hyper::Error),
    /// The origin was silent for this long.
    Silent(Duration),
}

impl Error {
    /// Makes the failure of a response whose request was sent.
    pub(super) fn sent(reason: Reason, detail: impl Into<String>) -> Self {
        Self { was_sent: true, ..Self::unsent(reason, detail) }
    }

    /// Makes the failure of a request that did not reach the origin.
    pub(super) fn unsent(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), was_sent: false, retry_after: None }
    }

    /// Makes the failure of a request without a response.
    pub(super) fn before_head(failure: &SendError) -> Self {
        match failure {
            SendError::Unconnected(ConnectError(error)) => {
                Self::unsent(why_unconnected(error.as_ref()), chain_text(error.as_ref()))
            }
            SendError::Unwritten(error) => Self::unsent(why_broken(error), chain_text(error)),
            SendError::Sent(error) => Self::sent(why_broken(error), chain_text(error)),
            SendError::Silent(timeout) => {
                Self::sent(Reason::ResponseTimeout, format!("no response within {timeout:?} (`response_timeout`)"))
            }
        }
    }

    /// Returns whether the origin received the request and then aborted, or sent an invalid
    /// response. The request itself may have caused that.
    pub fn was_aborted(&self) -> bool {
        self.was_sent && matches!(self.reason, Reason::ConnectionTerminated | Reason::ProtocolError)
    }

    /// Makes the failure of a body that ended early. After the head, a closed connection means an
    /// incomplete response (`http_response_incomplete`, RFC 9209 §2.3).
    pub(super) fn in_body(error: &hyper::Error) -> Self {
        let reason = match why_broken(error) {
            Reason::ConnectionTerminated => Reason::Incomplete,
            other => other,
        };
        Self::sent(reason, chain_text(error))
    }
}

impl ConnectError {
    /// Returns whether the cause is local: a lack of descriptors, ports or memory says nothing
    /// about the origin.
    pub(super) fn is_ours(&self) -> bool {
        const OURS: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
        let errno = find::<io::Error>(self.0.as_ref()).and_then(Errno::from_io_error);
        errno.is_some_and(|errno| OURS.contains(&errno))
    }
}

/// Returns the reason for a failure to connect.
fn why_unconnected(error: &(dyn StdError + 'static)) -> Reason {
    if find::<NotResolved>(error).is_some() {
        return Reason::DnsError;
    }
    if find::<NotInTime>(error).is_some() {
        return Reason::ConnectionTimeout;
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Reason::ConnectionRefused,
        Some(io::ErrorKind::TimedOut) => Reason::ConnectionTimeout,
        _ => Reason::DestinationUnavailable,
    }
}

/// Returns the reason why an established connection brought no whole response.
fn why_broken(error: &(dyn StdError + 'static)) -> Reason {
    if let Some(ContentFailed(reason)) = find(error) {
        return *reason;
    }
    if let Some(hyper) = find::<hyper::Error>(error) {
        if hyper.is_parse() {
            return Reason::ProtocolError;
        }
        // The client sent fewer or more bytes than its Content-Length.
        if hyper.is_body_write_aborted() {
            return Reason::BadRequest;
        }
    }
    match find::<io::Error>(error).map(io::Error::kind) {
        // hyper's decoder reports malformed chunks and trailers this way.
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Reason::ProtocolError,
        _ => Reason::ConnectionTerminated,
    }
}

/// Finds the outermost error of type `E` in a chain.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| <dyn StdError>::source(*error))
}

/// Returns the texts of all errors in the chain, outermost first.
fn chain_text(error: &(dyn StdError + 'static)) -> String {
    let mut message = String::new();
    for error in chain(error) {
        let text = error.to_string();
        // Wrappers often repeat what they wrap.
        if !message.ends_with(&text) {
            if !message.is_empty() {
                message.push_str(": ");
            }
            message.push_str(&text);
        }
    }
    message
}
