//! Requests in, responses out: hyper's service over a plain function, and what is tracked about
//! each request in flight.
//!
//! - `serve`: the request handlers.
//! - `connection_service`: hyper's service for one connection.
//! - `in_progress`: a request whose response has not ended.
//! - `tracked_body`: the body of a response, in pieces on HTTP/2.

mod connection_service;
mod in_progress;
mod serve;
mod tracked_body;

pub(crate) use self::connection_service::ConnectionService;
pub(crate) use self::serve::{Serve, WorkerService, last_response};
