//! Where the access log goes and what it looks like.

use std::{path::PathBuf, time::Duration};

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
    /// Nowhere.
    None,
}

/// What an access line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// nginx's `combined`.
    Combined,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where lines go.
    pub to: LogTarget,
    /// What they look like.
    pub format: LogFormat,
    /// How many rejects of one key get a line of their own before they are summed up; `u32::MAX`
    /// for all.
    pub rejects_first: u32,
    /// How often the others are summed up.
    pub rejects_every: Duration,
    /// Where each reject goes in the form of nginx's error log.
    pub errors_to: LogTarget,
}
