//! Larder is a read-through HTTP cache. One binary and one TOML file stand in front of a web app:
//! repeated requests are answered from memory, misses go to the origin, and every response says why
//! it was or was not cached.
//!
//! This page is the map: what always holds, the path of a request, and the layer of each module.
//! Read it, then `proxy/serve.rs`, and you know where everything is.
//!
//! # What a user can rely on
//!
//! 1. **Never wrong.** Nobody gets another user's response, a truncated one, or one that the origin
//!    forbade to reuse.
//! 2. **Never in the way.** A failing tier or admin client slows nobody down. A failing origin is
//!    hidden for as long as the RFC allows.
//! 3. **Bounded.** Memory, queues, waits, tags and records each have a cap in `config.toml`, and
//!    stay below it.
//! 4. **Explained.** Every request has one reason from a closed list: [`outcome::Reason`].
//! 5. **Fast.** A hit is answered without an await or a boxed future. A miss costs the origin one
//!    request, however many clients ask for a response that they may share.
//!
//! # The path of a request
//!
//! ```text
//! socket ─ server (screen) ─ proxy::serve ───────────────────────────────────────► response
//!           canonical URL ► route ► policy::classify   look up, or pass (why?)
//!                   │ key                 canonical URL (+ the route's extras) -> Key
//!                   │ store               memory, and the ledger of purges
//!                   │ policy::reuse       Fresh | StaleNow | Revalidate | Miss | OnlyIfCached
//!                   │ proxy::fetch        one flight per key ─ origin ─ policy::storable ─ store
//!                   │ respond             preconditions ► range ► coding ► head
//!                   └ outcome             Decision at the head, ResponseEnd at the body's end
//! ```
//!
//! # Layers
//!
//! A module imports from the rows above its own, and in the second row from the modules before it.
//! The files of a module never import each other in a circle. `tests/it/tidy.rs` parses the sources
//! and fails on any other import.
//!
//! | layer | modules | deliberately absent |
//! |---|---|---|
//! | ground | [`units`], [`clock`], [`random`], [`outcome`], [`key`] | all else of Larder |
//! | pure | [`syntax`], [`stored`], [`route`], [`policy`], [`respond`], [`analytics`] | I/O, time |
//! | edges | [`store`], [`origin`], [`metrics`], [`access`] | each other; see below |
//! | the path | [`proxy`] | admin routes, files, TOML |
//! | around | [`admin`] | inside the store, configuration files |
//! | root | [`server`] | file syntax, command line |
//! | configuration | [`config`] | for the face and tests only |
//! | face | [`cli`] | |
//!
//! The pure row has no runtime, socket, file, clock, log or error type. In the row of the edges,
//! the store knows no HTTP semantics, and the origin side knows no caching.
//!
//! # Invariants
//!
//! - **An ambiguous request is refused**, in two places: [`server`]'s screen checks the bytes of
//!   HTTP/1 before hyper sees them, and [`policy::request`] checks the parsed head. The origin's
//!   request is written anew.
//! - **An Upgrade is forwarded only without content and for a listed protocol.** The connection to
//!   the origin that carried it is never reused.
//! - **One canonical URL.** [`key::CanonicalUrl`] is computed once, before the route is chosen. The
//!   route matches it (with repeated slashes merged), the key contains it, and the origin request
//!   is made from it, so that the three never disagree. No other code parses a request target.
//! - **A collision is a miss.** The map finds an entry by a keyed hash. Every lookup, and the
//!   flight table, compares the whole key.
//! - **Only [`policy::freshness`] decides freshness.** Expiry in the store is garbage collection,
//!   at the time that [`stored::Facts::kept_until`] gives.
//! - **One user's page is never another's.** A response to a request with credentials is shared
//!   only if the response permits that, or once the origin was seen to give both users the same:
//!   [`policy::credentials`].
//! - **Nothing that sets a cookie is stored unless a route says so**: [`route::SetCookie`].
//! - **Requests are collapsed only onto a response that each of them may reuse** without contacting
//!   the origin: [`policy::reuse::collapse`].
//! - **Only a complete body is stored**, and a body that fails never ends cleanly for any reader.
//! - **Purging is one mechanism**, [`store::ledger`]: a sequence, not an index and not a clock. An
//!   entry carries the number read before its origin request was sent.
//! - **Memory is reserved before it is used.** [`store::Budget`] counts bytes until their last
//!   reader has dropped them.
//! - **A request that may have reached the origin is not sent twice.**
//! - **A response stored in shadow mode is never served**: [`route::Rule::key_of`] adds the mode to
//!   its key. [`proxy::shadow`] decides with the same functions as live mode, and passes.
//! - **Explanations match what happens.** [`proxy::explain`] calls the functions that decide for
//!   live requests (`proxy/decide.rs`, [`policy`]). There is no second copy of any rule.
//! - **Errors become responses in `proxy/respond/rescue.rs`** and nowhere else.
//! - **Nothing over 100 µs runs on a core's loop.** Encoding and sweeping have their own threads.

pub mod access;
pub mod admin;
pub(crate) mod analytics;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(doc)]
pub mod docs;
pub mod key;
pub(crate) mod metrics;
pub mod origin;
pub mod outcome;
pub mod policy;
pub mod proxy;
pub(crate) mod random;
pub mod respond;
pub mod route;
pub mod server;
pub mod store;
pub mod stored;
pub mod syntax;
pub(crate) mod units;
