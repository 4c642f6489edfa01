//! What the tests of kernels share.

pub mod reference;
