//! Running the command as a person does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn bitquake() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bitquake"))
}

pub fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn").join(file)
}

pub fn model() -> PathBuf {
    example("fashion_cnn.onnx")
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The output, after checking that the command succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.out
    }

    /// The messages, after checking the exit code.
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        self.err
    }
}

pub fn run<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Done {
    Done::of(bitquake().args(args).output().expect("the command starts"))
}

/// Words of a command line, for arguments without spaces.
pub fn run_line(line: &str) -> Done {
    run(&line.split(' ').collect::<Vec<_>>())
}
