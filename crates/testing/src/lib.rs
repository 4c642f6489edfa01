//! Helpers for the tests of the other crates. Development only: nothing that ships depends on it.
//!
//! - [`assert_cases`] runs a table of cases and reports every failing row, not only the first.
//! - [`assert_binomial`] and [`assert_uniform`] judge random results with a stated false-alarm probability.
//! - [`SplitMix64`] makes test data from a seed, the same on every machine.
//! - [`bars`] makes a small data set.
//! - [`mutated`] makes bad files from good ones.
//! - [`Torch`] is the baseline of benchmarks against PyTorch.
//! - [`temp_dir`] makes a folder that disappears with its handle.
//!
//! The assertions panic, as tests expect, and name the place of the call.

mod bars;
mod binomial;
mod cases;
mod corpus;
mod random;
mod torch;
mod uniform;

pub use bars::bars;
pub use binomial::{assert_binomial, check_binomial};
pub use cases::{assert_cases, check_cases};
pub use corpus::mutated;
pub use random::SplitMix64;
pub use torch::Torch;
pub use uniform::{assert_uniform, check_uniform};

/// Makes an empty folder in the system's temporary place; it is deleted when the handle is dropped.
///
/// # Panics
///
/// If the folder cannot be made.
///
/// ```
/// let dir = bitquake_testing::temp_dir();
/// std::fs::write(dir.path().join("note.txt"), "hello").unwrap();
/// ```
#[track_caller]
#[must_use]
pub fn temp_dir() -> tempfile::TempDir {
    match tempfile::Builder::new().prefix("bitquake-test-").tempdir() {
        Ok(dir) => dir,
        Err(error) => panic!("no temporary folder in {}: {error}", std::env::temp_dir().display()),
    }
}

#[cfg(test)]
mod tests {
    use super::temp_dir;

    #[test]
    fn a_temporary_folder_goes_with_its_handle() {
        let dir = temp_dir();
        let path = dir.path().to_path_buf();
        assert!(path.is_dir());
        drop(dir);
        assert!(!path.exists());
    }
}
