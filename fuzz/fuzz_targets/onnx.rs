//! See `bitquake_fuzz::onnx`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bitquake_fuzz::onnx(bytes));
