//! Running other programs.

use crate::Outcome;
use std::process::{Command, Output};

/// The cargo that started this program, else the one in the path.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// `cargo` with these arguments.
pub fn cargo_with(arguments: &[&str]) -> Command {
    let mut command = cargo();
    command.args(arguments);
    command
}

/// Runs a program with this terminal as its own; anything but success is an error that shows the command.
pub fn run(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", line(command))) }
}

/// Runs a program and keeps what it prints; anything but success is an error that shows its last words.
pub fn capture(command: &mut Command) -> Outcome<Output> {
    let output = command.output().map_err(|error| cannot_start(command, &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{}` ended with {}\n{}", line(command), output.status, said.trim_end()))
}

/// Whether a program starts and ends well, without showing anything.
pub fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn cannot_start(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", command.get_program().to_string_lossy())
}

/// The command as one would type it, without quoting.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{capture, line, works};
    use std::process::Command;

    #[test]
    fn a_failure_shows_the_command_and_its_words() {
        let error = capture(Command::new("sh").args(["-c", "echo went wrong >&2; exit 3"])).unwrap_err();
        assert!(error.contains("`sh -c") && error.contains("3") && error.ends_with("went wrong"), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = capture(&mut Command::new("bitquake-no-such-program")).unwrap_err();
        assert!(error.starts_with("cannot start `bitquake-no-such-program`"), "{error}");
        assert!(!works(&mut Command::new("bitquake-no-such-program")));
    }

    #[test]
    fn the_line_is_the_command() {
        assert_eq!(line(Command::new("cargo").args(["test", "--doc"])), "cargo test --doc");
    }
}
