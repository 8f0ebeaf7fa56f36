//! Logs: destination, format and level.

use std::str::FromStr;

use super::{collector::Collector, location::Location};
use crate::{
    config::schema::{AccessLog, ErrorLog},
    log::settings::{AccessLogSettings, LogFormat, LogTarget},
    runtime::hint::{HintedError, hinted},
};

/// Default number of rejects per key with a line of their own. nginx's format has no line for
/// summaries.
fn default_first(format: LogFormat) -> u32 {
    match format {
        LogFormat::Json => 5,
        LogFormat::Combined => u32::MAX,
    }
}

/// Resolves the access log, and the error log beside it.
pub fn access(
    judge: &mut Collector<'_>,
    root: Location<'_>,
    log: &AccessLog,
    errors: &ErrorLog,
) -> AccessLogSettings {
    let spot = root.key("access_log");
    let every = spot.key("sample_rejects").key("then_every");
    AccessLogSettings {
        to: judge.take(spot.key("to"), target(&log.to)).unwrap_or(LogTarget::None),
        format: log.format,
        rejects_first: log.sample_rejects.first.unwrap_or_else(|| default_first(log.format)),
        rejects_every: judge.positive(every, &log.sample_rejects.then_every),
        errors_to: judge
            .take(root.key("error_log").key("to"), target(&errors.to))
            .unwrap_or(LogTarget::None),
    }
}

fn target(text: &str) -> Result<LogTarget, HintedError> {
    match text {
        "stdout" => Ok(LogTarget::Stdout),
        "stderr" => Ok(LogTarget::Stderr),
        "none" => Ok(LogTarget::None),
        path if path.contains('/') => Ok(LogTarget::File(path.into())),
        _ => {
            let hint = "write stdout, stderr, none, or a path with a slash in it";
            Err(hinted(format!("`{text}` is not a log target"), hint))
        }
    }
}

/// Resolves the level of diagnostics: one for all modules, and others by module.
pub fn level(judge: &mut Collector<'_>, spot: Location<'_>, text: &str) -> String {
    for directive in text.split(',') {
        // `weir::upstream=debug` names a module before its level.
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if tracing::level_filters::LevelFilter::from_str(level).is_err() || level.is_empty() {
            let hint = "use off, error, warn, info, debug or trace";
            judge.refuse(spot, hinted(format!("`{level}` is not a level"), hint));
        }
    }
    text.to_owned()
}
