//! What the access log needs of a request, kept until its response has ended.

use std::net::IpAddr;

use http::{Method, StatusCode, Version, header};

use super::asked::Asked;
use crate::access::{Line, Log};
use crate::clock::Timestamp;
use crate::outcome::{Decision, End};

/// A request as the access log tells of it.
pub(super) struct Logged {
    log: Log,
    client: IpAddr,
    at: Timestamp,
    method: Method,
    host: Box<str>,
    target: Box<str>,
    version: Version,
    status: u16,
    referer: Option<Box<[u8]>>,
    user_agent: Option<Box<[u8]>>,
}

impl Logged {
    /// Copies what the line will need.
    pub(super) fn new(log: &Log, asked: &Asked, status: StatusCode) -> Self {
        let copy = |name| asked.headers.get(name).map(|value| Box::from(value.as_bytes()));
        Self {
            log: log.clone(),
            client: asked.client.addr,
            at: asked.at,
            method: asked.method.clone(),
            host: asked.key.authority().into(),
            target: asked.key.path_and_query().into(),
            version: asked.version,
            status: status.as_u16(),
            referer: copy(header::REFERER),
            user_agent: copy(header::USER_AGENT),
        }
    }

    /// Writes the line.
    pub(super) fn write(&self, decision: &Decision, end: &End) {
        self.log.line(&Line {
            client: self.client,
            at: self.at,
            method: self.method.as_str(),
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

/// Writes the line of a request that could not be read: what it asked for is not known, and its bytes are not to be trusted.
pub(super) fn unread(log: &Log, client: IpAddr, at: Timestamp, status: StatusCode, became: (&Decision, &End)) {
    let (decision, end) = became;
    log.line(&Line {
        client,
        at,
        method: "-",
        target: "-",
        host: "-",
        version: Version::HTTP_11,
        status: status.as_u16(),
        referer: None,
        user_agent: None,
        decision,
        end,
    });
}
