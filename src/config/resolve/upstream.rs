//! Upstreams: the named ones, and those that a route names by their address.

use std::{path::Path, time::Duration};

use http::{HeaderName, StatusCode, uri::PathAndQuery};

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
        settings::{
            ActiveSettings, ClientPair, Endpoint, Fingerprint, PassiveSettings, Protocol,
            ProxyHeader, QueueSettings, SecureSettings, UpstreamSettings,
        },
        sticky::{StickySecret, StickySettings},
        tls::Secure,
    },
};

/// Range of the size of a message head.
pub const HEAD_BYTES: std::ops::RangeInclusive<usize> = 1_024..=1_048_576;

/// Least length of a secret that is not guessed, in bytes.
const LEAST_SECRET: usize = 16;

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
    // A line that no request ever joins is a mistake.
    if upstream.queue.max > 0 && places.iter().all(|place| place.max_connections.is_none()) {
        let hint = "endpoints: [ { address: \"http://app:8000\", max_connections: 100 } ]";
        judge.refuse(spot.key("queue"), hinted("no endpoint has `max_connections`", hint));
    }
    UpstreamSettings {
        name: name.into(),
        secure: secure(judge, spot, &places, upstream.tls.as_ref()),
        protocol: upstream.protocol,
        endpoints: places,
        balance: upstream.balance,
        queue: QueueSettings {
            max: upstream.queue.max as usize,
            max_wait: judge.positive(spot.key("queue").key("max_wait"), &upstream.queue.max_wait),
        },
        sticky: upstream.sticky.as_ref().map(|written| sticky(judge, spot.key("sticky"), written)),
        slow_start: upstream
            .slow_start
            .as_ref()
            .map(|text| judge.positive(spot.key("slow_start"), text)),
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
        proxy_header: proxy_header(judge, spot, upstream),
        attempts: upstream.retries.attempts,
        retry_statuses: statuses(judge, spot.key("retries"), &upstream.retries),
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
        let (spot, long) = match endpoint {
            schema::EndpointSpec::Short(text) => {
                (spot.item(index), &LongEndpoint::at(text.clone()))
            }
            schema::EndpointSpec::Long(long) => (spot.item(index).key("address"), long),
        };
        let text = &long.address;
        let Some(endpoint) = judge.take(spot, address::endpoint(text)) else { continue };
        // By host and port: the weight does not make another endpoint.
        if endpoints.iter().any(|other| other.to_string() == endpoint.to_string()) {
            let hint = "keep one; `weight` gives it more requests";
            judge.refuse(spot, hinted(format!("`{text}` is listed twice"), hint));
        }
        endpoints.push(Endpoint {
            weight: long.weight,
            backup: long.backup,
            max_connections: long.max_connections,
            ..endpoint
        });
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
    let spot = spot.key("tls");
    let settings = SecureSettings {
        fingerprints: fingerprints(judge, spot.key("fingerprints"), &written.fingerprints),
        client: client_pair(judge, spot, &written),
        ca: written.ca.map(Into::into),
        server_name: written.server_name,
    };
    // Loaded now, so that a wrong file stops the start and not the first connection.
    if let Err(error) = Secure::load(&settings, false) {
        judge.refuse(spot.key(error.key()), error);
    }
    Some(settings)
}

fn client_pair(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &schema::UpstreamTls,
) -> Option<ClientPair> {
    let lone = |key, other: &str| {
        let hint = format!("add `{other}: FILE`, or remove it");
        (key, hinted(format!("`{key}` without `{other}`"), hint))
    };
    let (key, error) = match (&written.cert, &written.key) {
        (Some(cert), Some(key)) => {
            return Some(ClientPair { cert: cert.into(), key: key.into() });
        }
        (Some(_), None) => lone("cert", "key"),
        (None, Some(_)) => lone("key", "cert"),
        (None, None) => return None,
    };
    judge.refuse(spot.key(key), error);
    None
}

fn fingerprints(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &[String],
) -> Vec<Fingerprint> {
    let parsed = |(index, text): (usize, &String)| {
        let hint = "copy it from `openssl x509 -in FILE -noout -fingerprint -sha256`";
        let wrong = || hinted(format!("`{text}` is not a SHA-256 fingerprint"), hint);
        judge.take(spot.item(index), fingerprint(text).ok_or_else(wrong))
    };
    written.iter().enumerate().filter_map(parsed).collect()
}

/// Parses 32 bytes of two hexadecimal digits, all or none of them apart by colons.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    let step = match text.len() {
        64 => 2,
        95 if text.bytes().skip(2).step_by(3).all(|byte| byte == b':') => 3,
        _ => return None,
    };
    // `openssl` prints colons, and other programs none.
    let mut bytes = Fingerprint::default();
    for (at, byte) in bytes.iter_mut().enumerate() {
        let pair = text.get(at * step..at * step + 2)?;
        // `from_str_radix` accepts a sign.
        let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)?;
    }
    Some(bytes)
}

fn sticky(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &schema::StickySpec,
) -> StickySettings {
    // A name is a token (RFC 6265, section 4.1.1), as that of a field is.
    if HeaderName::try_from(written.cookie.as_str()).is_err() {
        let hint = "use letters, digits, `-` and `_`";
        let message = format!("`{}` is not the name of a cookie", written.cookie);
        judge.refuse(spot.key("cookie"), hinted(message, hint));
    }
    if written.secret.as_ref().is_some_and(|secret| secret.len() < LEAST_SECRET) {
        let hint = "`openssl rand -base64 32` prints one";
        let message = format!("the secret has fewer than {LEAST_SECRET} bytes");
        judge.refuse(spot.key("secret"), hinted(message, hint));
    }
    // The secret is kept as it is: its digest is made when the upstream is loaded, not here.
    StickySettings {
        cookie: written.cookie.as_str().into(),
        secret: written.secret.as_deref().map(|secret| StickySecret(secret.into())),
        max_age: written.max_age.as_ref().map(|text| judge.positive(spot.key("max_age"), text)),
        same_site: written.same_site,
    }
}

/// PROXY header of connections: each of them belongs to one client then.
fn proxy_header(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    upstream: &UpstreamSpec,
) -> Option<ProxyHeader> {
    if upstream.proxy_protocol.is_some() && upstream.protocol == Protocol::Http2 {
        let message = "`proxy_protocol` with `protocol: http2`";
        let hint = "remove one of them: an HTTP/2 connection carries many clients, and a PROXY \
            header names one";
        judge.refuse(spot.key("proxy_protocol"), hinted(message, hint));
    }
    // Kept after an error: no configuration is made then.
    upstream.proxy_protocol
}

/// Statuses in place of which another address is asked.
fn statuses(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    retries: &schema::Retries,
) -> Vec<StatusCode> {
    if !retries.statuses.is_empty() && retries.attempts < 2 {
        let hint = "write `attempts: 2` or more";
        judge.refuse(spot.key("attempts"), hinted("`statuses` without a second attempt", hint));
    }
    let spot = spot.key("statuses");
    let parsed = |(index, status): (usize, &u16)| {
        let may = matches!(status, 403 | 404 | 429 | 500..=599);
        let code = StatusCode::from_u16(*status).ok().filter(|_| may);
        let hint = "use 403, 404, 429, or 500 to 599";
        let wrong = || hinted(format!("a response of `{status}` is not retried"), hint);
        judge.take(spot.item(index), code.ok_or_else(wrong))
    };
    retries.statuses.iter().enumerate().filter_map(parsed).collect()
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

#[cfg(test)]
mod tests {
    use crate::config::resolve::upstream::*;

    #[test]
    fn fingerprint_is_32_bytes_with_or_without_colons() {
        let plain = "00".repeat(31) + "fF";
        let colons = format!("{}FF", "00:".repeat(31));
        let expected = fingerprint(&plain).expect("32 bytes");
        assert_eq!((expected[0], expected[31]), (0, 255));
        assert_eq!(fingerprint(&colons), Some(expected));
        for text in ["", &plain[2..], &format!("{plain}00"), &plain.replacen('0', "+", 1)] {
            assert_eq!(fingerprint(text), None, "{text}");
        }
        assert_eq!(fingerprint(&colons.replacen(':', "-", 1)), None);
        assert_eq!(fingerprint(&"é".repeat(32)), None);
    }
}
