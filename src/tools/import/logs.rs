//! Logs: `access_log`, `log_format`, `error_log`.

use super::{
    everywhere::{Everywhere, once},
    plan::Remarks,
    scalar::quoted,
    translation::Translation,
    tree::Directive,
};
use crate::config::directives::Treatment;

/// Plans `access_log`.
pub fn access_log(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    let logs = all.named("access_log");
    let is_off = |directive: &Directive| directive.arg(0) == "off";
    let formats = all.named("log_format");
    let is_json = |name: &str| {
        let format = formats.iter().find(|(_, format)| format.arg(0) == name);
        format.is_some_and(|(_, format)| format.args.iter().any(|word| word.contains('{')))
    };
    let read = |directive: &Directive| {
        let path = log_path(directive.arg(0))?;
        let format = directive
            .args
            .get(1)
            .filter(|word| !word.contains('='))
            .map_or("combined", String::as_str);
        Ok((path, if is_json(format) { "json" } else { "combined" }))
    };
    let written: Vec<_> = logs.iter().filter(|(_, log)| !is_off(log)).copied().collect();
    let chosen = once(state, &written, read);
    // `off` of all that is served: in `http`, or in the only server.
    let servers = state.servers.len();
    let off = logs.iter().find(|(depth, log)| is_off(log) && *depth <= usize::from(servers == 1));
    let off = off.map(|(_, log)| *log).filter(|_| chosen.is_none());
    for (_, directive) in logs.iter().filter(|(_, log)| is_off(log)) {
        match off.is_some() {
            true => state.notes.carry(directive),
            false => state.notes.refuse(directive, "one log for all routes"),
        }
    }
    let setting = match &chosen {
        Some(((path, format), _)) => {
            format!("access_log: {{ to: {}, format: {format} }}", quoted(path))
        }
        None if off.is_some() => "access_log: { to: none }".to_owned(),
        None => return,
    };
    let first = chosen.map(|(_, directive)| directive).or(off);
    let remarks = first.map(|first| Remarks::from(state.origin(first))).unwrap_or_default();
    for (_, format) in &formats {
        let reason = "`combined`, or `json` with other fields";
        state.notes.tell(format, Treatment::Noted, reason);
    }
    if let Some(directive) = first
        && directive.args.len() > 2
    {
        state.notes.tell(directive, Treatment::Noted, "lines are always written in batches");
    }
    state.plan.settings.push((setting, remarks));
}

/// Destination of a log.
fn log_path(path: &str) -> Result<String, String> {
    match path {
        "/dev/stdout" => Ok("stdout".to_owned()),
        "/dev/stderr" | "stderr" => Ok("stderr".to_owned()),
        "/dev/null" => Ok("none".to_owned()),
        path if path.starts_with("syslog:") => {
            Err("a log is a file or a standard stream".to_owned())
        }
        path if path.contains('$') => Err("the name of a log is no variable".to_owned()),
        "" => Err("it names no file".to_owned()),
        path if path.contains('/') => Ok(path.to_owned()),
        path => Ok(format!("./{path}")),
    }
}

/// Plans `error_log` and `log`.
pub fn error_log(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    let level = |text: &str| match text {
        "debug" => Some("debug"),
        "info" | "notice" => Some("info"),
        "warn" => Some("warn"),
        "error" | "crit" | "alert" | "emerg" => Some("error"),
        _ => None,
    };
    let read = |directive: &Directive| Ok((log_path(directive.arg(0))?, level(directive.arg(1))));
    let Some(((path, level), directive)) = once(state, &all.named("error_log"), read) else {
        return;
    };
    let remarks = Remarks::from(state.origin(directive));
    if path != "none" {
        state
            .plan
            .settings
            .push((format!("error_log: {{ to: {} }}", quoted(&path)), remarks.clone()));
        let reason = "it has the rejects; weir's own diagnostics go to standard error";
        state.notes.tell(directive, Treatment::Noted, reason);
    }
    if let Some(level) = level.filter(|level| *level != "info") {
        state.plan.settings.push((format!("log: {{ level: {level} }}"), remarks));
    }
}
