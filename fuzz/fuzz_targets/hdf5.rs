//! See `bitquake_fuzz::hdf5`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::hdf5(bytes));
