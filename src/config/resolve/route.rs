//! Routes: names to references, rules checked against their zones.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    access, action, auth, codings::codings, collector::Collector, concurrency, condition, edits,
    location::Location, names::Names, pattern::patterns, reject, rewrite,
};
use crate::{
    config::{
        nearest,
        schema::{LimitSpec, PenaltySpec, ResponseSpec, RouteSpec},
        settings::{PenaltyConfig, RouteConfig, RuleConfig},
    },
    downstream::{collected_body::PER_WORKER, paced_body::ResponseRate},
    limit::{
        MAX_RULES, Millis, Mode, Penalty, Rule, RuleSettings, Zone, ZoneSettings, rule::RuleError,
    },
    proxy::header_edits::Message,
    runtime::hint::hinted,
};

/// Largest configurable body: what a pointer can count.
const MAX_BODY: usize = usize::MAX >> 1;
/// Largest body that can be collected: a worker has room for four.
const MAX_BUFFER: usize = PER_WORKER / 4;

/// Resolves one route, called `name`.
pub fn route(
    judge: &mut Collector<'_>,
    names: &mut Names<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
    name: Arc<str>,
) -> RouteConfig {
    let (request, response) = (spot.key("request"), spot.key("response"));
    let max_body = request.key("max_body");
    let matching = names.file.path_matching;
    let patterns = patterns(judge, spot, route, matching);
    RouteConfig {
        name,
        rewrite: rewrite::rewrite(judge, spot.key("rewrite"), route, &patterns, matching),
        patterns,
        condition: condition::of_route(judge, spot, route.condition.as_ref()),
        log: route.log,
        action: action::action(judge, names, spot, route),
        limits: limits(judge, names, spot.key("limits"), &route.limits),
        concurrency: concurrency::rules(judge, names, spot.key("concurrency"), &route.concurrency),
        access: access::networks(judge, spot, route),
        basic_auth: access::basic_auth(judge, spot, route),
        auth: auth::service(judge, names, spot, route),
        reject: reject::settings(&names.file.reject, route.reject.as_ref()),
        max_body: match route.request.max_body.0.as_str() {
            "none" => None,
            _ => Some(judge.size(max_body, &route.request.max_body, 0..=MAX_BODY) as u64),
        },
        buffer: judge.size(request.key("buffer"), &route.request.buffer, 0..=MAX_BUFFER),
        request_edits: edits::edits(
            judge,
            request.key("headers"),
            &route.request.headers,
            Message::Request,
        ),
        response_edits: edits::edits(
            judge,
            response.key("headers"),
            &route.response.headers,
            Message::Response,
        ),
        compress: codings(judge, response.key("compress"), &route.response.compress),
        response_rate: response_rate(judge, response, &route.response),
    }
}

/// Resolves the rate of responses.
fn response_rate(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &ResponseSpec,
) -> Option<ResponseRate> {
    let after = judge.size(spot.key("limit_rate_after"), &written.limit_rate_after, 0..=MAX_BODY);
    if written.limit_rate.0 == "none" {
        if after > 0 {
            let hint = "add `limit_rate`, like `limit_rate: 512KiB`";
            let message = "`limit_rate_after` without `limit_rate`";
            judge.refuse(spot.name("limit_rate_after"), hinted(message, hint));
        }
        return None;
    }
    // nginx's 0 is no limit, so that is what is meant.
    if written.limit_rate.0 == "0" {
        let hint = "write `none` for no limit";
        judge.refuse(spot.key("limit_rate"), hinted("a rate of `0` would never end", hint));
        return None;
    }
    let rate = judge.size(spot.key("limit_rate"), &written.limit_rate, 1..=MAX_BODY);
    Some(ResponseRate { rate: NonZeroU64::new(rate as u64)?, after: after as u64 })
}

fn limits(
    judge: &mut Collector<'_>,
    names: &Names<'_>,
    spot: Location<'_>,
    limits: &[LimitSpec],
) -> Vec<RuleConfig> {
    if limits.len() > MAX_RULES {
        let over = spot.item(MAX_RULES);
        let message = format!("{} limits on one route", limits.len());
        judge.refuse(over, hinted(message, format!("use at most {MAX_RULES}")));
    }
    let mut seen: Vec<RuleConfig> = Vec::new();
    for (index, limit) in limits.iter().enumerate() {
        let spot = spot.item(index);
        let settings = rule(judge, spot, limit);
        let penalty = limit.penalty.as_ref().map(|spec| penalty(judge, spot.key("penalty"), spec));
        let scope = condition::scope(judge, spot, limit.when.as_ref(), limit.unless.as_ref());
        let Some(zone) = zone(judge, names, spot.key("zone"), &limit.zone) else { continue };
        if seen.iter().any(|other| other.zone == zone) {
            let message = format!("the zone `{}` is applied twice here", limit.zone);
            judge.refuse(spot.key("zone"), hinted(message, "keep the stricter of the two"));
        }
        // Here, where rate and burst meet: neither of them is wrong alone.
        check_length(judge, spot, &names.zones[zone], settings);
        seen.push(RuleConfig { zone, settings, count: limit.count.clone(), penalty, scope });
    }
    seen
}

fn zone(
    judge: &mut Collector<'_>,
    names: &Names<'_>,
    spot: Location<'_>,
    text: &str,
) -> Option<usize> {
    let found = names.file.zones.keys().position(|name| name == text);
    if found.is_none() && !names.is_written("zones", text) {
        let known: Vec<&str> = names.file.zones.keys().map(String::as_str).collect();
        let hint = match known.is_empty() {
            true => format!("declare it: zones: {{ {text}: {{ key: client_ip, rate: 10r/s }} }}"),
            false => nearest::hint(text, &known),
        };
        judge.refuse(spot, hinted(format!("there is no zone `{text}`"), hint));
    }
    found
}

fn rule(judge: &mut Collector<'_>, spot: Location<'_>, limit: &LimitSpec) -> RuleSettings {
    let burst = limit.burst;
    if limit.nodelay && limit.delay.is_some() {
        let hint = "`nodelay` delays nothing, `delay: N` all but the first N";
        judge.refuse(spot.name("nodelay"), hinted("both `delay` and `nodelay`", hint));
    }
    let counts_responses = !limit.count.is_empty();
    if counts_responses && spot.has("delay") {
        let hint = "a request that may become a counted response passes or is rejected";
        judge.refuse(spot.key("delay"), hinted("`delay` beside `count`: nothing waits", hint));
    }
    let is_nodelay = limit.nodelay || counts_responses;
    let delay = limit.delay.filter(|_| !counts_responses);
    let delay = delay.unwrap_or(if is_nodelay { burst } else { 0 });
    // The stand-in for a wrong burst is 0, so any delay would look too long.
    let burst_is_known = spot.key("burst").scalar().is_none_or(|scalar| !scalar.broken);
    if delay > burst && burst_is_known {
        let hint = "use at most the burst; `nodelay: true` delays none of it";
        let message = format!("a delay of `{delay}` is more than the burst");
        judge.refuse(spot.key("delay"), hinted(message, hint));
    }
    if limit.cost - 1 > burst && burst_is_known {
        let message = format!("a cost of `{}` is more than the burst and one", limit.cost);
        let hint = "such a request would never be admitted: use at least `burst: cost - 1`";
        judge.refuse(spot.key("cost"), hinted(message, hint));
    }
    RuleSettings {
        burst,
        delay,
        // Otherwise the burst would be reported too.
        cost: limit.cost.min(burst.saturating_add(1)),
        max_wait: Some(Millis::cut(judge.duration(spot.key("max_wait"), &limit.max_wait))),
        mode: if limit.dry_run { Mode::DryRun } else { Mode::Enforce },
    }
}

fn penalty(judge: &mut Collector<'_>, spot: Location<'_>, spec: &PenaltySpec) -> PenaltyConfig {
    let mut time = |key: &str, text: &str| Millis::cut(judge.positive(spot.key(key), text));
    let (within, lasts) = (time("within", &spec.within), time("for", &spec.lasts));
    PenaltyConfig { penalty: Penalty { after: spec.after, within, lasts }, status: spec.status }
}

/// Checks that the whole burst is a time that can be counted, by asking the limiter itself on a
/// zone of one key.
fn check_length(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    zone: &ZoneSettings,
    settings: RuleSettings,
) {
    // One key, because only the arithmetic is asked for: a large table would be built for nothing.
    let zone = Zone::new(ZoneSettings { capacity: 1, ..zone.clone() });
    let too_long = |error: RuleError| {
        let message = format!("a burst of `{}` at the zone's rate takes too long", settings.burst);
        hinted(message, error.hint().unwrap_or_default())
    };
    judge.take(spot.key("burst"), Rule::new(Arc::new(zone), settings).map_err(too_long));
}
