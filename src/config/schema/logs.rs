//! `access_log` and `log` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One line for each request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// `stdout`, `stderr`, `none` or a path (nginx: access_log).
    pub to: String,
    /// What a line looks like (nginx: log_format).
    pub format: LogFormat,
    /// Fewer lines for one key that is rejected again and again.
    pub sample_rejects: SampleRejects,
}

/// What an access line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// nginx's `combined`.
    Combined,
}

/// Fewer lines for one key that is rejected again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleRejects {
    /// How many rejects of a key get a line of their own; 5, and all with `combined`, where nothing
    /// is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    /// How often the others are summed up.
    pub then_every: String,
}

/// One line for each reject, in the form of nginx's error log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorLog {
    /// `stdout`, `stderr`, `none` or a path (nginx: error_log).
    pub to: String,
}

/// Diagnostics on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// off, error, warn, info, debug or trace, also per module: `info,weir::upstream=debug` (nginx:
    /// error_log).
    pub level: String,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            to: "stdout".to_owned(),
            format: LogFormat::Json,
            sample_rejects: SampleRejects::default(),
        }
    }
}

impl Default for ErrorLog {
    fn default() -> Self {
        Self { to: "none".to_owned() }
    }
}

impl Default for SampleRejects {
    fn default() -> Self {
        Self { first: None, then_every: "10s".to_owned() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}
