//! `routes` as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

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
    /// What requests may be, and how they are forwarded.
    #[serde(default)]
    pub request: Request,
    /// How answers are passed on.
    #[serde(default)]
    pub response: Response,
}

/// A zone applied on a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The zone's name.
    pub zone: String,
    /// How many requests a key may be ahead of its rate.
    #[serde(default)]
    #[schemars(range(min = 0, max = 4_294_967_294_u32))]
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

/// What the requests of a route may be, and how they are forwarded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The largest body, like `1MiB`, or `none` for no limit (nginx: client_max_body_size).
    pub max_body: Amount,
    /// Bodies of unknown length up to this size are collected and forwarded with their length
    /// (nginx: proxy_request_buffering).
    pub buffer: Amount,
    /// Edits of the fields that are forwarded (nginx: proxy_set_header).
    pub headers: Headers,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            max_body: Amount("1MiB".to_owned()),
            buffer: Amount("0".to_owned()),
            headers: Headers::default(),
        }
    }
}

/// How the answers of a route are passed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Response {
    /// The codings clients may get, the one you like best first (nginx: gzip).
    pub compress: Vec<Coding>,
    /// Edits of the fields of an upstream's answers (nginx: add_header, proxy_hide_header).
    pub headers: Headers,
}

/// A coding of answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Zstandard.
    Zstd,
    /// Brotli.
    Br,
    /// gzip.
    Gzip,
}

/// Edits of header fields: removing comes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Headers {
    /// What these fields say, in place of all they said: text with `{client_ip}`, `{host}`,
    /// `{request_id}`, `{route}`, `{scheme}`.
    pub set: BTreeMap<String, String>,
    /// The names of fields that are taken out.
    pub remove: Vec<String>,
}
