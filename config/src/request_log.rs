//! `[request_log]`: one line for each request.

use std::path::PathBuf;

/// The access lines.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestLogSettings {
    /// Off writes no lines; metrics are counted all the same.
    pub enabled: bool,
    /// For people or for programs.
    pub format: LogFormat,
    /// Where lines go.
    pub target: LogTarget,
    /// The part of answers below 400 that is logged, 0.0 to 1.0; failures always are.
    pub sample: f64,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Aligned words.
    Human,
    /// One JSON object a line.
    Json,
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, appended to, opened again on SIGUSR1.
    File(PathBuf),
}

impl Default for RequestLogSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            format: LogFormat::Human,
            target: LogTarget::Stdout,
            sample: 1.0,
        }
    }
}
