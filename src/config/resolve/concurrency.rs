//! Concurrency: zones, and the rules of a route.

use super::{collector::Collector, condition, location::Location, names::Names, zone};
use crate::{
    config::{
        nearest,
        schema::{ConcurrencySpec, ConcurrentSpec},
        settings::ConcurrencyConfig,
    },
    limit::{ConcurrencyLimit, ConcurrencySettings, Key, MAX_RULES, Mode},
    proxy::concurrency::ConcurrencyRuleSettings,
    runtime::hint::hinted,
};

/// Resolves the zone of one name.
pub fn zone(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    name: &str,
    spec: &ConcurrencySpec,
) -> ConcurrencySettings {
    ConcurrencySettings {
        name: name.into(),
        key: Key {
            ipv4_prefix: spec.ipv4_prefix,
            ipv6_prefix: spec.ipv6_prefix,
            ..zone::key(judge, spot.key("key"), &spec.key, spec.missing)
        },
        exempt: judge.networks(spot.key("exempt"), &spec.exempt),
    }
}

/// Resolves the rules of a route.
pub fn rules(
    judge: &mut Collector<'_>,
    names: &Names<'_>,
    spot: Location<'_>,
    specs: &[ConcurrentSpec],
) -> Vec<ConcurrencyConfig> {
    if specs.len() > MAX_RULES {
        let message = format!("{} rules of concurrency on one route", specs.len());
        let hint = format!("use at most {MAX_RULES}");
        judge.refuse(spot.item(MAX_RULES), hinted(message, hint));
    }
    let mut rules: Vec<ConcurrencyConfig> = Vec::with_capacity(specs.len());
    for (written, spec) in specs.iter().enumerate() {
        let spot = spot.item(written);
        let settings = settings(judge, spot, spec);
        let Some(zone) = named(judge, names, spot.key("zone"), &spec.zone) else { continue };
        if rules.iter().any(|other| other.zone == zone) {
            let message = format!("the zone `{}` is applied twice here", spec.zone);
            judge.refuse(spot.key("zone"), hinted(message, "keep the stricter of the two"));
        }
        rules.push(ConcurrencyConfig { zone, written, settings });
    }
    // Rules that never wait come first, as written. The others have one order on all routes: a
    // request that waits in one zone while it counts in another never waits for one that does the
    // reverse.
    let order = |rule: &ConcurrencyConfig| match rule.settings.limit.queue {
        0 => (false, rule.written),
        _ => (true, rule.zone),
    };
    rules.sort_by_key(order);
    rules
}

fn settings(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    spec: &ConcurrentSpec,
) -> ConcurrencyRuleSettings {
    ConcurrencyRuleSettings {
        limit: ConcurrencyLimit { max: spec.max, queue: spec.queue },
        max_wait: judge.positive(spot.key("max_wait"), &spec.max_wait),
        status: spec.status,
        mode: if spec.dry_run { Mode::DryRun } else { Mode::Enforce },
        scope: condition::scope(judge, spot, spec.when.as_ref(), spec.unless.as_ref()),
    }
}

fn named(
    judge: &mut Collector<'_>,
    names: &Names<'_>,
    spot: Location<'_>,
    text: &str,
) -> Option<usize> {
    let found = names.file.concurrency.keys().position(|name| name == text);
    if found.is_none() && !names.is_written("concurrency", text) {
        let known: Vec<&str> = names.file.concurrency.keys().map(String::as_str).collect();
        let hint = match known.is_empty() {
            true => {
                format!("declare it at the top: concurrency: {{ {text}: {{ key: client_ip }} }}")
            }
            false => nearest::hint(text, &known),
        };
        let message = format!("there is no zone of concurrency `{text}`");
        judge.refuse(spot, hinted(message, hint));
    }
    found
}
