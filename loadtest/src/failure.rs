//! Why a measurement could not be made, or what it found: for people, with an exit code for machines.

use std::fmt;
use std::process::ExitCode;

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// A figure became worse, beyond the noise and the threshold.
    Worse = 1,
    /// The command line or a file that it names is wrong.
    Usage = 2,
    /// Nothing could be measured: no app, no oha, errors for answers, another machine's baseline.
    Unmeasured = 3,
    /// An answer was not the one that the app gives itself.
    WrongAnswer = 4,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// What ends the program before its report, in a sentence with the next step.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    /// How the process ends.
    pub(crate) code: Code,
}

/// What can go wrong.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// The command line or a file is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            code: Code::Usage,
        }
    }

    /// Nothing could be measured.
    pub(crate) fn unmeasured(message: impl fmt::Display) -> Self {
        Self {
            message: message.to_string(),
            code: Code::Unmeasured,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)
    }
}
