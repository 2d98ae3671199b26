//! The command line: `serve`, `check`, `demo`, `explain`, `log`, `purge`, `stats`, `shadow-report`,
//! `top`; and the texts made from its definition: `man`, `completions`, `schema`, `service`.
//!
//! The command line reads flags and files, assembles the parts, and tells the user in plain words
//! what to do next. Each command has a file or a folder of its own; `cli/args.rs` defines them all,
//! and [`run`](run()) calls them. Deliberately absent: anything that a library user of Larder would
//! need.

mod admin_client;
mod args;
mod check;
mod demo;
mod explain;
mod file;
mod format;
mod generate;
mod log;
mod print;
mod purge;
mod run;
mod serve;
mod shadow;
mod stats;
mod top;

pub use run::run;
