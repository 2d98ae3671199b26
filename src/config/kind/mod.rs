//! Kinds of values: how each is written in the file, what is allowed of it, and how it is printed.
//!
//! A [`Kind`] looks at one value and nothing else. `config/keys.rs` says which key has which kind;
//! `config/across.rs` judges what several keys say together.

mod definition;
mod names;
mod values;

pub(super) use definition::{Kind, Written};
pub(super) use names::*;
pub(super) use values::*;
