//! PyTorch in a process of its own.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Failure;

pub(crate) struct Torch {
    child: Child,
    tasks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    pub(crate) relu_share: f64,
}

impl Torch {
    /// Starts it; it calibrates the model in the file.
    pub(crate) fn start(model: &Path, images: &Path, threads: usize) -> Result<Self, Failure> {
        let python = std::env::var("BITQUAKE_PYTHON").unwrap_or_else(|_| "python3".into());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/torch_baseline.py");
        let mut command = Command::new(&python);
        command.arg(script).args([model, images]).arg(threads.to_string());
        // Large buffers are kept instead of being given back and cleared anew for every layer: PyTorch's best setting.
        for name in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"] {
            command.env(name, "1000000000");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let tasks = child.stdin.take().ok_or("no standard input")?;
        let output = child.stdout.take().ok_or("no standard output")?;
        let mut torch = Self { child, tasks, answers: BufReader::new(output).lines(), relu_share: 0.0 };
        torch.relu_share = torch.answer()?;
        Ok(torch)
    }

    /// Runs a task; its time.
    pub(crate) fn ms(&mut self, task: &str) -> Result<f64, Failure> {
        writeln!(self.tasks, "{task}")?;
        Ok(self.answer()? * 1e3)
    }

    fn answer(&mut self) -> Result<f64, Failure> {
        let line = self.answers.next().ok_or("python ended: has it torch, numpy and onnx?")??;
        Ok(line.trim().parse()?)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It waits for tasks and has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
