//! Requests in progress: `limit_conn_zone`, `limit_conn` and the directives beside them.

use super::{
    keys::key,
    levels::Level,
    names::{free_name, name_like},
    plan::{ConcurrencyPlan, ConcurrencyRulePlan, Remarks, RoutePlan},
    scalar::quoted,
    translation::Translation,
    tree::Directive,
    zones::{MAX_RULES, carry_zone, parameter},
};
use crate::config::directives::Treatment;

/// Plans a zone for each `limit_conn_zone`.
pub fn zones(state: &mut Translation<'_>) {
    let http = state.http.clone();
    for directive in http.own("limit_conn_zone") {
        let Some(nginx_name) = zone_name(directive) else {
            state.notes.refuse(directive, "it has no `zone=`");
            continue;
        };
        if state.concurrency.contains_key(nginx_name) {
            state.notes.refuse(directive, format!("the zone `{nginx_name}` is declared twice"));
            continue;
        }
        let planned = zone(state, directive).map(|zone| {
            let is_taken = |name: &str| state.plan.concurrency.contains_key(name);
            let name = free_name(&name_like(nginx_name), is_taken);
            state.plan.concurrency.insert(name.clone(), zone);
            name
        });
        if let Err(reason) = &planned {
            state.notes.refuse(directive, reason.clone());
        }
        state.concurrency.insert(nginx_name, planned);
    }
}

fn zone(state: &mut Translation<'_>, directive: &Directive) -> Result<ConcurrencyPlan, String> {
    let key = key(state, directive.arg(0))?;
    let mut remarks = Remarks::from(state.origin(directive));
    key.changes.iter().for_each(|change| remarks.add(change));
    let zone =
        ConcurrencyPlan { key: key.parts, exempt: key.exempt, condition: key.condition, remarks };
    if let Some(reason) = state.loads.concurrency(&zone.keys(), "max: 1") {
        return Err(reason);
    }
    carry_zone(state, directive, &key.maps, &zone.remarks);
    Ok(zone)
}

/// Name of the zone in `zone=NAME:SIZE`.
fn zone_name(directive: &Directive) -> Option<&str> {
    parameter(directive, "zone")?.split(':').next()
}

/// Plans the rules of a route.
pub fn rules(state: &mut Translation<'_>, level: &Level<'_>, route: &mut RoutePlan) {
    let is_dry = level.is_on("limit_conn_dry_run");
    let status = level.one("limit_conn_status");
    for directive in level.all("limit_conn") {
        let name = directive.arg(0);
        let is_used = |zone: &String| route.concurrency.iter().any(|rule| rule.zone == *zone);
        let rule = match state.concurrency.get(name).cloned() {
            Some(Ok(zone)) if is_used(&zone) => Err(format!("the zone `{name}` is applied twice")),
            Some(Ok(_)) if route.concurrency.len() == MAX_RULES => {
                Err("a route has at most 8 rules of concurrency".to_owned())
            }
            Some(Ok(zone)) => rule(state, directive, &zone, is_dry, status),
            Some(Err(_)) => Err(format!("the zone `{name}` has no counterpart")),
            None => {
                Err(format!("the zone `{name}` is in no file that was read: name that file too"))
            }
        };
        match rule {
            Ok(rule) => route.concurrency.push(rule),
            Err(reason) => {
                route.remarks.add(format!("no limit on requests in progress: {reason}"));
                state.notes.refuse(directive, reason);
            }
        }
    }
    if route.concurrency.is_empty() {
        return;
    }
    if let Some(directive) = level.one("limit_conn_dry_run") {
        match is_dry {
            true => state.notes.carry(directive),
            false => state.notes.discard(directive, "the default"),
        }
    }
    if let Some(directive) = status {
        match status_of(directive) {
            Some(_) => state.notes.carry(directive),
            None => state.notes.refuse(directive, "a reject has a status from 400 to 599"),
        }
    }
}

fn rule(
    state: &mut Translation<'_>,
    directive: &Directive,
    zone: &str,
    is_dry: bool,
    status: Option<&Directive>,
) -> Result<ConcurrencyRulePlan, String> {
    let dry_run = if is_dry { ", dry_run: true" } else { "" };
    let max: u32 =
        directive.arg(1).parse().map_err(|_| format!("`{}` is not a number", directive.arg(1)))?;
    let Some(planned) = state.plan.concurrency.get(zone) else { return Err("no zone".to_owned()) };
    let condition = planned.condition.as_ref().map(|condition| format!(", {condition}"));
    let limit = format!("max: {max}{dry_run}{}", condition.unwrap_or_default());
    let keys = planned.keys();
    if let Some(reason) = state.loads.concurrency(&keys, &limit) {
        return Err(reason);
    }
    state.notes.carry(directive);
    Ok(ConcurrencyRulePlan {
        zone: zone.to_owned(),
        text: format!("zone: {}, {limit}", quoted(zone)),
        status: status.and_then(status_of).unwrap_or(503),
        origin: state.origin(directive),
    })
}

fn status_of(directive: &Directive) -> Option<u16> {
    directive.arg(0).parse().ok().filter(|status| (400..=599).contains(status))
}

/// Marks zones that no rule uses.
pub fn unused(state: &mut Translation<'_>) {
    let http = state.http.clone();
    for directive in http.own("limit_conn_zone") {
        let Some(Ok(name)) = zone_name(directive).and_then(|name| state.concurrency.get(name))
        else {
            continue;
        };
        let mut rules = state.plan.routes.iter().flat_map(|route| &route.concurrency);
        if !rules.any(|rule| rule.zone == *name) {
            let reason = "no `limit_conn` of the files uses it";
            if let Some(zone) = state.plan.concurrency.get_mut(name) {
                zone.remarks.add(reason);
            }
            state.notes.tell(directive, Treatment::Noted, reason);
        }
    }
}
