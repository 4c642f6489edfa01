//! The Python package: built as users build it, and tested in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sha2::{Digest, Sha256};

use crate::process::{capture, run as run_program};
use crate::step::step;
use crate::{Outcome, setup};

/// The package.
const PACKAGE: &str = "crates/py";
/// What its tests need, pinned.
const REQUIREMENTS: &str = "crates/py/requirements-test.txt";

/// Builds the package, installs it, and runs its tests, doctests, stubs, documents and notebooks.
pub fn test() -> Outcome {
    let python = environment()?;
    step("python: install", || install(&python))?;
    step("python: stubs", || {
        run_program(&mut of(&python, &["-m", "mypy.stubtest", "bitquake._core"], &env::temp_dir()))
    })?;
    step("python: tests", || {
        let arguments = ["-m", "pytest", "-q", "--doctest-modules", "--pyargs", "bitquake", "tests"];
        run_program(of(&python, &arguments, Path::new(PACKAGE)).arg("--durations=5"))
    })
}

/// Builds a wheel into `target/wheels`.
pub fn wheel() -> Outcome {
    let python = environment()?;
    let arguments = ["-m", "maturin", "build", "--release", "--locked"];
    run_program(&mut of(&python, &arguments, Path::new(PACKAGE)))
}

/// `pip install ./crates/py`, as a user types it.
fn install(python: &Path) -> Outcome {
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
    run_program(of(python, &arguments, Path::new(".")).args(["--force-reinstall", "./crates/py"]))
}

/// A virtual environment in the cache with what the tests need. It is named after the requirements, so other ones get another.
fn environment() -> Outcome<PathBuf> {
    let wanted = fs::read(REQUIREMENTS).map_err(|error| format!("cannot read {REQUIREMENTS}: {error}"))?;
    let version = capture(setup::python().args(["-c", "import sys; print('%d.%d' % sys.version_info[:2])"]))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let digest: String = Sha256::digest(&wanted).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let home = setup::cache()?.join(format!("python-{version}-{digest}"));
    let (python, ready) = (home.join("bin").join("python"), home.join("ready"));
    if !ready.is_file() {
        step("python: environment", || make(&home, &python))?;
        fs::write(&ready, "").map_err(|error| format!("cannot write {}: {error}", ready.display()))?;
    }
    Ok(python)
}

fn make(home: &Path, python: &Path) -> Outcome {
    println!(
        "fetching what the tests of the Python package need, PyTorch among it (5 GB), into {}",
        home.display()
    );
    run_program(setup::python().args(["-m", "venv", "--clear"]).arg(home)).map_err(|error| {
        format!("{error}\nPython's module venv is needed (Debian: apt-get install python3-venv)")
    })?;
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    // pip's own cache would hold the same 3 GB once more.
    let mut pip = of(python, &arguments, Path::new("."));
    run_program(pip.args(["--no-cache-dir", "-r", REQUIREMENTS]))
}

/// Python with these arguments, in a folder.
fn of(python: &Path, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(arguments).current_dir(folder);
    command
}
