//! See the function.

#![no_main]

#[path = "../../adapters/sql/tests/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::row(bytes));
