//! See the function.

#![no_main]

#[path = "../../core/tests/suite/fuzzed.rs"]
#[allow(dead_code)]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::name(bytes));
