//! The executable `bitquake`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(bitquake_command::run(std::env::args_os(), std::env::current_exe().ok()))
}
