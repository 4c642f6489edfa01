//! The benchmarks of all crates.

use crate::workspace::Workspace;
use crate::{Outcome, process, setup};

/// Runs every benchmark target; `arguments` go to the benchmarks (a filter, for instance).
///
/// The targets are named one by one, because a plain `cargo bench` also starts every library's tests, which do not
/// know the benchmarks' options.
pub fn run(arguments: &[String]) -> Outcome {
    setup::run()?;
    let workspace = Workspace::load()?;
    let mut command = process::cargo_with(&["bench", "--locked"]);
    for package in workspace.packages.iter().filter(|package| !package.benches.is_empty()) {
        command.args(["-p", &package.name]);
        command.args(package.benches.iter().flat_map(|bench| ["--bench", bench.as_str()]));
    }
    if command.get_args().len() == 2 {
        return Err("no crate has benchmarks".to_owned());
    }
    process::run(command.arg("--").args(arguments))
}
