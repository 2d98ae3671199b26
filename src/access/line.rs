//! A log line before it is printed: the facts of one request, and the forms that a line can have.

use std::net::IpAddr;

use crate::clock::Timestamp;
use crate::outcome::{Decision, ResponseEnd};

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AccessFormat {
    /// NCSA common, then outcome and reason.
    Common,
    /// NCSA combined, then outcome and reason.
    #[default]
    Combined,
    /// One JSON object.
    Json,
}

/// What a line is made of.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// The client's address, as a trusted proxy gave it where there is one.
    pub client: IpAddr,
    /// When the request's head had arrived.
    pub at: Timestamp,
    /// The method.
    pub method: &'a str,
    /// The target, canonical.
    pub target: &'a str,
    /// The host, canonical.
    pub host: &'a str,
    /// The version, such as `HTTP/1.1`.
    pub version: http::Version,
    /// The response's status.
    pub status: u16,
    /// Referer, as it came.
    pub referer: Option<&'a [u8]>,
    /// User-Agent, as it came.
    pub user_agent: Option<&'a [u8]>,
    /// What was decided.
    pub decision: &'a Decision,
    /// How it ended.
    pub end: &'a ResponseEnd,
}
