//! Trains networks that stand bit errors.
