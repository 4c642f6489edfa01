//! The command line of bitquake: a face of the library, without logic of its own. The executable (`cli`) and the Python package (`py`) start it.

mod attack;
mod bits;
mod compare;
mod diff;
mod doctor;
mod energy;
mod exit;
mod folder;
mod guard;
mod inject;
mod inspect;
mod merge;
mod output;
mod plan;
mod progress;
mod protect;
mod quantize;
mod rank;
mod results;
mod run;
mod signal;
mod status;
mod submit;
mod train;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::{Failure, USAGE};
use crate::output::Output;

/// Find out what flipped bits do to a neural network.
///
/// Data goes to standard output, messages to standard error.
/// Exit codes: 0 done, 2 usage or configuration, 3 an input file is bad or missing,
/// 4 stopped and resumable, 5 a self-check failed, 1 a bug.
#[derive(Parser)]
#[command(name = "bitquake", version, max_term_width = 110)]
struct Cli {
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show (and flip) the bits of numbers
    Bits(bits::Args),
    /// List a file's tensors and the size of its fault space
    Inspect(inspect::Args),
    /// Quantize numbers or tensors: codes, errors, damage by bit
    Quantize(quantize::Args),
    /// Write a file with flipped bits
    Inject(inject::Args),
    /// Compare two files bit by bit
    Diff(diff::Args),
    /// Run or resume a campaign
    Run(run::Args),
    /// Run a campaign on a cluster, or send again what did not finish
    Submit(Box<submit::Args>),
    /// Tell how far a campaign is, over all of its shards
    Status(status::Args),
    /// Join the trials of shards that ran in several directories
    Merge(merge::Args),
    /// Write the faulty model of one recorded trial
    Replay(results::ReplayArgs),
    /// Write the records of a campaign in another format
    Export(results::ExportArgs),
    /// Make the tables and the report of a campaign again
    Report(results::ReportArgs),
    /// Train a network that stands bit errors, or resume
    Train(train::Args),
    /// Find the flips that do most damage, or resume
    Attack(Box<attack::Args>),
    /// Rank bits by how much they matter
    Rank(Box<rank::Args>),
    /// Write a model with guards on its activations
    Guard(guard::Args),
    /// Choose what to protect within a budget of extra bits, and judge it
    Protect(protect::Args),
    /// Trade accuracy for the energy of the memory
    Energy(energy::Args),
    /// Compare two campaigns trial by trial
    Compare(compare::Args),
    /// Check that everything needed is there
    Doctor(doctor::Args),
    /// Print a completion script for a shell
    Completions(CompletionArgs),
}

#[derive(clap::Args)]
struct CompletionArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Runs the command and returns its exit code. `arguments` are those of a process, its name first; `executable` is what starts this command
/// again, on other machines too: `submit` gives it to the tasks that it sends.
///
/// ```
/// let executable = std::env::current_exe()?;
/// assert_eq!(bitquake_command::run(["bitquake", "bits", "0.5"].map(Into::into), Some(executable)), 0);
/// assert_eq!(bitquake_command::run(["bitquake", "bits"].map(Into::into), None), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run(arguments: impl IntoIterator<Item = OsString>, executable: Option<PathBuf>) -> u8 {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => start(cli, executable),
        Err(told) => {
            // A reader that has gone needs no help.
            _ = told.print();
            if told.use_stderr() { USAGE } else { 0 }
        }
    }
}

fn start(cli: Cli, executable: Option<PathBuf>) -> u8 {
    let output = Output { quiet: cli.quiet };
    let done = match cli.command {
        Command::Bits(args) => bits::run(&args, &output),
        Command::Inspect(args) => inspect::run(&args, &output),
        Command::Quantize(args) => quantize::run(&args, &output),
        Command::Inject(args) => inject::run(&args, &output),
        Command::Diff(args) => diff::run(&args, &output),
        Command::Run(args) => run::run(&args, &output),
        Command::Submit(args) => submit::run(&args, executable, &output),
        Command::Status(args) => status::run(&args, &output),
        Command::Merge(args) => merge::run(&args, &output),
        Command::Replay(args) => results::replay(&args, &output),
        Command::Export(args) => results::export(&args, &output),
        Command::Report(args) => results::report(&args, &output),
        Command::Train(args) => train::run(&args, &output),
        Command::Attack(args) => attack::run(&args, &output),
        Command::Rank(args) => rank::run(&args, &output),
        Command::Guard(args) => guard::run(&args, &output),
        Command::Protect(args) => protect::run(&args, &output),
        Command::Energy(args) => energy::run(&args, &output),
        Command::Compare(args) => compare::run(&args, &output),
        Command::Doctor(args) => doctor::run(&args, &output),
        Command::Completions(args) => completions(&args, &output),
    };
    match done {
        Ok(()) => 0,
        Err(failure) => failure.report(),
    }
}

fn completions(args: &CompletionArgs, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "bitquake", &mut script);
    output.data(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
