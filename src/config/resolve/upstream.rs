//! Upstreams: the named ones, and those that a route names by their address.

use std::{path::Path, time::Duration};

use http::uri::PathAndQuery;

use super::{address, collector::Collector, location::Location};
use crate::{
    config::{
        problem::{Problems, Span},
        schema::{self, LongEndpoint, UpstreamSpec},
        yaml_tree::{Node, Value},
    },
    http::framing::HeaderLimits,
    runtime::hint::hinted,
    upstream::{
        dns::PAUSE,
        settings::{ActiveSettings, Endpoint, PassiveSettings, SecureSettings, UpstreamSettings},
        tls::{Secure, SecureError},
    },
};

/// Range of the size of a message head.
pub const HEAD_BYTES: std::ops::RangeInclusive<usize> = 1_024..=1_048_576;

/// Resolves the upstream of one name.
pub fn upstream(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    name: &str,
    upstream: &UpstreamSpec,
) -> UpstreamSettings {
    let endpoints = spot.key("endpoints");
    if upstream.endpoints.is_empty() {
        let hint = "write one, like `http://127.0.0.1:8000`";
        judge.refuse(endpoints, hinted(format!("`{name}` has no endpoint"), hint));
    }
    let (timeouts, keepalive) = (spot.key("timeouts"), spot.key("keepalive"));
    let places = self::endpoints(judge, endpoints, &upstream.endpoints);
    UpstreamSettings {
        name: name.into(),
        secure: secure(judge, spot, &places, upstream.tls.as_ref()),
        protocol: upstream.protocol,
        endpoints: places,
        balance: upstream.balance,
        dns_refresh: refresh(judge, spot.key("dns").key("refresh"), &upstream.dns.refresh),
        connect_timeout: judge.positive(timeouts.key("connect"), &upstream.timeouts.connect),
        first_byte_timeout: judge
            .positive(timeouts.key("first_byte"), &upstream.timeouts.first_byte),
        idle_timeout: judge.positive(timeouts.key("idle"), &upstream.timeouts.idle),
        keepalive_max_idle: upstream.keepalive.max_idle as usize,
        keepalive_idle: judge.duration(keepalive.key("idle"), &upstream.keepalive.idle),
        response_limits: HeaderLimits {
            size: judge.size(
                spot.key("response_limits").key("size"),
                &upstream.response_limits.size,
                HEAD_BYTES,
            ),
            count: upstream.response_limits.count as usize,
        },
        attempts: upstream.retries.attempts,
        hold: judge.duration(spot.key("hold"), &upstream.hold),
        passive: passive(judge, spot.key("health").key("passive"), &upstream.health.passive),
        active: upstream
            .health
            .active
            .as_ref()
            .map(|written| active(judge, spot.key("health").key("active"), written)),
    }
}

fn endpoints(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &[schema::EndpointSpec],
) -> Vec<Endpoint> {
    let mut endpoints: Vec<Endpoint> = Vec::with_capacity(written.len());
    for (index, endpoint) in written.iter().enumerate() {
        let (spot, text, weight, backup) = match endpoint {
            schema::EndpointSpec::Short(text) => (spot.item(index), text, 1, false),
            schema::EndpointSpec::Long(LongEndpoint { address, weight, backup }) => {
                (spot.item(index).key("address"), address, *weight, *backup)
            }
        };
        let Some(endpoint) = judge.take(spot, address::endpoint(text)) else { continue };
        // By host and port: the weight does not make another endpoint.
        if endpoints.iter().any(|other| other.to_string() == endpoint.to_string()) {
            let hint = "keep one; `weight` gives it more requests";
            judge.refuse(spot, hinted(format!("`{text}` is listed twice"), hint));
        }
        endpoints.push(Endpoint { weight, backup, ..endpoint });
    }
    if !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.backup) {
        let hint = "remove `backup` from the endpoints that get the requests usually";
        judge.refuse(spot, hinted("every endpoint is a backup", hint));
    }
    endpoints
}

/// TLS settings for the endpoints: for all of them or for none.
fn secure(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    endpoints: &[Endpoint],
    written: Option<&schema::UpstreamTls>,
) -> Option<SecureSettings> {
    let count = endpoints.iter().filter(|endpoint| endpoint.tls).count();
    // An upstream whose endpoints were all refused has no TLS either, and is reported once.
    if count == 0 {
        if written.is_some() && !endpoints.is_empty() {
            let hint = "write `https://` before the endpoints";
            judge.refuse(spot.key("tls"), hinted("no endpoint uses TLS", hint));
        }
        return None;
    }
    if count < endpoints.len() {
        let message = "some endpoints use TLS and some do not";
        let hint = "write `https://` before all of them, or make two upstreams";
        judge.refuse(spot.key("endpoints"), hinted(message, hint));
    }
    let written = written.cloned().unwrap_or_default();
    let settings =
        SecureSettings { ca: written.ca.map(Into::into), server_name: written.server_name };
    let spot = spot.key("tls");
    // Loaded now, so that a wrong file stops the start and not the first connection.
    if let Err(error) = Secure::load(&settings, false) {
        let key = if matches!(error, SecureError::Name(..)) { "server_name" } else { "ca" };
        judge.refuse(spot.key(key), error);
    }
    Some(settings)
}

fn passive(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &schema::Passive,
) -> Option<PassiveSettings> {
    let window = judge.positive(spot.key("window"), &written.window);
    let eject = judge.positive(spot.key("eject"), &written.eject);
    (written.failures > 0).then_some(PassiveSettings { failures: written.failures, window, eject })
}

fn active(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &schema::Active,
) -> ActiveSettings {
    let text = &written.path;
    let path = text
        .parse::<PathAndQuery>()
        .ok()
        // The parser also accepts a text that it changes. The path that is probed must be the one
        // written.
        .filter(|path| path.as_str() == text && text.starts_with('/'));
    let hint = "write a path, like `/health`";
    let path = path.ok_or_else(|| hinted(format!("`{text}` cannot be requested"), hint));
    ActiveSettings {
        path: judge.take(spot.key("path"), path).unwrap_or(PathAndQuery::from_static("/")),
        interval: judge.positive(spot.key("interval"), &written.interval),
        timeout: judge.positive(spot.key("timeout"), &written.timeout),
        healthy: written.healthy,
        unhealthy: written.unhealthy,
    }
}

fn refresh(judge: &mut Collector<'_>, spot: Location<'_>, text: &str) -> Duration {
    // A shorter interval than the pause between look-ups would have no effect.
    let refresh = judge.duration(spot, text);
    if refresh < PAUSE {
        let least = PAUSE.as_millis();
        let message = format!("`{text}` is too short an interval for DNS");
        judge.refuse(spot, hinted(message, format!("use at least `{least}ms`")));
    }
    refresh
}

/// Upstream of an endpoint that a route names directly.
#[must_use]
pub fn inline(name: &str, endpoint: Endpoint) -> UpstreamSettings {
    let nowhere = Node { span: Span::default(), value: Value::Map(Vec::new()) };
    // Defaults have no problems, and there is no place in the file to report one at.
    let mut problems = Problems::default();
    let judge = &mut Collector { problems: &mut problems, base: Path::new("") };
    let secure = endpoint.tls.then(SecureSettings::default);
    UpstreamSettings {
        secure,
        endpoints: vec![endpoint],
        ..upstream(judge, Location::root(&nowhere), name, &UpstreamSpec::default())
    }
}
