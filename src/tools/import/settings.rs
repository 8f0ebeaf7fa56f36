//! Settings that weir has once: time-outs of clients, logs, proxies, workers.

use super::{
    amounts::{size, size_bytes, time, time_ms},
    everywhere::{Everywhere, once},
    logs,
    plan::Remarks,
    proxies,
    translation::Translation,
    tree::Directive,
};
use crate::config::directives::Treatment;

/// Time-outs of clients: directive, key, default.
const TIMEOUTS: [(&str, &str, u64); 5] = [
    ("client_header_timeout", "header", 10_000),
    ("client_body_timeout", "body", 30_000),
    ("keepalive_timeout", "keepalive", 75_000),
    ("send_timeout", "write", 30_000),
    ("keepalive_time", "connection", 3_600_000),
];
/// Most connections and requests that a listener can count.
const MAX_COUNT: u32 = 1_000_000_000;

/// Plans the settings.
pub fn settings(state: &mut Translation<'_>) {
    let all = Everywhere::of(&state.files.directives);
    proxies::proxies(state, &all);
    timeouts(state, &all);
    header_limits(state, &all);
    connections(state, &all);
    logs::access_log(state, &all);
    logs::error_log(state, &all);
    process(state, &all);
    others(state, &all);
    head(state);
}

fn head(state: &mut Translation<'_>) {
    let mut head: Vec<String> = [
        "Written by `weir import nginx`. An entry has its file and line behind it, and above it what",
        "differs from nginx. What the files do not set has weir's default.",
    ]
    .map(str::to_owned)
    .to_vec();
    head.append(&mut state.plan.head);
    state.plan.head = head;
}

fn timeouts(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    let (mut keys, mut remarks) = (Vec::new(), Remarks::default());
    for (name, key, default_ms) in TIMEOUTS {
        let read = |directive: &Directive| match time_ms(directive.arg(0)) {
            Some(0) if name != "keepalive_timeout" => Err("not a time above 0".to_owned()),
            Some(ms) => Ok(ms),
            None => Err("not a time".to_owned()),
        };
        let Some((ms, directive)) = once(state, &all.named(name), read) else { continue };
        if ms == default_ms {
            // Carried is said of a key that is written.
            state.notes.tell(directive, Treatment::Carried, "the default");
            continue;
        }
        if remarks.origin.is_empty() {
            remarks.origin = state.origin(directive);
        }
        keys.push(format!("{key}: {}", time(ms)));
    }
    if !keys.is_empty() {
        state.plan.settings.push((format!("timeouts: {{ {} }}", keys.join(", ")), remarks));
    }
}

fn header_limits(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    let read = |directive: &Directive| {
        let number = directive.arg(0).parse::<u64>().ok();
        let bytes = number
            .zip(size_bytes(directive.arg(1)))
            .map(|(number, size)| number.saturating_mul(size));
        bytes.ok_or_else(|| "not a number and a size".to_owned())
    };
    let all = all.named("large_client_header_buffers");
    let Some((bytes, directive)) = once(state, &all, read) else { return };
    if bytes == 32 * 1_024 {
        return state.notes.tell(directive, Treatment::Carried, "the default");
    }
    let limit = size(bytes.clamp(1 << 10, 1 << 20));
    let remarks = Remarks::from(state.origin(directive));
    state.plan.settings.push((format!("header_limits: {{ size: {limit} }}"), remarks));
}

/// `keepalive_requests`, for all listeners.
fn connections(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    let mut keys = Vec::new();
    let read = |directive: &Directive| match directive.arg(0).parse::<u32>() {
        Ok(number @ 1..=MAX_COUNT) => Ok(number),
        _ => Err("not a number from 1 to 1000000000".to_owned()),
    };
    if let Some((number, directive)) = once(state, &all.named("keepalive_requests"), read) {
        match number {
            10_000 => state.notes.tell(directive, Treatment::Carried, "the default"),
            number => keys.push(("max_requests", number.to_string())),
        }
    }
    for listener in &mut state.plan.listeners {
        listener.keys.extend(keys.iter().cloned());
    }
}

fn process(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    let read = |directive: &Directive| match directive.arg(0) {
        "auto" => Ok(None),
        text => match text.parse::<u32>() {
            Ok(number @ 1..=1_024) => Ok(Some(number)),
            _ => Err("at least 1 and at most 1024".to_owned()),
        },
    };
    match once(state, &all.named("worker_processes"), read) {
        Some((Some(number), directive)) => {
            let remarks = Remarks::from(state.origin(directive));
            state.plan.settings.push((format!("workers: {number}"), remarks));
        }
        Some((None, directive)) => state.notes.tell(directive, Treatment::Carried, "the default"),
        None => {}
    }
    let read =
        |directive: &Directive| time_ms(directive.arg(0)).ok_or_else(|| "not a time".to_owned());
    if let Some((ms, directive)) = once(state, &all.named("worker_shutdown_timeout"), read) {
        let remarks = Remarks::from(state.origin(directive));
        state.plan.settings.push((format!("drain: {}", time(ms)), remarks));
    }
    for name in ["worker_connections", "worker_rlimit_nofile"] {
        for (_, directive) in all.named(name) {
            let reason = "`max_connections: auto` follows the limit of open files";
            state.notes.tell(directive, Treatment::Noted, reason);
        }
    }
}

/// Outcomes of directives that no key is written for.
fn others(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    for (_, directive) in all.named("include") {
        let files = state.files.included.get(&directive.id).copied().unwrap_or(0);
        let is_types = super::files::is_data(directive.arg(0));
        match files {
            0 if is_types => state.notes.discard(directive, "weir needs no types"),
            // A pattern without a file is none in nginx either.
            0 if directive.arg(0).contains(['*', '?']) => {
                state.notes.tell(directive, Treatment::Noted, "no such file");
            }
            0 => state.notes.refuse(directive, "there is no such file"),
            1 => state.notes.carry(directive),
            files => state.notes.tell(directive, Treatment::Carried, format!("{files} files")),
        }
    }
    if all.named("proxy_cache").is_empty() {
        let settings = all.iter().filter(|(_, one)| {
            one.name.starts_with("proxy_cache_") || one.name == "proxy_no_cache"
        });
        for (_, one) in settings {
            state.notes.discard(one, "nothing is cached without `proxy_cache`");
        }
    }
    for (_, directive) in all.named("http2") {
        match directive.arg(0) {
            "off" => state.notes.tell(directive, Treatment::Noted, "HTTP/2 stays on with TLS"),
            _ => state.notes.tell(directive, Treatment::Carried, "the default with TLS"),
        }
    }
    for name in ["map", "geo"] {
        for (_, directive) in all.named(name) {
            // What uses it has a line of its own.
            state.notes.discard(directive, "no zone and no redirect of weir is made of it");
        }
    }
    unplanned(state, all);
    for name in ["http", "server"] {
        for (_, directive) in all.named(name) {
            state.notes.carry(directive);
        }
    }
}

/// Refuses what only some forms of are carried over, where no route has taken it.
fn unplanned(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    for (name, reason) in [
        ("if", "a condition on more than the method: write routes for the paths or hosts"),
        ("rewrite", "no route is planned with it"),
        ("error_page", "responses follow `Accept`; `reject: { body: text }` sets that of a reject"),
    ] {
        for (depth, directive) in all.named(name) {
            if state.notes.has(directive) {
                continue;
            }
            state.notes.refuse(directive, reason);
            // One of a location is in the comments of its route.
            if name == "if" && depth <= 1 {
                let (origin, text) = (state.origin(directive), directive.text());
                state.plan.head.push(format!("not imported: {origin} `{text}`: {reason}"));
            }
        }
    }
}
