//! See `bitquake_fuzz::pytorch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::pytorch(bytes));
