//! One input for `larder_fuzz::range`, which says what has to hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder_fuzz::range(bytes));
