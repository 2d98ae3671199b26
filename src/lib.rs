//! Larder is a read-through HTTP cache. One binary and one TOML file stand in front of a web app; repeats are answered
//! from memory, misses fall through to the origin, and every response says why it was or was not cached.
//!
//! This page is the map: what holds whatever happens, the way of a request, and which module stands on which layer. Read
//! it, then `proxy/serve.rs`, and you know where everything is.
//!
//! # What a user can rely on
//!
//! 1. **Never wrong.** Nobody gets another's response, a truncated one, or one that the origin forbade to reuse.
//! 2. **Never in the way.** A failing tier or admin client slows nobody down; a failing origin is hidden while the RFC
//!    allows it.
//! 3. **Bounded.** Memory, queues, waits, tags and records each have a cap in `config.toml`, and stay under it.
//! 4. **Explained.** One reason from a closed list for every request: [`outcome::Reason`].
//! 5. **Fast.** A hit is answered without await or box; a miss costs the origin one request, however many clients ask for
//!    what may be reused.
//!
//! # The way of a request
//!
//! ```text
//! socket ─ server (screen) ─ proxy::serve ───────────────────────────────────────► response
//!           canonical target ► route ► policy::classify   look up, or pass (why?)
//!                   │ key                 canonical URL (+ what the route adds) -> Key
//!                   │ store               memory, and the ledger of what was purged
//!                   │ policy::reuse       Fresh | StaleNow | Revalidate | Miss | OnlyIfCached
//!                   │ proxy::fetch        one flight per key ─ origin ─ policy::storable ─ store
//!                   │ respond             preconditions ► range ► coding ► head
//!                   └ outcome             Decision at the head, End at the body's end
//! ```
//!
//! # Layers
//!
//! A module imports from the rows above its own, and in the second row from those before it. `tests/it/tidy.rs` parses
//! the sources and fails on any other arrow.
//!
//! | layer | modules | deliberately absent |
//! |---|---|---|
//! | ground | [`units`], [`clock`], [`outcome`], [`key`] | anything else of ours |
//! | pure | [`stored`], [`route`], [`policy`], [`respond`], [`analytics`] | runtimes, sockets, files, the clock, logging, errors |
//! | edges | [`store`], [`origin`], [`metrics`], [`access`] | each other; HTTP semantics in the store, caching at the origin |
//! | the way | [`proxy`] | admin routes, files, TOML |
//! | around | [`admin`] | how the store works inside, configuration files |
//! | root | [`server`] | the syntax of files, the command line |
//! | configuration | [`config`] | imported only by the face and tests |
//! | face | [`cli`] | |
//!
//! # Invariants
//!
//! - **What can be read in two ways is refused**, in two places: [`server`]'s screen over the bytes of HTTP/1, before hyper
//!   sees them, and [`policy::request`] on the parsed head. The origin's request is written anew.
//! - **One canonical URL.** [`key::CanonicalUrl`] is computed once, before the route is chosen. It is matched (repeated slashes
//!   as one), keyed and sent to the origin, so that these three never disagree. Absent: any other place that parses a target.
//! - **A collision is a miss.** The map finds by a keyed hash; the whole key is compared on every lookup and in the
//!   flight table.
//! - **Freshness is decided in [`policy::freshness`] only.** What expires in the store is garbage collection.
//! - **One user's page is no other's.** What a request with credentials brought in is handed to others only where the
//!   response permits it, or once the origin was seen to give both the same: [`policy::credentials`].
//! - **Requests are collapsed only onto what may be reused for each of them** without asking the origin:
//!   [`policy::reuse::collapse`].
//! - **Only a complete body is stored**, and a body that fails never ends cleanly for anybody who reads it.
//! - **Purging is one mechanism**, [`store::ledger`]: a sequence, not an index and not a clock. An entry carries the number
//!   read before its origin request was sent.
//! - **Asked before held.** [`store::Budget`] is asked before bytes are held, and counts them until their last reader has
//!   dropped them.
//! - **What may have reached the origin is not sent twice.**
//! - **What shadow mode keeps is never served**: [`route::Rule::key_of`] adds the mode to its keys. [`proxy::shadow`] decides by
//!   the same functions, and passes.
//! - **What is told is what happens.** [`proxy::explain`] calls the functions that `serve` and the fill decide with
//!   (`proxy/decide.rs`, [`policy`]). Absent: a second copy of any rule.
//! - **Errors become responses in `proxy/respond/rescue.rs`** and nowhere else.
//! - **Nothing over 100 µs runs on a core's loop.** Encoding and sweeping have threads of their own.

pub mod access;
pub mod admin;
pub mod analytics;
pub mod cli;
pub mod clock;
pub mod config;
pub mod key;
pub mod metrics;
pub mod origin;
pub mod outcome;
pub mod policy;
pub mod proxy;
pub mod respond;
pub mod route;
pub mod server;
pub mod store;
pub mod stored;
pub mod units;
