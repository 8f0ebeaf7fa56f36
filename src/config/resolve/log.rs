//! Logs: destination, format and level.

use std::{str::FromStr, sync::Arc};

use super::{collector::Collector, location::Location};
use crate::{
    config::{
        nearest,
        schema::{AccessLog, ErrorLog},
    },
    log::{
        line_format::{self, Escape, LineFormat, LineFormatError},
        settings::{AccessLogSettings, LogFormat, LogTarget},
    },
    runtime::hint::{HintedError, hinted},
};

/// Formats that have a name.
const FORMATS: [&str; 4] = ["auto", "combined", "json", "short"];

/// Default number of rejects per key with a line of their own. The formats of nginx have no line for
/// summaries.
fn default_first(format: &LogFormat) -> u32 {
    match format {
        LogFormat::Auto | LogFormat::Json | LogFormat::Short => 5,
        LogFormat::Combined | LogFormat::Own(_) => u32::MAX,
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
    let format = judge.take(spot.key("format"), format(&log.format, log.escape));
    let format = format.unwrap_or(LogFormat::Json);
    // The default is written out by `weir config show`, beside any format.
    if log.escape != Escape::Default && !matches!(format, LogFormat::Own(_)) {
        let hint = "remove it, or write a `format` with variables, like `$remote_addr $status`";
        judge.refuse(spot.name("escape"), hinted("`escape` means nothing here", hint));
    }
    AccessLogSettings {
        to: judge.take(spot.key("to"), target(&log.to)).unwrap_or(LogTarget::None),
        rejects_first: log.sample_rejects.first.unwrap_or_else(|| default_first(&format)),
        format,
        rejects_every: judge.positive(every, &log.sample_rejects.then_every),
        errors_to: judge
            .take(root.key("error_log").key("to"), target(&errors.to))
            .unwrap_or(LogTarget::None),
    }
}

/// Parses the form of a line.
fn format(text: &str, escape: Escape) -> Result<LogFormat, HintedError> {
    let error = match text {
        "auto" => return Ok(LogFormat::Auto),
        "combined" => return Ok(LogFormat::Combined),
        "json" => return Ok(LogFormat::Json),
        "short" => return Ok(LogFormat::Short),
        text => match LineFormat::parse(text, escape) {
            Ok(format) => return Ok(LogFormat::Own(Arc::new(format))),
            Err(error) => error,
        },
    };
    let hint = match &error {
        LineFormatError::Unknown(name) => match without_counterpart(name) {
            Some(hint) => hint.to_owned(),
            None => match nearest::nearest(name, line_format::NAMES) {
                Some(known) => format!("did you mean `${known}`?"),
                None => {
                    format!(
                        "known here: {}, http_NAME, sent_http_NAME",
                        line_format::NAMES.join(", ")
                    )
                }
            },
        },
        LineFormatError::NoVariable(word) => match nearest::nearest(word, &FORMATS) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("write {}, or text with variables", FORMATS.join(", ")),
        },
        LineFormatError::NoName => {
            "write `$status` or `$${status}`; a `$` alone cannot be shown".to_owned()
        }
        LineFormatError::Control => "write it in one line".to_owned(),
        LineFormatError::TooLong => String::new(),
    };
    Err(hinted(error, hint))
}

/// Hint for variables of nginx that weir has no value for.
fn without_counterpart(name: &str) -> Option<&'static str> {
    Some(match name {
        "bytes_sent" => "`$body_bytes_sent` counts the body of the response",
        "upstream_response_time" => {
            "`$upstream_header_time` is the time to the head of its response, `$request_time` to its \
            end"
        }
        "request_length" | "content_length" => "`json` has the length of the body as `bytes_in`",
        "server_name" => "`$host` is the requested host, and `$route` the route that took it",
        _ if name.starts_with("cookie_") => "`$http_cookie` has all cookies",
        _ if name.starts_with("arg_") => "`$args` is the whole query",
        _ => return None,
    })
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
