//! A log line before it is printed: the facts of one request, and the forms that a line can have.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::outcome::{Decision, ResponseEnd};

/// The printed form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessFormat {
    /// NCSA common, followed by outcome and reason.
    Common,
    /// NCSA combined, followed by outcome and reason.
    #[default]
    Combined,
    /// One JSON object per line.
    Json,
}

/// The facts that a line is printed from.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// The client's address, as given by a trusted proxy if there is one.
    pub client: IpAddr,
    /// The time at which the request's head had arrived.
    pub at: Timestamp,
    /// The method.
    pub method: &'a str,
    /// The canonical target.
    pub target: &'a str,
    /// The canonical host.
    pub host: &'a str,
    /// The version, such as `HTTP/1.1`.
    pub version: http::Version,
    /// The response's status.
    pub status: u16,
    /// Referer, as received.
    pub referer: Option<&'a [u8]>,
    /// User-Agent, as received.
    pub user_agent: Option<&'a [u8]>,
    /// The decision about the request.
    pub decision: &'a Decision,
    /// The end of the response.
    pub end: &'a ResponseEnd,
}
