//! `upstreams` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;
use crate::upstream::{
    balance::Balance,
    settings::{Protocol, ProxyHeader},
    sticky::SameSite,
};

/// Group of servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpstreamSpec {
    /// Servers: `http://host:port`, `https://host:port`, `host:port` or `unix:/path`, or a map.
    /// After a scheme the port may be left out and is 80 or 443. All addresses of a name are
    /// used. `https` is for all endpoints or for none (nginx: `server`).
    pub endpoints: Vec<EndpointSpec>,
    /// TLS to endpoints written with `https://`. Their certificates are always verified (nginx:
    /// `proxy_ssl_verify on`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// PROXY header with the client address at the beginning of each connection, `v1` or `v2`. A
    /// connection then carries the requests of one client alone. Not with `protocol: http2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyHeader>,
    /// Protocol of the endpoints. `http2` is chosen by ALPN over TLS and by prior knowledge
    /// without; gRPC needs it (nginx: `grpc_pass`).
    #[serde(default)]
    pub protocol: Protocol,
    /// Distribution of requests over the addresses. `round_robin` takes them in turn.
    /// `least_requests` takes the one with the fewest requests in progress from the same
    /// worker, equals in turn. `hash:client_ip` sends a client to the same one, which changes
    /// only when that address comes or goes (IPv6 by /64) (nginx: `least_conn`, `ip_hash`).
    #[serde(default)]
    pub balance: Balance,
    /// Wait of requests that no endpoint has room for. Those that find no room in it get 503
    /// (nginx: `queue`).
    #[serde(default)]
    pub queue: UpstreamQueue,
    /// Cookie that leads a client back to the address that served it; none by default. `balance`
    /// chooses for clients without it, and when that address is not available (nginx: `sticky
    /// cookie`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
    /// Time in which the share of an address grows from nothing to its weight, after it was
    /// ejected, failed its probes, or is new for its name; none by default. Not of an only address
    /// (nginx: `slow_start=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "time"))]
    pub slow_start: Option<String>,
    /// Resolution of names.
    #[serde(default)]
    pub dns: Dns,
    /// Time a request of which nothing was sent waits when no endpoint accepts connections, as
    /// while a container is replaced; then it gets 502 or 504. A TLS handshake that fails for
    /// its certificate or protocol is not waited on. A request that is idempotent, has no body
    /// and was lost without a response on a fresh connection is sent once more after 500 ms, or
    /// half of a shorter `hold`.
    #[serde(default = "default_hold")]
    #[schemars(extend("x-type" = "time"))]
    pub hold: String,
    /// Retries of requests that are safe to repeat.
    #[serde(default)]
    pub retries: Retries,
    /// Health of the addresses.
    #[serde(default)]
    pub health: HealthSpec,
    /// Time-outs for the servers.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Idle connections.
    #[serde(default)]
    pub keepalive: Keepalive,
    /// Limits on the head of a response. A larger one becomes 502, which names the limit.
    #[serde(default)]
    pub response_limits: ResponseLimits,
}

/// TLS to the endpoints of an upstream, whose certificates are always verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// PEM file of the authorities that sign the certificates, in place of the public
    /// authorities; read again every 5 s (nginx: `proxy_ssl_trusted_certificate`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "path"))]
    pub ca: Option<String>,
    /// Name the certificates are for; by default the host of the endpoint (nginx:
    /// `proxy_ssl_name`, `proxy_ssl_server_name on`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// PEM file with the certificate that weir shows to the servers, then its chain; read again
    /// every 5 s (nginx: `proxy_ssl_certificate`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "path"))]
    pub cert: Option<String>,
    /// PEM file with the key of that certificate (nginx: `proxy_ssl_certificate_key`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "path"))]
    pub key: Option<String>,
    /// SHA-256 fingerprints in hexadecimal digits, with or without colons. A server must show a
    /// certificate that has one of them, signed by any authority, for any name and time. With
    /// `ca` it must pass that check too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-type" = "list of fingerprints"))]
    pub fingerprints: Vec<String>,
}

/// Server of an upstream, alone or with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EndpointSpec {
    /// `http://host:port`, `https://host:port`, `host:port` or `unix:/path`.
    Short(String),
    /// Map with settings.
    Long(LongEndpoint),
}

/// Server of an upstream, with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongEndpoint {
    /// URL, host and port, or socket of the server, like `http://app:8000` or
    /// `unix:/run/app.sock` (nginx: `server`).
    pub address: String,
    /// Share of the requests, relative to the other endpoints, 1 to 1000. Each address of a
    /// name has the whole weight (nginx: `weight=`).
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// The endpoint gets requests only while no address of the others is available (nginx: `backup`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
    /// Requests in progress at each address of the endpoint, over all workers, 1 to 65536;
    /// tunnels count until they end. Further ones go to other endpoints, or wait (`queue`). No
    /// limit by default (nginx: `max_conns=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65536))]
    pub max_connections: Option<u32>,
}

impl LongEndpoint {
    /// Settings that an address alone stands for.
    #[must_use]
    pub fn at(address: String) -> Self {
        Self { address, weight: one(), backup: false, max_connections: None }
    }
}

/// Cookie that leads a client back to its address, with `HttpOnly`, `Path=/`, and over TLS `Secure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StickySpec {
    /// Name of the cookie. Its value is a digest, which shows nothing of the address.
    pub cookie: String,
    /// Secret of the digest, at least 16 bytes, like `${file:/run/secrets/sticky}`. Several weirs
    /// with the same secret lead clients alike. Without it a process makes one, and its cookies
    /// lead nowhere after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Time that the client keeps the cookie; by default until the browser ends (nginx:
    /// `expires=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "time"))]
    pub max_age: Option<String>,
    /// `SameSite` of the cookie. `none` makes it `Secure` (nginx: `samesite=`).
    #[serde(default)]
    pub same_site: SameSite,
}

/// Wait for room at endpoints with `max_connections`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamQueue {
    /// Requests that may wait, first come, first served, 0 to 65536.
    #[schemars(range(min = 0, max = 65536))]
    pub max: u32,
    /// Longest wait.
    #[schemars(extend("x-type" = "time"))]
    pub max_wait: String,
}

/// Resolution of the names of endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// Interval at which a name is resolved again, at least `250ms`. A failed connection
    /// resolves it immediately, and a resolver that fails changes nothing (nginx: `resolve`).
    #[schemars(extend("x-type" = "time"))]
    pub refresh: String,
}

/// Retries of requests that are safe to repeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// Sends of one request at most, the first included, 1 to 10. Retries add at most a fifth
    /// to the load. A connection that could not be opened is no try: the request moves on to
    /// each of the other addresses, for as long as so many connect time-outs last (nginx:
    /// `proxy_next_upstream_tries`).
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// Statuses of responses in place of which an address is asked that the request has not tried:
    /// 403, 404, 429, and 500 to 599. It must be idempotent and have no body, or one that is kept.
    /// None by default (nginx: `proxy_next_upstream http_503`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-type" = "list of statuses"))]
    pub statuses: Vec<u16>,
}

/// Health of the addresses of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSpec {
    /// Ejection by failed requests: an address that fails them is left out for a while, unless
    /// half of the addresses are. One that accepts no connections is left out beyond half too,
    /// as long as another is available.
    pub passive: Passive,
    /// Probes; none by default (nginx: `health_check`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Active>,
}

/// Ejection of addresses that fail requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Passive {
    /// Failures until an address is ejected, 0 to 1000; 0 is never. A response is no failure,
    /// whatever its status (nginx: `max_fails`).
    #[schemars(range(min = 0, max = 1000))]
    pub failures: u32,
    /// Time within which the failures happen that eject an address (nginx: `fail_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub window: String,
    /// Time an address is ejected; twice as long each time it happens again, up to ten times as
    /// long (nginx: `fail_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub eject: String,
}

/// Probes of every address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// Path that is requested with `GET`, in the upstream's `protocol`; 200 to 399 is success
    /// (nginx: `uri=`).
    pub path: String,
    /// Interval at which each address is probed, once for the whole process (nginx:
    /// `interval=`).
    #[serde(default = "probe_interval")]
    #[schemars(extend("x-type" = "time"))]
    pub interval: String,
    /// Time a response to a probe may take.
    #[serde(default = "probe_timeout")]
    #[schemars(extend("x-type" = "time"))]
    pub timeout: String,
    /// Successful probes in a row after which an address gets requests again, 1 to 1000 (nginx:
    /// `passes=`).
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub healthy: u32,
    /// Failed probes in a row after which an address gets no requests, 1 to 1000 (nginx:
    /// `fails=`).
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy: u32,
}

/// Time-outs for the servers of an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// Time to open a connection (nginx: `proxy_connect_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub connect: String,
    /// Time from the last piece of the request to the head of the response. An interim response
    /// (`102`, `103`) of an HTTP/1.1 endpoint starts it again (nginx: `proxy_read_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub first_byte: String,
    /// Time between two pieces of the response (nginx: `proxy_read_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub idle: String,
}

/// Idle connections to an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// Idle connections that each worker keeps to each address, 0 to 65536; with `protocol:
    /// http2` those without a stream. 0 avoids lost requests where a server closes its
    /// connections after each response (nginx: `keepalive`).
    #[schemars(range(min = 0, max = 65536))]
    pub max_idle: u32,
    /// Time an idle connection is kept; it should be shorter than the server keeps it (nginx:
    /// `keepalive_timeout` in `upstream`).
    #[schemars(extend("x-type" = "time"))]
    pub idle: String,
}

/// Limits on the head of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseLimits {
    /// Bytes of the whole head, 1KiB to 1MiB. Trailers may have as many; in HTTP/2 the head
    /// counts as in HTTP/1.1 (nginx: `proxy_buffer_size`).
    #[schemars(extend("x-type" = "size"))]
    pub size: Amount,
    /// Field lines, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

fn probe_interval() -> String {
    "5s".to_owned()
}

fn probe_timeout() -> String {
    "1s".to_owned()
}

fn default_hold() -> String {
    "0s".to_owned()
}

impl Default for UpstreamSpec {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            tls: None,
            proxy_protocol: None,
            protocol: Protocol::default(),
            balance: Balance::default(),
            queue: UpstreamQueue::default(),
            sticky: None,
            slow_start: None,
            dns: Dns::default(),
            hold: default_hold(),
            retries: Retries::default(),
            health: HealthSpec::default(),
            timeouts: UpstreamTimeouts::default(),
            keepalive: Keepalive::default(),
            response_limits: ResponseLimits::default(),
        }
    }
}

impl Default for UpstreamQueue {
    fn default() -> Self {
        Self { max: 0, max_wait: "5s".to_owned() }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { refresh: "5s".to_owned() }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, statuses: Vec::new() }
    }
}

impl Default for Passive {
    fn default() -> Self {
        Self { failures: 5, window: "10s".to_owned(), eject: "10s".to_owned() }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: "2s".to_owned(), first_byte: "30s".to_owned(), idle: "60s".to_owned() }
    }
}

impl Default for ResponseLimits {
    fn default() -> Self {
        Self { size: Amount("32KiB".to_owned()), count: 100 }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { max_idle: 64, idle: "1500ms".to_owned() }
    }
}
