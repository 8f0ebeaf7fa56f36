//! `routes` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access::{AccessSpec, AuthSpec, BasicAuthSpec, or_none},
    action::{RedirectSpec, RespondSpec, RewriteSpec},
    amount::Amount,
    concurrency::ConcurrentSpec,
    condition::{ConditionSpec, MatchSpec},
    files::FilesSpec,
};
use crate::{compress::negotiate::Coding, log::settings::RouteLog};

/// Route: which requests are forwarded, redirected or responded to, and at which rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Path that is taken with everything below it: `/api` takes `/api` and `/api/x`, never
    /// `/apiary`. One of the keys that begin with `path` is required. A path is no pattern: `*`, `(`,
    /// `)`, `|`, `^`, `{`, `}`, `\`, `[`, `]` and a segment that begins with `:` are errors
    /// (nginx: `location /api/`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Paths that share the route, each taken with everything below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Path that is taken alone (nginx: `location = /api`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_exact: Option<String>,
    /// Expression that matches anywhere in the path, in its normal form and so in ASCII, like
    /// `\.php$` or `^/u/[0-9]+`. Expressions are tried in the order of the file, after exact paths and
    /// before prefixes; `(?i)` at the beginning ignores case (nginx: `location ~`, `location ~*`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// Ends of paths, like `.css`, compared with case. They count as expressions (nginx: `location ~
    /// \.(css|js)$`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_suffix: Option<Vec<String>>,
    /// Expressions are not tried if `path` or `paths` is the longest that matches (nginx:
    /// `location ^~`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over_regex: bool,
    /// Host without a port: one name, or `*.example.com` for every host below it; every host by
    /// default (nginx: `server_name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Hosts that share the route, each as in `host` (nginx: `server_name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Methods in upper case, every method by default; `GET` takes `HEAD` too (nginx:
    /// `limit_except`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Further condition on requests, by `clients`, `headers`, `cookies` and `query`. Where it fails,
    /// the next route is tried: another one of the same host and path in the order of the file, then
    /// a less specific one.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<MatchSpec>,
    /// Action: requests are forwarded to the upstream of this name, or to `http://host:port`. A route
    /// has exactly one action: `upstream`, `redirect`, `respond`, `files` or `close` (nginx: `proxy_pass`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// Action: the client is sent elsewhere (nginx: `return 301`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// Action: weir responds itself (nginx: `return 200`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<RespondSpec>,
    /// Action: weir responds with files of a directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
    /// Action: the connection is closed without a response, and 444 is logged (nginx: `return 444`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
    /// Change of the path that is forwarded, or that a redirect names with `{path}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<RewriteSpec>,
    /// At most 8 rules. All must agree, and a reject by one spends nothing in the others
    /// (nginx: `limit_req`).
    #[serde(default)]
    pub limits: Vec<LimitSpec>,
    /// At most 8 rules about the requests in progress, checked after `limits`. A permit is given
    /// back when its response has ended, in whatever way (nginx: `limit_conn`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concurrency: Vec<ConcurrentSpec>,
    /// Networks whose clients may pass; judged before the limits, so that a refused client spends
    /// nothing. `none` in place of a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "or_none::<AccessSpec>")]
    pub access: Option<AccessSpec>,
    /// Users that may pass with a password, asked for behind the limits. `none` in place of a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "or_none::<BasicAuthSpec>")]
    pub basic_auth: Option<BasicAuthSpec>,
    /// Service that judges each request, asked behind the limits. `none` in place of a default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "or_none::<AuthSpec>")]
    pub auth: Option<AuthSpec>,
    /// Differences from the general `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject: Option<RouteReject>,
    /// Access lines of its requests; with `off` they have none. The error log has those of rejects
    /// all the same (nginx: `access_log off`).
    #[serde(default)]
    pub log: RouteLog,
    /// Limits and edits of requests.
    #[serde(default)]
    pub request: RequestSpec,
    /// Compression and edits of responses.
    #[serde(default)]
    pub response: ResponseSpec,
}

impl RouteSpec {
    /// Networks of the conditions: of `match`, then of the rules. Of each rule `when` comes first, and
    /// `limits` before `concurrency`.
    pub fn networks_of_conditions(&self) -> impl Iterator<Item = &[String]> {
        let limits = self.limits.iter().map(|rule| (&rule.when, &rule.unless));
        let concurrency = self.concurrency.iter().map(|rule| (&rule.when, &rule.unless));
        let of_rules = limits.chain(concurrency);
        let of_rules = of_rules.flat_map(|(when, unless)| when.iter().chain(unless));
        let own = self.condition.iter().map(|own| &*own.clients);
        own.chain(of_rules.map(|condition| &*condition.clients))
    }
}

/// Rule: a zone applied on a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    /// Name of the zone (nginx: `zone=`).
    pub zone: String,
    /// Number of requests that a key may be ahead of its rate, 0 to 4294967294; `burst: 20`
    /// admits 21 together (nginx: `burst=`).
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_294_u32))]
    pub burst: u32,
    /// Number of requests of the burst that are not held back, at most the burst and 0 by default;
    /// the others wait for their slot (nginx: `delay=`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<u32>,
    /// No request of the burst is held back: `delay` equals `burst`. Not together with `delay` (nginx:
    /// `nodelay`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nodelay: bool,
    /// Longest wait. A request that would wait longer is rejected on arrival.
    #[serde(default = "LimitSpec::default_max_wait")]
    #[schemars(extend("x-type" = "time"))]
    pub max_wait: String,
    /// Places that a request takes, 1 to 100 and at most the burst and one: it counts as so many
    /// requests that arrive together.
    #[serde(default = "LimitSpec::default_cost")]
    #[schemars(range(min = 1, max = 100))]
    pub cost: u32,
    /// Statuses of responses, 100 to 599. The rule counts these responses in place of requests,
    /// for instance failed logins with `[401, 403]`. A request that may become one holds its place
    /// until its response, and nothing waits: not together with `delay`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 100, max = 599)))]
    pub count: Vec<u16>,
    /// Keys that the rule rejects again and again are shut out for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<PenaltySpec>,
    /// The rule is evaluated and logged, never enforced (nginx: `limit_req_dry_run`).
    #[serde(default)]
    pub dry_run: bool,
    /// The rule applies only to requests for which this holds; a field that is sent twice counts
    /// if one of its values does (nginx: `map` with an empty value for all others).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<ConditionSpec>,
    /// The rule does not apply to requests for which this holds, in every value of a field that is
    /// sent twice (nginx: `map` with an empty value for these).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<ConditionSpec>,
}

impl LimitSpec {
    fn default_cost() -> u32 {
        1
    }

    fn default_max_wait() -> String {
        "30s".to_owned()
    }
}

/// Penalty of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PenaltySpec {
    /// Number of rejects after which a key is shut out, 1 to 10000.
    #[schemars(range(min = 1, max = 10_000))]
    pub after: u32,
    /// Time in which they come, from the first of them on.
    #[serde(default = "PenaltySpec::default_within")]
    #[schemars(extend("x-type" = "time"))]
    pub within: String,
    /// Time for which the key is shut out. Requests in that time do not prolong it.
    #[serde(rename = "for")]
    #[schemars(extend("x-type" = "time"))]
    pub lasts: String,
    /// Status of the rejects in that time, 400 to 599, if it is not that of the route; 444 closes
    /// the connection without a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u16>,
}

impl PenaltySpec {
    fn default_within() -> String {
        "10s".to_owned()
    }
}

/// Differences from the general `reject` on one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteReject {
    /// Status, 400 to 599; 444 closes the connection without a response (nginx:
    /// `limit_req_status`).
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
}

/// Limits and edits of the requests of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RequestSpec {
    /// Largest body; `0` allows no body at all and `none` any, while 0 is no limit in nginx
    /// (nginx: `client_max_body_size`).
    #[schemars(extend("x-type" = "size or `none`"))]
    pub max_body: Amount,
    /// Bodies of unknown length of at most this size, up to `16MiB`, are collected and
    /// forwarded with their length (nginx: `proxy_request_buffering on`,
    /// `client_body_buffer_size`).
    #[schemars(extend("x-type" = "size"))]
    pub buffer: Amount,
    /// Edits of the fields that are forwarded.
    pub headers: HeadersSpec,
}

impl Default for RequestSpec {
    fn default() -> Self {
        Self {
            max_body: Amount("1MiB".to_owned()),
            buffer: Amount("0".to_owned()),
            headers: HeadersSpec::default(),
        }
    }
}

/// Compression and edits of the responses of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResponseSpec {
    /// Codings that clients may get, in order of preference (nginx: `gzip`, `brotli`).
    pub compress: Vec<Coding>,
    /// Edits of the fields of responses: those of an upstream, `redirect`,
    /// `respond` and `files`.
    pub headers: HeadersSpec,
    /// Bytes a second that a client gets of one response, `none` for no limit. It counts for each
    /// response alone, and not after an upgrade (nginx: `limit_rate`).
    #[schemars(extend("x-type" = "size or `none`"))]
    pub limit_rate: Amount,
    /// Bytes of a response before `limit_rate` counts (nginx: `limit_rate_after`).
    #[schemars(extend("x-type" = "size"))]
    pub limit_rate_after: Amount,
}

impl Default for ResponseSpec {
    fn default() -> Self {
        Self {
            compress: Vec::new(),
            headers: HeadersSpec::default(),
            limit_rate: Amount("none".to_owned()),
            limit_rate_after: Amount("0".to_owned()),
        }
    }
}

/// Edits of header fields: removing comes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeadersSpec {
    /// Header values to set; existing lines of the name are replaced. A value is text with
    /// `{client_ip}`, `{host}`, `{path}`, `{query}`, `{request_id}`, `{route}`, `{scheme}`,
    /// `{tls_client_fingerprint}`, `{tls_client_subject}`, `{tls_client_verified}` and `{user}`
    /// (nginx: `proxy_set_header`, `add_header`).
    pub set: BTreeMap<String, String>,
    /// Names of fields to remove; this comes before setting (nginx: `proxy_hide_header`).
    pub remove: Vec<String>,
}
