//! See `bitquake_fuzz::data`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::data(bytes));
