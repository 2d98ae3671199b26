//! The grammar that HTTP's fields share: tokens, comma lists, cookies, entity-tags and dates.
//!
//! One parser for one grammar: every module that reads a field value starts from these functions,
//! so that no two modules read the same bytes in two ways. Malformed input has a defined answer.
//! Deliberately absent: what a field means, I/O, locks, reading a clock, errors.

pub(crate) mod cookie;
pub mod date;
pub(crate) mod entity_tag;
pub(crate) mod list;
pub(crate) mod token;
