//! Upstreams: the named ones, and those a route writes in place of a name.

use super::{super::file::Upstream, address, judge::Judge, spot::Spot};
use crate::upstream::settings::UpstreamSettings;

/// The upstream of one name.
pub fn upstream(judge: &mut Judge<'_>, spot: Spot<'_>, name: &str, upstream: &Upstream) -> UpstreamSettings {
    let endpoints = spot.key("endpoints");
    if upstream.endpoints.is_empty() {
        judge.refuse(endpoints, format!("`{name}` has no endpoint, hint: write one, like `http://127.0.0.1:8000`"));
    }
    let read = |(index, text): (usize, &String)| judge.take(endpoints.item(index), address::endpoint(text));
    let endpoints = upstream.endpoints.iter().enumerate().filter_map(read).collect();
    let (timeouts, keepalive) = (spot.key("timeouts"), spot.key("keepalive"));
    UpstreamSettings {
        name: name.into(),
        endpoints,
        connect_timeout: judge.positive(timeouts.key("connect"), &upstream.timeouts.connect),
        first_byte_timeout: judge.positive(timeouts.key("first_byte"), &upstream.timeouts.first_byte),
        idle_timeout: judge.positive(timeouts.key("idle"), &upstream.timeouts.idle),
        keepalive_max_idle: upstream.keepalive.max_idle as usize,
        keepalive_idle: judge.duration(keepalive.key("idle"), &upstream.keepalive.idle),
        attempts: upstream.retries.attempts,
        hold: judge.duration(spot.key("hold"), &upstream.hold),
    }
}
