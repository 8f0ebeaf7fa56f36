//! Upstreams: the named ones, and those a route writes in place of a name.

use std::time::Duration;

use http::uri::PathAndQuery;

use super::{
    super::file::{self, LongEndpoint, Upstream},
    address,
    judge::Judge,
    spot::Spot,
};
use crate::upstream::{
    balance::Balance,
    resolve::PAUSE,
    settings::{ActiveSettings, Endpoint, PassiveSettings, UpstreamSettings},
};

/// The upstream of one name.
pub fn upstream(judge: &mut Judge<'_>, spot: Spot<'_>, name: &str, upstream: &Upstream) -> UpstreamSettings {
    let endpoints = spot.key("endpoints");
    if upstream.endpoints.is_empty() {
        judge.refuse(endpoints, format!("`{name}` has no endpoint, hint: write one, like `http://127.0.0.1:8000`"));
    }
    let (timeouts, keepalive) = (spot.key("timeouts"), spot.key("keepalive"));
    UpstreamSettings {
        name: name.into(),
        endpoints: self::endpoints(judge, endpoints, &upstream.endpoints),
        balance: match upstream.balance {
            file::Balance::RoundRobin => Balance::RoundRobin,
            file::Balance::LeastRequests => Balance::LeastRequests,
            file::Balance::HashClientIp => Balance::HashClientIp,
        },
        dns_refresh: refresh(judge, spot.key("dns").key("refresh"), &upstream.dns.refresh),
        connect_timeout: judge.positive(timeouts.key("connect"), &upstream.timeouts.connect),
        first_byte_timeout: judge.positive(timeouts.key("first_byte"), &upstream.timeouts.first_byte),
        idle_timeout: judge.positive(timeouts.key("idle"), &upstream.timeouts.idle),
        keepalive_max_idle: upstream.keepalive.max_idle as usize,
        keepalive_idle: judge.duration(keepalive.key("idle"), &upstream.keepalive.idle),
        attempts: upstream.retries.attempts,
        hold: judge.duration(spot.key("hold"), &upstream.hold),
        passive: passive(judge, spot.key("health").key("passive"), &upstream.health.passive),
        active: upstream.health.active.as_ref().map(|written| active(judge, spot.key("health").key("active"), written)),
    }
}

fn endpoints(judge: &mut Judge<'_>, spot: Spot<'_>, written: &[file::Endpoint]) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(written.len());
    for (index, endpoint) in written.iter().enumerate() {
        let (spot, text, weight) = match endpoint {
            file::Endpoint::Short(text) => (spot.item(index), text, 1),
            file::Endpoint::Long(LongEndpoint { address, weight }) => (spot.item(index).key("address"), address, *weight),
        };
        let Some(endpoint) = judge.take(spot, address::endpoint(text)) else { continue };
        if endpoints.iter().any(|other| other.to_string() == endpoint.to_string()) {
            judge.refuse(spot, format!("`{text}` is written twice, hint: keep one; `weight` gives it more requests"));
        }
        endpoints.push(Endpoint { weight, ..endpoint });
    }
    endpoints
}

fn passive(judge: &mut Judge<'_>, spot: Spot<'_>, written: &file::Passive) -> Option<PassiveSettings> {
    let window = judge.positive(spot.key("window"), &written.window);
    let eject = judge.positive(spot.key("eject"), &written.eject);
    (written.failures > 0).then_some(PassiveSettings { failures: written.failures, window, eject })
}

fn active(judge: &mut Judge<'_>, spot: Spot<'_>, written: &file::Active) -> ActiveSettings {
    let text = &written.path;
    let path = text.parse::<PathAndQuery>().ok().filter(|path| path.as_str() == text && text.starts_with('/'));
    let path = path.ok_or_else(|| format!("`{text}` cannot be asked for, hint: write a path, like `/health`"));
    ActiveSettings {
        path: judge.take(spot.key("path"), path).unwrap_or(PathAndQuery::from_static("/")),
        interval: judge.positive(spot.key("interval"), &written.interval),
        timeout: judge.positive(spot.key("timeout"), &written.timeout),
        healthy: written.healthy,
        unhealthy: written.unhealthy,
    }
}

fn refresh(judge: &mut Judge<'_>, spot: Spot<'_>, text: &str) -> Duration {
    let refresh = judge.duration(spot, text);
    if refresh < PAUSE {
        let least = PAUSE.as_millis();
        judge.refuse(spot, format!("`{text}` asks the resolver too often, hint: at least `{least}ms`"));
    }
    refresh
}
