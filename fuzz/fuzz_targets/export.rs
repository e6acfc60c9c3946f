//! Gives the input to every parser of this family in `headroom::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| headroom::fuzzing::feed(env!("CARGO_BIN_NAME"), bytes));
