//! Logs: where they go and how much they say.

use std::str::FromStr;

use super::{
    super::file::{AccessLog, LogFormat as Format},
    judge::Judge,
    spot::Spot,
};
use crate::observe::settings::{AccessLogSettings, LogFormat, LogTarget};

/// The access log.
pub fn access(judge: &mut Judge<'_>, spot: Spot<'_>, log: &AccessLog) -> AccessLogSettings {
    let every = spot.key("sample_rejects").key("then_every");
    AccessLogSettings {
        to: judge.take(spot.key("to"), target(&log.to)).unwrap_or(LogTarget::None),
        format: match log.format {
            Format::Json => LogFormat::Json,
            Format::Combined => LogFormat::Combined,
        },
        rejects_first: log.sample_rejects.first,
        rejects_every: judge.positive(every, &log.sample_rejects.then_every),
    }
}

fn target(text: &str) -> Result<LogTarget, String> {
    match text {
        "stdout" => Ok(LogTarget::Stdout),
        "stderr" => Ok(LogTarget::Stderr),
        "none" => Ok(LogTarget::None),
        path if path.contains('/') => Ok(LogTarget::File(path.into())),
        _ => Err(format!("`{text}` is no place for a log, hint: stdout, stderr, none, or a path with a slash in it")),
    }
}

/// The level of diagnostics: one for all, and others by module.
pub fn level(judge: &mut Judge<'_>, spot: Spot<'_>, text: &str) -> String {
    for directive in text.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if tracing::level_filters::LevelFilter::from_str(level).is_err() || level.is_empty() {
            judge.refuse(spot, format!("`{level}` is not a level, hint: off, error, warn, info, debug or trace"));
        }
    }
    text.to_owned()
}
