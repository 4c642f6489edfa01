//! See `bitquake_fuzz::numpy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::numpy(bytes));
