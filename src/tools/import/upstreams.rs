//! Upstreams: `upstream` blocks and the targets of `proxy_pass`, with the time-outs of the place.

use std::collections::BTreeMap;

use super::{
    amounts::{size, size_bytes, time, time_ms},
    levels::Level,
    names::{free_name, name_like},
    plan::{EndpointPlan, Remarks, UpstreamPlan},
    scalar::quoted,
    translation::Translation,
    tree::{Directive, Place},
    zones::parameter,
};
use crate::config::directives::Treatment;

/// Upstream of routes that are closed: nothing listens there.
pub const CLOSED: &str = "closed";
/// Default of `upstreams.NAME.response_limits.size`, in bytes.
const HEAD_BYTES: u64 = 32 * 1_024;

/// Target of a `proxy_pass`.
#[derive(Clone, Copy, Debug)]
pub struct ProxyTarget<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host and port, or the name of an `upstream` block.
    pub authority: &'a str,
    /// Endpoints speak HTTP/2.
    pub is_grpc: bool,
    /// Place of the directive.
    pub place: Place,
}

/// Returns the upstream of a target: a name, or the URL of an endpoint without settings.
///
/// # Errors
/// The reason why there is none.
pub fn upstream(
    state: &mut Translation<'_>,
    target: ProxyTarget<'_>,
    level: &Level<'_>,
) -> Result<String, String> {
    let group = state.groups.get(target.authority).copied();
    let mut lines = Vec::new();
    let mut remarks = Remarks::from(state.origin_of(target.place));
    let endpoints = match group {
        Some(block) => {
            remarks.origin = state.origin(block);
            let endpoints = endpoints(state, block, target.scheme, &mut remarks);
            group_lines(state, block, &mut lines, &mut remarks);
            endpoints
        }
        None => vec![EndpointPlan::at(url(target.scheme, target.authority))],
    };
    if endpoints.is_empty() {
        return Err(format!("`{}` has no server that weir can reach", target.authority));
    }
    for endpoint in &endpoints {
        if let Some(reason) = state.loads.endpoint(&endpoint.url) {
            return Err(reason);
        }
    }
    if target.is_grpc {
        lines.push("protocol: http2".to_owned());
    }
    place_lines(state, target, level, &mut lines);
    let plan = UpstreamPlan { name: String::new(), endpoints, lines, remarks };
    Ok(named(state, plan, group.is_some(), target.authority))
}

/// Name of the planned upstream that is the same, or of this one.
fn named(
    state: &mut Translation<'_>,
    plan: UpstreamPlan,
    is_group: bool,
    authority: &str,
) -> String {
    let is_plain = plan.lines.is_empty() && !is_group;
    if let ([EndpointPlan { url, weight: 1, .. }], true) = (&plan.endpoints[..], is_plain) {
        return url.clone();
    }
    let known = &state.plan.upstreams;
    let same = |one: &&UpstreamPlan| one.endpoints == plan.endpoints && one.lines == plan.lines;
    if let Some(same) = known.iter().find(same) {
        return same.name.clone();
    }
    let is_taken = |name: &str| name == CLOSED || known.iter().any(|one| one.name == name);
    let name = free_name(&name_of(authority, is_group), is_taken);
    state.plan.upstreams.push(UpstreamPlan { name: name.clone(), ..plan });
    name
}

/// Name of an upstream. One of an address is called by its port: a name of digits would be a number
/// in YAML.
fn name_of(authority: &str, is_group: bool) -> String {
    let is_address = authority.starts_with(|letter: char| letter.is_ascii_digit() || letter == '[');
    match authority.rsplit_once(':') {
        Some((_, port)) if is_address && !is_group => name_like(&format!("upstream-{port}")),
        _ => name_like(authority),
    }
}

/// URL of an endpoint; nginx's default port of a server is 80, also for `https`.
fn url(scheme: &str, authority: &str) -> String {
    let scheme = scheme.to_ascii_lowercase();
    format!("{scheme}://{authority}")
}

fn endpoints(
    state: &mut Translation<'_>,
    block: &Directive,
    scheme: &str,
    remarks: &mut Remarks,
) -> Vec<EndpointPlan> {
    let mut found: Vec<EndpointPlan> = Vec::new();
    for server in block.named("server") {
        let address = server.arg(0);
        let flag = |name: &str| server.args.iter().any(|word| word == name);
        if address.starts_with("unix:") {
            remarks.add(format!("without `{address}`: unix sockets are not supported"));
            state.notes.refuse(server, "unix sockets are not supported");
            continue;
        }
        if flag("down") {
            remarks.add(format!("without `{address}`: it is down"));
            state.notes.tell(server, Treatment::Noted, "it is down");
            continue;
        }
        let is_backup = flag("backup");
        let weight = parameter(server, "weight").and_then(|text| text.parse().ok()).unwrap_or(1);
        let has_port =
            address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { address.to_owned() } else { format!("{address}:80") };
        let (url, weight) = (url(scheme, &address), u32::clamp(weight, 1, 1_000));
        match found.iter_mut().find(|known| known.url == url) {
            // Twice the server is twice the weight.
            Some(known) => known.weight = known.weight.saturating_add(weight).min(1_000),
            None => found.push(EndpointPlan { url, weight, is_backup }),
        }
        state.notes.carry(server);
        for name in ["max_conns", "slow_start"] {
            if parameter(server, name).is_some() {
                state.notes.refuse(server, format!("without `{name}`"));
            }
        }
    }
    // nginx refuses a group of backups, and so does weir.
    if found.iter().all(|endpoint| endpoint.is_backup) {
        found.iter_mut().for_each(|endpoint| endpoint.is_backup = false);
    }
    found
}

fn group_lines(
    state: &mut Translation<'_>,
    block: &Directive,
    lines: &mut Vec<String>,
    remarks: &mut Remarks,
) {
    state.notes.carry(block);
    let mut keepalive = BTreeMap::new();
    let mut balance = None;
    for child in block.children() {
        match &*child.name {
            "ip_hash" => balance = Some("balance: hash:client_ip"),
            "hash" if child.arg(0) == "$remote_addr" || child.arg(0) == "$binary_remote_addr" => {
                balance = Some("balance: hash:client_ip");
            }
            "hash" => {
                state.notes.refuse(child, "weir hashes the client address only");
                continue;
            }
            "least_conn" => {
                state.notes.discard(child, "the default");
                continue;
            }
            "least_time" | "random" => {
                let reason = "the address with the fewest requests in progress";
                state.notes.tell(child, Treatment::Noted, reason);
                continue;
            }
            "keepalive" => match child.arg(0).parse::<u32>() {
                Ok(count @ 0..=65_536) => {
                    keepalive.insert("max_idle", count.to_string());
                }
                _ => {
                    state.notes.refuse(child, "not a number of connections");
                    continue;
                }
            },
            "keepalive_timeout" => match time_ms(child.arg(0)) {
                Some(ms) => {
                    keepalive.insert("idle", time(ms));
                }
                None => {
                    state.notes.refuse(child, "not a time");
                    continue;
                }
            },
            "zone" => {
                state.notes.discard(child, "health and balance need no zone");
                continue;
            }
            _ => continue,
        }
        state.notes.carry(child);
    }
    lines.extend(balance.map(str::to_owned));
    if !keepalive.is_empty() {
        // In the order of the documentation.
        let keys: Vec<_> =
            keepalive.iter().rev().map(|(key, value)| format!("{key}: {value}")).collect();
        lines.push(format!("keepalive: {{ {} }}", keys.join(", ")));
    }
    passive(state, block, lines, remarks);
}

/// Ejection of failing servers: nginx has one number for each, weir one for all.
fn passive(
    state: &mut Translation<'_>,
    block: &Directive,
    lines: &mut Vec<String>,
    remarks: &mut Remarks,
) {
    let values = |name: &str| {
        let mut values: Vec<&str> =
            block.named("server").filter_map(|server| parameter(server, name)).collect();
        values.dedup();
        values
    };
    let (fails, times) = (values("max_fails"), values("fail_timeout"));
    let mut keys = Vec::new();
    if let Some(failures) = fails.first().and_then(|text| text.parse::<u32>().ok()) {
        keys.push(format!("failures: {}", failures.min(1_000)));
    }
    if let Some(ms) = times.first().and_then(|text| time_ms(text)).filter(|ms| *ms > 0) {
        keys.push(format!("window: {0}, eject: {0}", time(ms)));
    }
    if fails.len() > 1 || times.len() > 1 {
        let change = "`max_fails` and `fail_timeout` of the first server are those of all";
        remarks.add(change);
        state.notes.tell(block, Treatment::Noted, change);
    }
    if !keys.is_empty() {
        lines.push(format!("health: {{ passive: {{ {} }} }}", keys.join(", ")));
    }
}

/// Settings that nginx has at the place of the `proxy_pass`.
fn place_lines(
    state: &mut Translation<'_>,
    target: ProxyTarget<'_>,
    level: &Level<'_>,
    lines: &mut Vec<String>,
) {
    let kind = if target.is_grpc { "grpc" } else { "proxy" };
    let mut timeouts = Vec::new();
    if let Some(ms) = timeout(state, level, &format!("{kind}_connect_timeout"), 2_000) {
        timeouts.push(format!("connect: {}", time(ms)));
    }
    if let Some(ms) = timeout(state, level, &format!("{kind}_read_timeout"), 0) {
        timeouts.push(format!("first_byte: {0}, idle: {0}", time(ms)));
    }
    if !timeouts.is_empty() {
        lines.push(format!("timeouts: {{ {} }}", timeouts.join(", ")));
    }
    retries(state, level, kind, lines);
    if let Some(directive) = level.one("proxy_buffer_size") {
        match size_bytes(directive.arg(0)) {
            Some(bytes) if bytes > HEAD_BYTES => {
                let bytes = bytes.min(1 << 20);
                lines.push(format!("response_limits: {{ size: {} }}", size(bytes)));
                state.notes.carry(directive);
            }
            _ => state.notes.discard(directive, "the default is 32 KiB"),
        }
    }
    if target.scheme.eq_ignore_ascii_case("https") {
        tls(state, level, kind, lines);
    }
}

fn timeout(
    state: &mut Translation<'_>,
    level: &Level<'_>,
    name: &str,
    default_ms: u64,
) -> Option<u64> {
    let directive = level.one(name)?;
    match time_ms(directive.arg(0)) {
        Some(ms) if ms > 0 && ms != default_ms => {
            state.notes.carry(directive);
            Some(ms)
        }
        Some(ms) if ms > 0 => {
            state.notes.discard(directive, "the default");
            None
        }
        _ => {
            state.notes.refuse(directive, "not a time above 0");
            None
        }
    }
}

fn retries(state: &mut Translation<'_>, level: &Level<'_>, kind: &str, lines: &mut Vec<String>) {
    let mut attempts = None;
    if let Some(directive) = level.one(&format!("{kind}_next_upstream_tries")) {
        match directive.arg(0).parse::<u32>() {
            Ok(tries @ 1..=10) => {
                attempts = Some(tries);
                state.notes.carry(directive);
            }
            Ok(0) => state.notes.tell(directive, Treatment::Noted, "at most 2 sends of a request"),
            _ => state.notes.refuse(directive, "at most 10"),
        }
    }
    if let Some(directive) = level.one(&format!("{kind}_next_upstream")) {
        let is_usual = |word: &String| word == "error" || word == "timeout";
        if directive.args == ["off"] {
            attempts = Some(1);
            state.notes.carry(directive);
        } else if directive.args.iter().all(is_usual) {
            state.notes.discard(directive, "the default; only what is safe is sent again");
        } else {
            let reason = "a response is never a reason to send a request again";
            state.notes.tell(directive, Treatment::Noted, reason);
        }
    }
    if let Some(attempts) = attempts.filter(|attempts| *attempts != 2) {
        lines.push(format!("retries: {{ attempts: {attempts} }}"));
    }
}

fn tls(state: &mut Translation<'_>, level: &Level<'_>, kind: &str, lines: &mut Vec<String>) {
    let mut keys = Vec::new();
    if let Some(directive) = level.one(&format!("{kind}_ssl_trusted_certificate")) {
        keys.push(format!("ca: {}", quoted(directive.arg(0))));
        state.notes.carry(directive);
    }
    if let Some(directive) = level.one(&format!("{kind}_ssl_name")) {
        match directive.arg(0).contains('$') {
            false => {
                keys.push(format!("server_name: {}", quoted(directive.arg(0))));
                state.notes.carry(directive);
            }
            true => state.notes.refuse(directive, "a name is no variable"),
        }
    }
    if !keys.is_empty() {
        lines.push(format!("tls: {{ {} }}", keys.join(", ")));
    }
    if let Some(directive) = level.one(&format!("{kind}_ssl_verify")) {
        match directive.arg(0) {
            "on" => state.notes.discard(directive, "the default"),
            _ => state.notes.tell(
                directive,
                Treatment::Noted,
                "endpoints with `https://` are always verified",
            ),
        }
    }
}
