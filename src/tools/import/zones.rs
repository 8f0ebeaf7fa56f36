//! Zones and rules: `limit_req_zone`, `limit_req` and the directives beside them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    amounts::{keys, size_bytes, time},
    keys::key,
    levels::Level,
    names::{free_name, name_like},
    plan::{Remarks, RoutePlan, RulePlan, ZonePlan},
    scalar::quoted,
    translation::Translation,
    tree::Directive,
};
use crate::{config::directives::Treatment, limit::Rate};

/// Default of `max_wait`.
const MAX_WAIT_MS: u64 = 30_000;
/// Most rules on a route.
pub const MAX_RULES: usize = 8;

/// Plans a zone for each `limit_req_zone`.
pub fn zones(state: &mut Translation<'_>) {
    let http = state.http.clone();
    for directive in http.own("limit_req_zone") {
        let Some((nginx_name, size)) = parameter(directive, "zone").map(split_size) else {
            state.notes.refuse(directive, "it has no `zone=`");
            continue;
        };
        if state.zones.contains_key(nginx_name) {
            state.notes.refuse(directive, format!("the zone `{nginx_name}` is declared twice"));
            continue;
        }
        let planned = zone(state, directive, size).map(|zone| {
            let name =
                free_name(&name_like(nginx_name), |name| state.plan.zones.contains_key(name));
            state.plan.zones.insert(name.clone(), zone);
            name
        });
        if let Err(reason) = &planned {
            state.notes.refuse(directive, reason.clone());
        }
        state.zones.insert(nginx_name, planned);
    }
}

fn zone(
    state: &mut Translation<'_>,
    directive: &Directive,
    size: Option<&str>,
) -> Result<ZonePlan, String> {
    let key = key(state, directive.arg(0))?;
    let rate = parameter(directive, "rate").ok_or("it has no `rate=`")?;
    let mut remarks = Remarks::from(state.origin(directive));
    key.changes.iter().chain(&inexact(rate)).for_each(|change| remarks.add(change));
    let zone = ZonePlan {
        key: key.parts,
        rate: rate.to_owned(),
        capacity: size.and_then(size_bytes).map(keys),
        exempt: key.exempt,
        condition: key.condition,
        remarks,
    };
    if let Some(reason) = state.loads.rule(&zone.key_and_rate(), "") {
        return Err(reason);
    }
    carry_zone(state, directive, &key.maps, &zone.remarks);
    Ok(zone)
}

/// Marks a zone, with the maps of its key, as carried over with these differences.
pub fn carry_zone(
    state: &mut Translation<'_>,
    directive: &Directive,
    maps: &[String],
    remarks: &Remarks,
) {
    maps.iter().for_each(|map| carry_map(state, map));
    if remarks.changes.is_empty() {
        state.notes.carry(directive);
    }
    for change in &remarks.changes {
        state.notes.tell(directive, Treatment::Noted, change.clone());
    }
}

/// Marks a map, and those it reads, as carried over in the list of a zone.
fn carry_map(state: &mut Translation<'_>, name: &str) {
    let mut next = state.maps.get(name).copied();
    // At most as many steps as the key had.
    for _ in 0..4 {
        let Some(map) = next else { return };
        state.notes.tell(map, Treatment::Carried, "in `exempt`, `when` or `unless`");
        next = state.maps.get(map.arg(0).trim_start_matches('$')).copied();
    }
}

/// Rate of nginx that is not the one it was asked for: nginx counts whole thousandths of a request
/// a second, so `2r/m` is 33 of them, one request in 30.303 s.
fn inexact(rate: &str) -> Option<String> {
    let requests: u64 = rate.strip_suffix("r/m")?.parse().ok()?;
    let thousandths = requests.checked_mul(1_000)? / 60;
    if thousandths * 60 == requests * 1_000 {
        return None;
    }
    Some(match thousandths {
        0 => format!("`{rate}` is exact, nginx takes it for no rate"),
        thousandths => {
            let interval_ms = 1_000_000 / thousandths;
            let (seconds, rest_ms) = (interval_ms / 1_000, interval_ms % 1_000);
            format!("`{rate}` is exact, nginx admits one in {seconds}.{rest_ms:03} s")
        }
    })
}

/// Value of a parameter `name=value`.
#[must_use]
pub fn parameter<'a>(directive: &'a Directive, name: &str) -> Option<&'a str> {
    let value = |word: &'a String| word.strip_prefix(name)?.strip_prefix('=');
    directive.args.iter().find_map(value)
}

fn split_size(zone: &str) -> (&str, Option<&str>) {
    zone.split_once(':').map_or((zone, None), |(name, size)| (name, Some(size)))
}

/// Plans the rules of rate of a route.
pub fn rules(state: &mut Translation<'_>, level: &Level<'_>, route: &mut RoutePlan) {
    let is_dry = level.is_on("limit_req_dry_run");
    let mut used = Vec::new();
    for directive in level.all("limit_req") {
        let name = parameter(directive, "zone").unwrap_or_default();
        let rule = match state.zones.get(name).cloned() {
            Some(Ok(zone)) if used.contains(&zone) => {
                Err(format!("the zone `{name}` is applied twice"))
            }
            Some(Ok(_)) if used.len() == MAX_RULES => Err("a route has at most 8 rules".to_owned()),
            Some(Ok(zone)) => rule(state, directive, &zone, is_dry).inspect(|_| used.push(zone)),
            Some(Err(_)) => Err(format!("the zone `{name}` has no counterpart")),
            None => {
                let delays = delays(directive).unwrap_or_default();
                route.lost_limits.push(format!("zone: {}{delays}", quoted(name)));
                Err(format!("the zone `{name}` is in no file that was read: name that file too"))
            }
        };
        match rule {
            Ok(rule) => route.limits.push(rule),
            Err(reason) => {
                route.remarks.add(format!("no limit: {reason}"));
                state.notes.refuse(directive, reason);
            }
        }
    }
    if let Some(directive) = level.one("limit_req_dry_run").filter(|_| !route.limits.is_empty()) {
        match is_dry {
            true => state.notes.carry(directive),
            false => state.notes.discard(directive, "the default"),
        }
    }
    status(state, level, route);
}

fn rule(
    state: &mut Translation<'_>,
    directive: &Directive,
    zone: &str,
    is_dry: bool,
) -> Result<RulePlan, String> {
    let delays = delays(directive)?;
    let dry_run = if is_dry { ", dry_run: true" } else { "" };
    let Some(planned) = state.plan.zones.get(zone) else { return Err("no zone".to_owned()) };
    let wait = max_wait(directive, &planned.rate);
    let key_and_rate = planned.key_and_rate();
    let condition = planned.condition.as_ref().map(|condition| format!(", {condition}"));
    let is_conditional = condition.is_some();
    let rule = format!("{delays}{wait}{dry_run}{}", condition.unwrap_or_default());
    if let Some(reason) = state.loads.rule(&key_and_rate, &rule) {
        return Err(reason);
    }
    let interval = interval(&planned.rate);
    state.notes.carry(directive);
    Ok(RulePlan {
        zone: zone.to_owned(),
        text: format!("zone: {}{rule}", quoted(zone)),
        burst: parameter(directive, "burst").and_then(|text| text.parse().ok()).unwrap_or(0),
        interval,
        is_dry,
        is_conditional,
        origin: state.origin(directive),
    })
}

/// Time between two requests at a rate.
fn interval(rate: &str) -> Duration {
    let rate = rate.parse::<Rate>().ok();
    let micros = rate.map(|rate| rate.interval_ticks().saturating_mul(1_000) / rate.ticks_per_ms());
    Duration::from_micros(micros.unwrap_or_default())
}

/// Burst and delay of a `limit_req`, as keys of a rule.
fn delays(directive: &Directive) -> Result<String, String> {
    let number = |name| match parameter(directive, name) {
        None => Ok(0_u32),
        Some(text) => text.parse().map_err(|_| format!("`{name}={text}` is not a number")),
    };
    let (burst, delay) = (number("burst")?, number("delay")?);
    let is_nodelay = directive.args.iter().any(|word| word == "nodelay");
    Ok(match (burst, delay) {
        (0, _) => String::new(),
        (burst, delay) if is_nodelay || delay >= burst => {
            format!(", burst: {burst}, nodelay: true")
        }
        (burst, 0) => format!(", burst: {burst}"),
        (burst, delay) => format!(", burst: {burst}, delay: {delay}"),
    })
}

/// Key for the longest wait: nginx holds a request as long as its place takes.
fn max_wait(directive: &Directive, rate: &str) -> String {
    let number =
        |name| parameter(directive, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let is_nodelay = directive.args.iter().any(|word| word == "nodelay");
    let held = number("burst").saturating_sub(number("delay"));
    let (Some((requests, per)), false) = (rate.split_once("r/"), is_nodelay) else {
        return String::new();
    };
    let per_ms: u64 = if per == "m" { 60_000 } else { 1_000 };
    let requests = requests.parse::<u64>().unwrap_or(1).max(1);
    let longest_ms = held.saturating_mul(per_ms).div_ceil(requests);
    match longest_ms {
        0..=MAX_WAIT_MS => String::new(),
        longest_ms => format!(", max_wait: {}", time(longest_ms.div_ceil(1_000) * 1_000)),
    }
}

/// Plans the status of a reject of a route.
fn status(state: &mut Translation<'_>, level: &Level<'_>, route: &mut RoutePlan) {
    let Some(directive) = level.one("limit_req_status") else { return };
    match directive.arg(0).parse::<u16>() {
        Ok(status @ 400..=599) => {
            route.reject_status = Some(status).filter(|_| !route.limits.is_empty());
            if route.reject_status.is_some() {
                state.notes.carry(directive);
            }
        }
        _ => state.notes.refuse(directive, "a reject has a status from 400 to 599"),
    }
}

/// Makes the status that most routes have the general one.
pub fn general_status(state: &mut Translation<'_>) {
    let mut counts = BTreeMap::<u16, usize>::new();
    let limited = || state.plan.routes.iter().filter(|route| !route.limits.is_empty());
    for route in limited() {
        *counts.entry(route.reject_status.unwrap_or(503)).or_default() += 1;
    }
    let general = counts.iter().max_by_key(|(_, count)| **count).map_or(503, |(status, _)| *status);
    state.plan.reject_status = general;
    for route in &mut state.plan.routes {
        let own =
            if route.limits.is_empty() { general } else { route.reject_status.unwrap_or(503) };
        route.reject_status = (own != general).then_some(own);
    }
    if general != 503 {
        let remarks = Remarks::default();
        state.plan.settings.push((format!("reject: {{ status: {general} }}"), remarks));
    }
}

/// Marks zones that no rule uses.
pub fn unused(state: &mut Translation<'_>) {
    let http = state.http.clone();
    for directive in http.own("limit_req_zone") {
        let Some((nginx_name, _)) = parameter(directive, "zone").map(split_size) else { continue };
        let Some(Ok(name)) = state.zones.get(nginx_name) else { continue };
        let mut rules = state.plan.routes.iter().flat_map(|route| &route.limits);
        let is_used = rules.any(|rule| rule.zone == *name);
        if !is_used {
            let reason = "no `limit_req` of the files uses it";
            if let Some(zone) = state.plan.zones.get_mut(name) {
                zone.remarks.add(reason);
            }
            state.notes.tell(directive, Treatment::Noted, reason);
        }
    }
}
