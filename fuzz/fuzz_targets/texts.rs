//! See `bitquake_fuzz::texts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::texts(bytes));
