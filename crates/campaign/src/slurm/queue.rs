//! Talking to Slurm.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use super::SlurmError;

/// What of a user's job arrays is in the queue: the array's number and the task's, and the state in Slurm's lower-case words.
pub type Queued = BTreeMap<(String, u32), String>;

/// The cluster that `sbatch` and `squeue` of this machine talk to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

impl Queue {
    /// Sends a script and returns the number of its job.
    ///
    /// # Errors
    /// [`SlurmError::Missing`] and [`SlurmError::Refused`].
    pub fn send(self, script: &Path, arguments: &[String]) -> Result<String, SlurmError> {
        let words = arguments.iter().map(OsStr::new).chain([script.as_os_str()]);
        let said = call("sbatch", [OsStr::new("--parsable")].into_iter().chain(words))?;
        // `12` or `12;cluster`.
        Ok(said.trim().split(';').next().unwrap_or_default().to_owned())
    }

    /// The tasks of this user's job arrays that have not ended.
    ///
    /// # Errors
    /// [`SlurmError::Missing`] and [`SlurmError::Refused`].
    pub fn tasks(self) -> Result<Queued, SlurmError> {
        let said = call("squeue", ["-h", "-r", "--me", "-o", "%F %K %T"].map(OsStr::new))?;
        Ok(said.lines().filter_map(task).collect())
    }
}

/// `12 3 RUNNING`; jobs that are no arrays have `N/A` for the task.
fn task(line: &str) -> Option<((String, u32), String)> {
    let mut words = line.split_whitespace();
    let (job, task, state) = (words.next()?, words.next()?, words.next()?);
    Some(((job.to_owned(), task.parse().ok()?), state.to_lowercase()))
}

fn call<'a>(program: &'static str, words: impl IntoIterator<Item = &'a OsStr>) -> Result<String, SlurmError> {
    let Output { status, stdout, stderr } = match Command::new(program).args(words).output() {
        Err(source) if source.kind() == ErrorKind::NotFound => {
            return Err(SlurmError::Missing { program, source });
        }
        other => other.map_err(|source| SlurmError::Missing { program, source })?,
    };
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr).trim().to_owned();
    Err(SlurmError::Refused { program, said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_queue() {
        assert_eq!(task("12 3 RUNNING"), Some((("12".into(), 3), "running".into())));
        for line in ["", "12", "12 N/A RUNNING", "12 3"] {
            assert_eq!(task(line), None, "{line}");
        }
    }
}
