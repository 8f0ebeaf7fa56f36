//! `upstreams` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// A group of servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it is; at least one.
    pub endpoints: Vec<Endpoint>,
    /// TLS to endpoints written with `https://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// What the endpoints speak.
    #[serde(default)]
    pub protocol: Protocol,
    /// How its addresses share the requests.
    #[serde(default)]
    pub balance: Balance,
    /// Resolving names.
    #[serde(default)]
    pub dns: Dns,
    /// How long a request waits when no server takes a connection, as while a container is
    /// replaced; `0s` for not at all.
    #[serde(default = "no_hold")]
    pub hold: String,
    /// Trying again.
    #[serde(default)]
    pub retries: Retries,
    /// Which addresses get requests.
    #[serde(default)]
    pub health: Health,
    /// How long the servers may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Idle connections.
    #[serde(default)]
    pub keepalive: Keepalive,
    /// How large the head of a response may be.
    #[serde(default)]
    pub response_limits: ResponseLimits,
}

/// TLS to an upstream's endpoints: their certificates are always verified.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTls {
    /// A PEM file of those who sign the certificates, in place of the public authorities (nginx:
    /// proxy_ssl_trusted_certificate).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The name the certificates are for, in place of the endpoint's host (nginx: proxy_ssl_name).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// What endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, as gRPC needs it (nginx: grpc_pass).
    Http2,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Endpoint {
    /// `http://host:port`, `https://host:port` or `host:port`; all addresses of a name are used.
    Short(String),
    /// With settings.
    Long(LongEndpoint),
}

/// Where an upstream is, with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongEndpoint {
    /// `http://host:port`, `https://host:port` or `host:port`; all addresses of a name are used.
    pub address: String,
    /// Its share of the requests, beside the others' (nginx: weight=).
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
}

impl LongEndpoint {
    /// Settings that an address alone stands for.
    #[must_use]
    pub fn at(address: String) -> Self {
        Self { address, weight: one() }
    }
}

/// How requests are shared out among the addresses of an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Balance {
    /// In turn.
    #[serde(rename = "round_robin")]
    RoundRobin,
    /// To the address with the fewest requests under way (nginx: least_conn).
    #[default]
    #[serde(rename = "least_requests")]
    LeastRequests,
    /// A client always to the same address (nginx: ip_hash).
    #[serde(rename = "hash:client_ip")]
    HashClientIp,
}

/// Resolving the names of endpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// How often a name is resolved anew; a connection that fails does it at once (nginx: resolve).
    pub refresh: String,
}

/// Trying again what is safe to try again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// How often a request is tried at most, the first try included (nginx:
    /// proxy_next_upstream_tries).
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
}

/// Which addresses of an upstream get requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// What requests tell of it.
    pub passive: Passive,
    /// Probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Active>,
}

/// When an address that fails requests is left out for a while, unless half of the addresses are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Passive {
    /// After this many failures (nginx: max_fails); 0 for never.
    #[schemars(range(min = 0, max = 1000))]
    pub failures: u32,
    /// Within this time (nginx: fail_timeout).
    pub window: String,
    /// For this long, and longer each time it comes to that again (nginx: fail_timeout).
    pub eject: String,
}

/// Asking every address whether it is well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// What is asked for with GET; 200 to 399 is a good answer.
    pub path: String,
    /// How often.
    #[serde(default = "probe_interval")]
    pub interval: String,
    /// How long an answer may take.
    #[serde(default = "probe_timeout")]
    pub timeout: String,
    /// Good answers in a row after which an address gets requests again.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub healthy: u32,
    /// Bad ones in a row after which it gets none.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy: u32,
}

/// How long an upstream's servers may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamTimeouts {
    /// To open a connection (nginx: proxy_connect_timeout).
    pub connect: String,
    /// From the end of the request to the first byte of the answer.
    pub first_byte: String,
    /// Between two pieces of the answer (nginx: proxy_read_timeout).
    pub idle: String,
}

/// Idle connections to an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keepalive {
    /// How many each worker keeps to each address (nginx: keepalive).
    #[schemars(range(min = 0, max = 65536))]
    pub max_idle: u32,
    /// How long one is kept (nginx: keepalive_timeout in upstream); shorter than the server keeps
    /// it.
    pub idle: String,
}

/// How large the head of a response may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseLimits {
    /// Bytes of the whole head, like `32KiB` (nginx: proxy_buffer_size).
    pub size: Amount,
    /// Number of field lines.
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

fn no_hold() -> String {
    "0s".to_owned()
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            tls: None,
            protocol: Protocol::default(),
            balance: Balance::default(),
            dns: Dns::default(),
            hold: no_hold(),
            retries: Retries::default(),
            health: Health::default(),
            timeouts: UpstreamTimeouts::default(),
            keepalive: Keepalive::default(),
            response_limits: ResponseLimits::default(),
        }
    }
}

impl Default for Dns {
    fn default() -> Self {
        Self { refresh: "5s".to_owned() }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2 }
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
