//! See `bitquake_fuzz::gguf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::gguf(bytes));
