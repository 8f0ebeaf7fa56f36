//! `access_log` and `log` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::log::line_format::Escape;

/// Access log: one line for each request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// `stdout`, `stderr`, `none` or a path with a slash in it (nginx: `access_log`).
    pub to: String,
    /// Form of a line: `json`, `combined`, `short`, or text with the variables of nginx's
    /// `log_format`. `auto` is `short` on a terminal and `json` elsewhere (nginx: `log_format`).
    pub format: String,
    /// Escape of values in a format with variables (nginx: `log_format ... escape=`).
    pub escape: Escape,
    /// Fewer lines for a key that is rejected again and again.
    pub sample_rejects: SampleRejects,
}

/// Fewer lines for a key that is rejected again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleRejects {
    /// Rejects of a key that get a line of their own, counted over all workers: 5 by default,
    /// and all with `combined` and formats with variables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    /// Interval at which the others are summed up: in a line of a JSON log, or with other formats,
    /// which have none for it, on standard error.
    #[schemars(extend("x-type" = "time"))]
    pub then_every: String,
}

/// Error log: one line for each reject, in the form of nginx's error log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorLog {
    /// `stdout`, `stderr`, `none` or a path. Lines are never sampled, and fail2ban reads them
    /// with its own filter `nginx-limit-req` (nginx: `error_log`).
    pub to: String,
}

/// Diagnostics on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSpec {
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`, also by module:
    /// `info,weir::upstream=debug` (nginx: `error_log`).
    pub level: String,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            to: "stdout".to_owned(),
            format: "auto".to_owned(),
            escape: Escape::default(),
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

impl Default for LogSpec {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}
