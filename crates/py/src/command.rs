//! The command, started from Python.

use std::ffi::OsString;
use std::path::PathBuf;

use pyo3::prelude::*;

/// Runs the command `bitquake`: the arguments of a process, its name first, and what starts it again, if that is known. Returns its exit code.
#[pyfunction]
pub fn command(py: Python<'_>, arguments: Vec<OsString>, executable: Option<PathBuf>) -> u8 {
    py.detach(|| bitquake_command::run(arguments, executable))
}
