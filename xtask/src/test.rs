//! Everything that must pass before a change lands.

use crate::process::{cargo_with, run as run_program, works};
use crate::step::step;
use crate::{Outcome, deny, examples, layers, python, readme, setup};
use std::process::Command;

/// Runs every check, cheapest first, and stops at the first that fails.
pub fn run() -> Outcome {
    step("setup", setup::run)?;
    step("format", || run_program(&mut cargo_with(&["fmt", "--all", "--check"])))?;
    step("layers", layers::run)?;
    step("clippy", || {
        let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
        run_program(&mut cargo_with(&arguments))
    })?;
    step("tests", tests)?;
    step("doctests", || run_program(&mut cargo_with(&["test", "--doc", "--workspace", "--locked"])))?;
    step("documentation", documentation)?;
    step("dependencies", deny::run)?;
    step("release build", release)?;
    step("readme", readme::run_built)?;
    step("examples", examples::run_built)?;
    python::test()
}

/// The unit and integration tests; never the benchmarks, which `--all-targets` would start.
fn tests() -> Outcome {
    if works(&mut cargo_with(&["nextest", "--version"])) {
        return run_program(same_cases(&mut cargo_with(&["nextest", "run", "--workspace", "--locked"])));
    }
    let arguments = ["test", "--workspace", "--lib", "--bins", "--tests", "--locked"];
    run_program(same_cases(&mut cargo_with(&arguments)))
}

/// Property tests take the same cases every time, so that no change is refused for what another one left; a seed that is set already stays.
fn same_cases(command: &mut Command) -> &mut Command {
    const SEED: &str = "PROPTEST_RNG_SEED";
    if std::env::var_os(SEED).is_none() {
        command.env(SEED, "1");
    }
    command
}

/// The command, with the features that dependencies have in the Python package, which then finds nearly all of itself compiled.
fn release() -> Outcome {
    let packages = ["-p", "bitquake-cli", "-p", "bitquake-py", "--bin", "bitquake"];
    run_program(cargo_with(&["build", "--release", "--locked"]).args(packages))
}

/// Only libraries: the command's binary and the facade share the name `bitquake`, and so would their pages.
fn documentation() -> Outcome {
    let mut command = cargo_with(&["doc", "--no-deps", "--workspace", "--lib", "--locked"]);
    run_program(command.env("RUSTDOCFLAGS", "-Dwarnings"))
}
