//! The configuration as written: the shape of the YAML file, its defaults, and the only place that
//! knows YAML's library.
//!
//! Guarantee: an unknown key is an error, and every default is stated here, in the parts, and
//! nowhere else.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_yaml::Value as Yaml;

use super::yaml_tree::{Node, Scalar, Value};
use crate::{limit::Missing, proxy::route::PathMatching};

pub mod access;
pub mod action;
pub mod amount;
pub mod client_limits;
pub mod concurrency;
pub mod condition;
pub mod defaults;
pub mod files;
pub mod listener;
pub mod logs;
pub mod reject;
pub mod route;
pub mod upstream;
pub mod zone;

pub use access::{AccessSpec, AuthSpec, BasicAuthSpec};
pub use action::{RedirectSpec, RespondSpec, RewriteSpec};
pub use amount::Amount;
pub use client_limits::{HeaderLimitsSpec, QueueSpec, StateSpec, Timeouts};
pub use concurrency::{ConcurrencySpec, ConcurrentSpec};
pub use condition::{ConditionSpec, MatchSpec, ValueSpec};
pub use defaults::{DefaultsSpec, IncludeSpec, RouteDefaults};
pub use files::FilesSpec;
pub use listener::{Admin, Certificate, ClientAuthName, ClientIp, Listener, LongListener, TlsSpec};
pub use logs::{AccessLog, ErrorLog, LogSpec, SampleRejects};
pub use reject::RejectSpec;
pub use route::{
    HeadersSpec, LimitSpec, PenaltySpec, RequestSpec, ResponseSpec, RouteReject, RouteSpec,
};
pub use upstream::{
    Active, Dns, EndpointSpec, HealthSpec, Keepalive, LongEndpoint, Passive, ResponseLimits,
    Retries, StickySpec, UpstreamQueue, UpstreamSpec, UpstreamTimeouts, UpstreamTls,
};
pub use zone::{ZoneKey, ZoneSpec};

/// A weir configuration file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("patternProperties" = serde_json::json!({ "^x-": true })))]
pub struct File {
    /// Version of this format; only 1 exists.
    pub version: u64,
    /// Further files, like `conf.d/*.yaml`, in the order of their names, relative to the folder of
    /// this one. They may have `zones`, `concurrency`, `upstreams`, `routes`, `listeners`, `defaults`
    /// for hosts and `include`; a name that is given twice is an error (nginx: `include`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-type" = "text or list of text"))]
    pub include: Option<IncludeSpec>,
    /// Keys of all routes, or of all routes of a host, that do not write them: a map, or a list of
    /// maps. A key of a route replaces the default, lists too (nginx: `http`, `server`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defaults: Option<DefaultsSpec>,
    /// Addresses to listen on: `host:port`, or a map. `:8080` is every address, `0.0.0.0:8080`
    /// every IPv4 address, `[::]:8080` every IPv6 address and no IPv4 (nginx: `ipv6only=on`),
    /// and port 0 any free port (nginx: `listen`).
    #[schemars(length(min = 1))]
    pub listeners: Vec<Listener>,
    /// Proxies that are trusted about the client address.
    pub client_ip: ClientIp,
    /// Zones by name: each counts requests by a key at a rate (nginx: `limit_req_zone`).
    pub zones: BTreeMap<String, ZoneSpec>,
    /// Zones of concurrency by name: each counts the requests in progress by a key (nginx:
    /// `limit_conn_zone`).
    pub concurrency: BTreeMap<String, ConcurrencySpec>,
    /// Groups of servers by name (nginx: `upstream`).
    pub upstreams: BTreeMap<String, UpstreamSpec>,
    /// Routes: which requests go to which upstream (nginx: `location`).
    #[schemars(length(min = 1))]
    pub routes: Vec<RouteSpec>,
    /// Form of a path that routes and `path` keys see. `raw` takes a path as received, and
    /// paths in the file as written. It is only for upstreams that decode and clean nothing:
    /// any other spelling of a path passes its limit there, also one with a backslash.
    pub path_matching: PathMatching,
    /// Response to a rejected request.
    pub reject: RejectSpec,
    /// Requests that wait for their slot.
    pub queue: QueueSpec,
    /// Time-outs for clients.
    pub timeouts: Timeouts,
    /// Limits on a request head, in HTTP/1.1 and HTTP/2 alike.
    pub header_limits: HeaderLimitsSpec,
    /// Access log: one line for each request.
    pub access_log: AccessLog,
    /// Error log: one line for each request that is rejected for its rate, in the form of
    /// nginx's error log.
    pub error_log: ErrorLog,
    /// Diagnostics on standard error.
    pub log: LogSpec,
    /// Admin listener: health and reload, for programs on this machine.
    pub admin: Admin,
    /// State that survives a restart.
    pub state: StateSpec,
    /// Worker threads, 1 to 1024; `auto` is the number of cores this process may use (nginx:
    /// `worker_processes`).
    #[schemars(extend("x-type" = "count or `auto`"))]
    pub workers: Amount,
    /// Time a stop may take. Requests that would still wait then get 503 (nginx:
    /// `worker_shutdown_timeout`).
    #[schemars(extend("x-type" = "time"))]
    pub drain: String,
}

impl Default for File {
    fn default() -> Self {
        Self {
            version: 1,
            include: None,
            defaults: None,
            listeners: Vec::new(),
            client_ip: ClientIp::default(),
            zones: BTreeMap::new(),
            concurrency: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            routes: Vec::new(),
            path_matching: PathMatching::default(),
            reject: RejectSpec::default(),
            queue: QueueSpec::default(),
            timeouts: Timeouts::default(),
            header_limits: HeaderLimitsSpec::default(),
            access_log: AccessLog::default(),
            error_log: ErrorLog::default(),
            log: LogSpec::default(),
            admin: Admin::default(),
            state: StateSpec::default(),
            workers: Amount("auto".to_owned()),
            drain: "8s".to_owned(),
        }
    }
}

impl File {
    /// Decodes a tree that [`structure`](super::validate) found to have this shape.
    ///
    /// # Errors
    /// When it has not.
    pub fn decode(tree: &Node) -> Result<Self, serde_yaml::Error> {
        let mut file: Self = serde_yaml::from_value(yaml(tree))?;
        // Written out, so that `weir config show` shows the value that counts.
        for limit in file.routes.iter_mut().flat_map(|route| &mut route.limits) {
            let waits = !limit.nodelay && limit.count.is_empty();
            limit.delay = limit.delay.or(waits.then_some(0));
        }
        let of_zones = file.zones.values_mut().map(|zone| (&zone.key, &mut zone.missing));
        let of_concurrency =
            file.concurrency.values_mut().map(|zone| (&zone.key, &mut zone.missing));
        for (key, missing) in of_zones.chain(of_concurrency) {
            missing.get_or_insert(match key {
                ZoneKey::Part(_) => Missing::Exempt,
                ZoneKey::Parts(_) => Missing::Empty,
            });
        }
        Ok(file)
    }

    /// The file as YAML, with every default. `as_written` are paths of values that were filled in
    /// from outside, and the text that stands there: that is shown in their place.
    #[must_use]
    pub fn encode(&self, as_written: &[(Vec<String>, String)]) -> String {
        let mut value = serde_yaml::to_value(self.in_long_form()).unwrap_or_default();
        escape(&mut value);
        for (path, written) in as_written {
            // The file shows the long form. A short one has moved to the key `address` there.
            let address = is_short_form(path).then_some("address");
            let mut steps = path.iter().map(String::as_str).chain(address);
            // After the escape: the text as written must keep its `${NAME}`.
            if let Some(place) = steps.try_fold(&mut value, step) {
                *place = Yaml::String(written.clone());
            }
        }
        serde_yaml::to_string(&value).unwrap_or_default() + &self.upstreams_by_address(as_written)
    }

    /// The same file with the settings that an address alone stands for.
    fn in_long_form(&self) -> Self {
        let mut long = self.clone();
        for listener in &mut long.listeners {
            if let Listener::Short(address) = listener {
                *listener = Listener::Long(Box::new(LongListener::on(address.clone())));
            }
        }
        for endpoint in long.upstreams.values_mut().flat_map(|upstream| &mut upstream.endpoints) {
            if let EndpointSpec::Short(address) = endpoint {
                *endpoint = EndpointSpec::Long(LongEndpoint::at(address.clone()));
            }
        }
        long
    }

    /// Settings of the upstreams that routes name by their address, as comments: such an upstream
    /// has no name under which the file could set them.
    fn upstreams_by_address(&self, as_written: &[(Vec<String>, String)]) -> String {
        let mut found = BTreeMap::new();
        for (index, route) in self.routes.iter().enumerate() {
            let Some(upstream) = &route.upstream else { continue };
            if !self.upstreams.contains_key(upstream) {
                let place = ["routes".to_owned(), index.to_string(), "upstream".to_owned()];
                let filled = as_written.iter().find(|(path, _)| *path == place);
                let address = filled.map_or(upstream, |(_, written)| written).clone();
                let endpoints = vec![EndpointSpec::Long(LongEndpoint::at(address.clone()))];
                found.insert(address, UpstreamSpec { endpoints, ..UpstreamSpec::default() });
            }
        }
        if found.is_empty() {
            return String::new();
        }
        let yaml =
            serde_yaml::to_string(&BTreeMap::from([("upstreams", found)])).unwrap_or_default();
        let comments: String = yaml.lines().map(|line| format!("# {line}\n")).collect();
        format!("# Upstreams that routes name by their address have these settings:\n{comments}")
    }
}

/// Recognises the path of a listener or an endpoint that is written as an address alone.
fn is_short_form(path: &[String]) -> bool {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(words[..], ["listeners", _] | ["upstreams", _, "endpoints", _])
}

fn yaml(node: &Node) -> Yaml {
    match &node.value {
        Value::Scalar(scalar) => scalar_yaml(scalar),
        Value::List(items) => Yaml::Sequence(items.iter().map(yaml).collect()),
        Value::Map(entries) => Yaml::Mapping(
            entries
                .iter()
                .map(|entry| (Yaml::from(entry.key.as_str()), yaml(&entry.node)))
                .collect(),
        ),
    }
}

fn scalar_yaml(scalar: &Scalar) -> Yaml {
    let number = || scalar.whole().map(Yaml::from);
    scalar
        .flag()
        .map(Yaml::from)
        .or_else(number)
        .unwrap_or_else(|| Yaml::from(scalar.text.as_str()))
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
