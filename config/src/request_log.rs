//! `[request_log]`: one line for each request.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::FilePath;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
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

/// `[request_log]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenRequestLog {
    /// Off writes no lines; metrics are counted all the same.
    enabled: bool,
    /// For people or for programs.
    format: LogFormat,
    /// "stdout", or a file, which is opened again on SIGUSR1.
    path: FilePath,
    /// The part of answers below 400 that is logged; failures always are.
    #[schemars(range(min = 0.0, max = 1.0))]
    sample: f64,
}

impl Default for WrittenRequestLog {
    fn default() -> Self {
        let settings = RequestLogSettings::default();
        Self {
            enabled: settings.enabled,
            format: settings.format,
            path: match settings.target {
                LogTarget::Stdout => FilePath(STDOUT.to_owned()),
                LogTarget::File(path) => FilePath(path.to_string_lossy().into_owned()),
            },
            sample: settings.sample,
        }
    }
}

impl WrittenRequestLog {
    pub(crate) fn check(&self, site: &Site<'_>) -> RequestLogSettings {
        RequestLogSettings {
            enabled: self.enabled,
            format: self.format,
            target: match self.path.0.as_str() {
                STDOUT => LogTarget::Stdout,
                _ => LogTarget::File(site.key("path").file(&self.path)),
            },
            sample: self.sample,
        }
    }
}

/// A file of this name is `./stdout`.
const STDOUT: &str = "stdout";
