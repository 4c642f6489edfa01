//! Trains networks that stand bit errors.

pub mod method;
