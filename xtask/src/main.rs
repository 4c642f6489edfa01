//! Set-up, tests, demo and checks of the workspace: `cargo xtask help`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool for contributors")]

mod bench;
mod deny;
mod examples;
mod layers;
mod process;
mod python;
mod readme;
mod setup;
mod step;
mod test;
mod workspace;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What a task answers: nothing, or one message for people.
type Outcome<T = ()> = Result<T, String>;

/// A task: its name, what it does, and the function that does it, given the arguments that follow the name.
struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome,
}

/// The one list of tasks; `help` prints it.
const TASKS: &[Task] = &[
    Task {
        name: "setup",
        about: "fetch ONNX Runtime into the cache, unless ORT_DYLIB_PATH names one (hash checked)",
        run: |_| setup::run(),
    },
    Task { name: "demo", about: "build in release and run the shipped campaign", run: |_| examples::demo() },
    Task {
        name: "test",
        about: "formatting, clippy, layers, all tests, the fuzz corpus, doctests, docs, licences, README, examples",
        run: |_| test::run(),
    },
    Task { name: "bench", about: "run the benchmarks; arguments go to them", run: bench::run },
    Task {
        name: "layers",
        about: "compare imports with the table in ARCHITECTURE.md",
        run: |_| layers::run(),
    },
    Task {
        name: "readme",
        about: "run the console blocks marked `<!-- run -->` in README.md and docs/",
        run: |_| readme::run(),
    },
    Task {
        name: "examples",
        about: "run every example: campaigns with two trials, trainings with one epoch",
        run: |_| examples::run(),
    },
    Task {
        name: "python",
        about: "build the Python package, install it and test it, in an environment of its own",
        run: |_| python::test(),
    },
    Task {
        name: "wheel",
        about: "build a wheel of the Python package into target/wheels",
        run: |_| python::wheel(),
    },
    Task {
        name: "deny",
        about: "check licences, sources and advisories of the dependencies",
        run: |_| deny::run(),
    },
    Task { name: "help", about: "this list", run: |_| help() },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let name = arguments.first().map_or("help", String::as_str);
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("xtask: there is no task `{name}`\n\n{}", task_list());
        return ExitCode::from(2);
    };
    let done = enter_root().and_then(|()| (task.run)(arguments.get(1..).unwrap_or_default()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {name}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Every task runs in the repository's root, wherever it was started.
fn enter_root() -> Outcome {
    let crate_dir =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or(env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = crate_dir.parent().unwrap_or(Path::new("."));
    std::env::set_current_dir(root).map_err(|error| format!("cannot enter {}: {error}", root.display()))
}

fn help() -> Outcome {
    println!("{}", task_list());
    Ok(())
}

fn task_list() -> String {
    let rows = TASKS.iter().map(|task| format!("  cargo xtask {:<9} {}", task.name, task.about));
    std::iter::once("Tasks:".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_task_is_in_the_list_once() {
        let list = super::task_list();
        for task in super::TASKS {
            assert_eq!(list.matches(&format!("cargo xtask {} ", task.name)).count(), 1, "{}", task.name);
        }
    }
}
