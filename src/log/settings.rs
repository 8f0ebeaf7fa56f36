//! Destination and format of the access log.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Destination of access lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// File, appended to.
    File(PathBuf),
    /// No log.
    None,
}

/// Form of an access line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// nginx's `combined`.
    Combined,
}

/// Settings of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Destination.
    pub to: LogTarget,
    /// Format of the lines.
    pub format: LogFormat,
    /// Rejects per key with a line of their own before they are summed up; `u32::MAX` for all.
    pub rejects_first: u32,
    /// Period of summaries.
    pub rejects_every: Duration,
    /// Destination of rejects in the form of nginx's error log.
    pub errors_to: LogTarget,
}
