//! Caching by RFC 9111: which responses are stored, for how long, for whom, and which part of them
//! a client receives. Each file covers one theme and names the section in its tests.

mod freshness;
mod head;
mod invalidation;
mod keys;
mod ranges;
mod storing;
mod validation;
mod variants;
