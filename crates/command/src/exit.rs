//! Exit codes.

use std::fmt::Display;

use bitquake::{Error, ErrorKind};

/// Why the command did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something went wrong; the code says whose fault it is.
    Error {
        /// The exit code.
        code: u8,
        /// What to tell the person.
        message: String,
    },
    /// Nobody reads the output any more.
    ClosedPipe,
}

pub(crate) const USAGE: u8 = 2;
pub(crate) const BAD_INPUT: u8 = 3;
pub(crate) const STOPPED: u8 = 4;
pub(crate) const SELF_CHECK: u8 = 5;

impl Failure {
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::Error { code: USAGE, message: message.to_string() }
    }

    pub(crate) fn stopped(message: impl Display) -> Self {
        Self::Error { code: STOPPED, message: message.to_string() }
    }

    /// Tells the person and gives the exit code.
    pub(crate) fn report(self) -> u8 {
        match self {
            Self::Error { code, message } => {
                anstream::eprintln!("{} {message}", crate::output::strong_red("error:"));
                code
            }
            Self::ClosedPipe => 0,
        }
    }
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let code = match error.kind() {
            ErrorKind::Usage => USAGE,
            ErrorKind::BadInput => BAD_INPUT,
            ErrorKind::Stopped => STOPPED,
            ErrorKind::SelfCheck => SELF_CHECK,
        };
        let mut message = with_sources(&error);
        if error.kind() == ErrorKind::Stopped {
            message.push_str("\nthe disk is full or fails; what is finished is kept, and once it has room the same command resumes");
        }
        Self::Error { code, message }
    }
}

/// The error and what caused it, each once.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
