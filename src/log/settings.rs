//! Destination and format of the access log.

use std::{io::IsTerminal, path::PathBuf, sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::line_format::LineFormat;

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

impl LogTarget {
    /// Returns true if people read it: a standard stream that is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => std::io::stdout().is_terminal(),
            Self::Stderr => std::io::stderr().is_terminal(),
            // A path may lead to one, but programs read what is written to a path.
            Self::File(_) | Self::None => false,
        }
    }
}

/// Form of an access line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A short line on a terminal, else JSON.
    Auto,
    /// One JSON object.
    Json,
    /// nginx's `combined`.
    Combined,
    /// A short line for people.
    Short,
    /// Text with variables.
    Own(Arc<LineFormat>),
}

/// Access lines of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouteLog {
    /// Its requests have lines.
    #[default]
    On,
    /// They have none.
    Off,
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

impl AccessLogSettings {
    /// Format of the lines, for people or programs.
    #[must_use]
    pub fn chosen_format(&self) -> LogFormat {
        self.format.on(self.to.is_terminal())
    }
}

impl LogFormat {
    fn on(&self, is_terminal: bool) -> Self {
        match self {
            Self::Auto if is_terminal => Self::Short,
            Self::Auto => Self::Json,
            chosen => chosen.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::log::settings::*;

    #[test]
    fn format_is_short_on_a_terminal_unless_one_is_written() {
        assert_eq!(LogFormat::Auto.on(true), LogFormat::Short);
        assert_eq!(LogFormat::Auto.on(false), LogFormat::Json);
        for written in [LogFormat::Json, LogFormat::Combined, LogFormat::Short] {
            assert_eq!([written.on(true), written.on(false)], [written.clone(), written]);
        }
        assert!(
            !LogTarget::File("/dev/null".into()).is_terminal() && !LogTarget::None.is_terminal()
        );
    }
}
