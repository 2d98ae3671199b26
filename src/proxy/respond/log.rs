//! The access-log line of a request, kept until its response has ended. Live followers get the same
//! line.

use std::net::IpAddr;

use http::{Method, StatusCode, Version, header};

use crate::access::{LogLine, LogReaders};
use crate::clock::Timestamp;
use crate::outcome::{Decision, ResponseEnd};
use crate::proxy::request::context::RequestContext;

/// A request as the access log shows it.
pub(crate) struct LogRecord {
    readers: LogReaders,
    client: IpAddr,
    at: Timestamp,
    /// The method; `None` if unknown.
    method: Option<Method>,
    host: Box<str>,
    target: Box<str>,
    version: Version,
    status: u16,
    referer: Option<Box<[u8]>>,
    user_agent: Option<Box<[u8]>>,
}

impl LogRecord {
    /// Copies the fields that the line needs.
    pub(crate) fn new(readers: &LogReaders, ctx: &RequestContext, status: StatusCode) -> Self {
        let copy = |name| ctx.headers.get(name).map(|value| Box::from(value.as_bytes()));
        Self {
            readers: readers.clone(),
            client: ctx.client.requester.unwrap_or(ctx.client.addr),
            at: ctx.at,
            method: Some(ctx.method.clone()),
            host: ctx.key.authority().into(),
            target: ctx.key.path_and_query().into(),
            version: ctx.version,
            status: status.as_u16(),
            referer: copy(header::REFERER),
            user_agent: copy(header::USER_AGENT),
        }
    }

    /// Makes the line of a request that could not be read: its target is unknown, and its bytes are
    /// not to be trusted.
    pub(crate) fn unparsed(readers: &LogReaders, client: IpAddr, at: Timestamp, status: StatusCode) -> Self {
        Self {
            readers: readers.clone(),
            client,
            at,
            method: None,
            host: "-".into(),
            target: "-".into(),
            version: Version::HTTP_11,
            status: status.as_u16(),
            referer: None,
            user_agent: None,
        }
    }

    /// Writes the request's line to the access log and to live followers.
    pub(crate) fn write(&self, decision: &Decision, end: &ResponseEnd) {
        self.readers.line(&LogLine {
            client: self.client,
            at: self.at,
            method: self.method.as_ref().map_or("-", Method::as_str),
            target: &self.target,
            host: &self.host,
            version: self.version,
            status: self.status,
            referer: self.referer.as_deref(),
            user_agent: self.user_agent.as_deref(),
            decision,
            end,
        });
    }
}
