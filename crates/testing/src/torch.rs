//! PyTorch in a process of its own, as the baseline of benchmarks.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A Python script that is given tasks, one a line, and answers each with a line of numbers.
///
/// It runs in the Python of `BITQUAKE_PYTHON` (or `python3`), and ends with its handle.
pub struct Torch {
    child: Child,
    tasks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Torch {
    /// Starts a script.
    ///
    /// # Errors
    ///
    /// If there is no such Python. What is wrong with the script shows at the first task.
    pub fn start(script: &Path, arguments: &[&str]) -> Result<Torch, Box<dyn Error>> {
        let python = std::env::var("BITQUAKE_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = Command::new(python);
        command.arg(script).args(arguments);
        // Large buffers are kept instead of being given back and cleared anew for every layer: PyTorch's best setting.
        for name in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"] {
            command.env(name, "1000000000");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (tasks, output) = (child.stdin.take(), child.stdout.take());
        let (tasks, output) = tasks.zip(output).ok_or("no pipes")?;
        Ok(Torch { child, tasks, answers: BufReader::new(output).lines() })
    }

    /// The numbers that a task is answered by.
    ///
    /// # Errors
    ///
    /// If the script has ended, or answers something else.
    pub fn ask(&mut self, task: &str) -> Result<Vec<f64>, Box<dyn Error>> {
        writeln!(self.tasks, "{task}")?;
        let line = self.answers.next().ok_or("python ended: has it torch, numpy and onnx?")??;
        Ok(line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It waits for tasks and has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
