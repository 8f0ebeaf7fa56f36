//! The configuration as written: the shape of the YAML file, its defaults, and the only place that knows YAML's library.
//!
//! Guarantee: an unknown key is an error, and every default is stated here and nowhere else.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_yaml::Value as Yaml;

use super::tree::{Node, Scalar, Value};

/// A weir configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The version of this format: 1.
    pub version: u64,
    /// Where to listen; at least one.
    #[schemars(length(min = 1))]
    pub listeners: Vec<Listener>,
    /// Who is believed about the client's address.
    pub client_ip: ClientIp,
    /// What is counted, by name (nginx: limit_req_zone).
    pub zones: BTreeMap<String, Zone>,
    /// Where requests go, by name (nginx: upstream).
    pub upstreams: BTreeMap<String, Upstream>,
    /// Which requests go where; at least one.
    #[schemars(length(min = 1))]
    pub routes: Vec<Route>,
    /// What a rejected client is told.
    pub reject: Reject,
    /// The requests that wait for their turn.
    pub queue: Queue,
    /// How long clients may take.
    pub timeouts: Timeouts,
    /// How large a request head may be.
    pub header_limits: HeaderLimits,
    /// One line for each request.
    pub access_log: AccessLog,
    /// Diagnostics on standard error.
    pub log: Log,
    /// Worker threads: a number, or `auto` for the cores this process may use.
    pub workers: Amount,
    /// How long a stop may take, like `8s`.
    pub drain: String,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Listener {
    /// `host:port`.
    Short(String),
    /// With settings.
    Long(LongListener),
}

/// An address to listen on, with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LongListener {
    /// `host:port`; `:8080` is every IPv4 address.
    pub address: String,
}

/// Who is believed about the client's address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientIp {
    /// Networks of proxies whose header is believed (nginx: set_real_ip_from). Empty: nobody.
    pub trusted_proxies: Vec<String>,
    /// The header they write (nginx: real_ip_header).
    pub header: ForwardingHeader,
}

/// A header that carries client addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardingHeader {
    /// A list of addresses.
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// What is counted, and how fast it may come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// What to count by: client_ip, header:NAME, cookie:NAME, query:NAME, host, path, method, route, global, or a list.
    pub key: ZoneKey,
    /// Requests per time, like `10r/s`, `2r/m` or `10r/5s`.
    pub rate: String,
    /// How many keys are kept, like `1M`.
    #[serde(default = "Zone::default_capacity")]
    pub capacity: Amount,
    /// How many bits of an IPv4 address make one client.
    #[serde(default = "Zone::default_ipv4_prefix")]
    #[schemars(range(min = 0, max = 32))]
    pub ipv4_prefix: u8,
    /// How many bits of an IPv6 address make one client.
    #[serde(default = "Zone::default_ipv6_prefix")]
    #[schemars(range(min = 0, max = 128))]
    pub ipv6_prefix: u8,
    /// Networks that are not counted.
    #[serde(default)]
    pub exempt: Vec<String>,
    /// What to do with a request that lacks a part of the key.
    #[serde(default)]
    pub missing: MissingPart,
}

impl Zone {
    fn default_capacity() -> Amount {
        Amount("1M".to_owned())
    }

    fn default_ipv4_prefix() -> u8 {
        32
    }

    fn default_ipv6_prefix() -> u8 {
        64
    }
}

/// One part of a request, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ZoneKey {
    /// One part.
    Part(String),
    /// Each combination counts for itself.
    Parts(Vec<String>),
}

/// What a missing part of a key means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MissingPart {
    /// Such requests are not counted.
    #[default]
    Exempt,
    /// They share one bucket.
    Share,
    /// They are rejected.
    Reject,
}

/// A group of servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `http://host:port` or `host:port`, taken in turn.
    pub endpoints: Vec<String>,
    /// Trying again.
    #[serde(default)]
    pub retries: Retries,
    /// How long the servers may take.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Idle connections.
    #[serde(default)]
    pub keepalive: Keepalive,
}

/// Trying again what is safe to try again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// How often a request is tried at most, the first try included (nginx: proxy_next_upstream_tries).
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
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
    /// How many each worker keeps (nginx: keepalive).
    #[schemars(range(min = 0, max = 65536))]
    pub max_idle: u32,
    /// How long one is kept (nginx: keepalive_timeout in upstream); shorter than the server keeps it.
    pub idle: String,
}

/// Which requests go where, and how fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// This path and everything below it (nginx: location).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// This path only (nginx: location =).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_exact: Option<String>,
    /// This host only, or `*.example.com` for every host below one (nginx: server_name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// These methods only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// The name of an upstream, or `http://host:port` (nginx: proxy_pass).
    pub upstream: String,
    /// The rules of this route: all must agree (nginx: limit_req).
    #[serde(default)]
    pub limits: Vec<Limit>,
    /// What differs from the general `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<RouteReject>,
    /// What requests may be.
    #[serde(default)]
    pub request: Request,
}

/// A zone applied on a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The zone's name.
    pub zone: String,
    /// How many requests a key may be ahead of its rate.
    #[serde(default)]
    pub burst: u32,
    /// How many of these are not held back; none of them unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u32>,
    /// None of these is held back: the same as `delay` equal to `burst`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nodelay: bool,
    /// The longest wait; what would wait longer is rejected on arrival.
    #[serde(default = "Limit::default_max_wait")]
    pub max_wait: String,
    /// Judge and count, never wait or reject (nginx: limit_req_dry_run).
    #[serde(default)]
    pub dry_run: bool,
}

impl Limit {
    fn default_max_wait() -> String {
        "30s".to_owned()
    }
}

/// What differs from the general `reject` on one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteReject {
    /// 400 to 599; 444 closes the connection without an answer (nginx: limit_req_status).
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
}

/// What the requests of a route may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The largest body, like `1MiB`, or `none` for no limit (nginx: client_max_body_size).
    pub max_body: Amount,
}

/// What a rejected client is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reject {
    /// 400 to 599; 444 closes the connection without an answer (nginx: limit_req_status).
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// The header fields besides the status.
    pub headers: Vec<RejectHeader>,
    /// The body.
    pub body: RejectBody,
}

/// A header field of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RejectHeader {
    /// `Retry-After`: whole seconds.
    RetryAfter,
    /// `Proxy-Status`: RFC 9209.
    ProxyStatus,
    /// `RateLimit-Policy` and `RateLimit`.
    Ratelimit,
}

/// The body of a reject.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RejectBody {
    /// JSON, HTML or text, as `Accept` prefers.
    Auto,
    /// `application/problem+json`.
    Problem,
    /// A small page.
    Html,
    /// One line.
    Text,
    /// Nothing.
    None,
}

/// The requests that wait for their turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// How many may wait over all zones, like `10k`; beyond it requests are rejected.
    pub max: Amount,
}

/// How long clients may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For a whole request head (nginx: client_header_timeout).
    pub header: String,
    /// Between two pieces of a request body (nginx: client_body_timeout).
    pub body: String,
    /// Between two requests (nginx: keepalive_timeout).
    pub keepalive: String,
    /// Between two pieces of an answer it takes (nginx: send_timeout).
    pub write: String,
}

/// How large a request head may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderLimits {
    /// Bytes of the whole head, like `32KiB` (nginx: large_client_header_buffers).
    pub size: Amount,
    /// Number of field lines.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u32,
}

/// One line for each request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// `stdout`, `stderr`, `none` or a path (nginx: access_log).
    pub to: String,
    /// What a line looks like (nginx: log_format).
    pub format: LogFormat,
    /// Fewer lines for one key that is rejected again and again.
    pub sample_rejects: SampleRejects,
}

/// What an access line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// nginx's `combined`.
    Combined,
}

/// Fewer lines for one key that is rejected again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SampleRejects {
    /// How many rejects of a key get a line of their own.
    pub first: u32,
    /// How often the others are summed up.
    pub then_every: String,
}

/// Diagnostics on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// off, error, warn, info, debug or trace, also per module: `info,weir::upstream=debug` (nginx: error_log).
    pub level: String,
}

impl Default for File {
    fn default() -> Self {
        Self {
            version: 1,
            listeners: Vec::new(),
            client_ip: ClientIp::default(),
            zones: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            routes: Vec::new(),
            reject: Reject::default(),
            queue: Queue::default(),
            timeouts: Timeouts::default(),
            header_limits: HeaderLimits::default(),
            access_log: AccessLog::default(),
            log: Log::default(),
            workers: Amount("auto".to_owned()),
            drain: "8s".to_owned(),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2 }
    }
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: "2s".to_owned(), first_byte: "30s".to_owned(), idle: "60s".to_owned() }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { max_idle: 64, idle: "1500ms".to_owned() }
    }
}

impl Default for Request {
    fn default() -> Self {
        Self { max_body: Amount("1MiB".to_owned()) }
    }
}

impl Default for Reject {
    fn default() -> Self {
        let headers = vec![RejectHeader::RetryAfter, RejectHeader::ProxyStatus];
        Self { status: 503, headers, body: RejectBody::Auto }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { max: Amount("10k".to_owned()) }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        let [header, body, keepalive, write] = ["10s", "30s", "75s", "30s"].map(str::to_owned);
        Self { header, body, keepalive, write }
    }
}

impl Default for HeaderLimits {
    fn default() -> Self {
        Self { size: Amount("32KiB".to_owned()), count: 100 }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { to: "stdout".to_owned(), format: LogFormat::Json, sample_rejects: SampleRejects::default() }
    }
}

impl Default for SampleRejects {
    fn default() -> Self {
        Self { first: 5, then_every: "10s".to_owned() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

/// A count or a size as written: a number, or a number and its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount(pub String);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.parse::<u64>() {
            Ok(number) => serializer.serialize_u64(number),
            Err(_) => serializer.serialize_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"], "minimum": 0 })
    }
}

impl File {
    /// Decodes a tree that [`structure`](super::structure) found to have this shape.
    ///
    /// # Errors
    /// When it has not.
    pub fn decode(tree: &Node) -> Result<Self, serde_yaml::Error> {
        let mut file: Self = serde_yaml::from_value(yaml(tree))?;
        for limit in file.routes.iter_mut().flat_map(|route| &mut route.limits) {
            limit.delay = limit.delay.or((!limit.nodelay).then_some(0));
        }
        Ok(file)
    }

    /// The file as YAML, with every default. `secrets` are paths of values that were filled from files, and what was written.
    #[must_use]
    pub fn encode(&self, secrets: &[(Vec<String>, String)]) -> String {
        let mut value = serde_yaml::to_value(self).unwrap_or_default();
        escape(&mut value);
        for (path, written) in secrets {
            if let Some(place) = path.iter().try_fold(&mut value, |value, key| step(value, key)) {
                *place = Yaml::String(written.clone());
            }
        }
        serde_yaml::to_string(&value).unwrap_or_default()
    }
}

fn yaml(node: &Node) -> Yaml {
    match &node.value {
        Value::Scalar(scalar) => scalar_yaml(scalar),
        Value::List(items) => Yaml::Sequence(items.iter().map(yaml).collect()),
        Value::Map(entries) => {
            Yaml::Mapping(entries.iter().map(|entry| (Yaml::from(entry.key.as_str()), yaml(&entry.node))).collect())
        }
    }
}

fn scalar_yaml(scalar: &Scalar) -> Yaml {
    let number = || scalar.whole().map(Yaml::from);
    scalar.flag().map(Yaml::from).or_else(number).unwrap_or_else(|| Yaml::from(scalar.text.as_str()))
}

/// A `$` in the text must read back as a `$`.
fn escape(value: &mut Yaml) {
    match value {
        Yaml::String(text) => *text = text.replace('$', "$$"),
        Yaml::Sequence(items) => items.iter_mut().for_each(escape),
        Yaml::Mapping(entries) => entries.values_mut().for_each(escape),
        _ => {}
    }
}

fn step<'a>(value: &'a mut Yaml, step: &str) -> Option<&'a mut Yaml> {
    match value {
        Yaml::Sequence(items) => items.get_mut(step.parse::<usize>().ok()?),
        Yaml::Mapping(entries) => entries.get_mut(step),
        _ => None,
    }
}
