//! `defaults` and `include` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    access::{AccessSpec, AuthSpec, BasicAuthSpec, or_none},
    concurrency::ConcurrentSpec,
    route::{LimitSpec, RequestSpec, ResponseSpec, RouteReject},
};
use crate::log::settings::RouteLog;

/// Files that are included: one, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum IncludeSpec {
    /// One name.
    One(String),
    /// Several names.
    Several(Vec<String>),
}

/// Defaults: one map, or several for different hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DefaultsSpec {
    /// One map.
    One(Box<RouteDefaults>),
    /// Several maps.
    Several(Vec<RouteDefaults>),
}

/// Keys of routes that do not write them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteDefaults {
    /// Host whose routes these defaults are for, as routes write it; `*.example.com` includes the
    /// routes of hosts below it, whose own defaults come first. All routes by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Hosts whose routes these defaults are for, each as in `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<String>>,
    /// Rules of routes without `limits`; a route has none with `limits: []`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-like" = "routes[].limits"))]
    pub limits: Option<Vec<LimitSpec>>,
    /// Rules of routes without `concurrency`; a route has none with `concurrency: []`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-like" = "routes[].concurrency"))]
    pub concurrency: Option<Vec<ConcurrentSpec>>,
    /// Networks of routes without `access`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "or_none::<AccessSpec>", extend("x-like" = "routes[].access"))]
    pub access: Option<AccessSpec>,
    /// Users of routes without `basic_auth` and `auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "or_none::<BasicAuthSpec>", extend("x-like" = "routes[].basic_auth"))]
    pub basic_auth: Option<BasicAuthSpec>,
    /// Service of routes without `auth` and `basic_auth`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "or_none::<AuthSpec>", extend("x-like" = "routes[].auth"))]
    pub auth: Option<AuthSpec>,
    /// Rejects of routes without `reject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-like" = "routes[].reject"))]
    pub reject: Option<RouteReject>,
    /// Access lines of routes without `log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-like" = "routes[].log"))]
    pub log: Option<RouteLog>,
    /// Keys of `request` that a route does not write, of `request.headers` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-like" = "routes[].request"))]
    pub request: Option<RequestSpec>,
    /// Keys of `response` that a route does not write, of `response.headers` too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-like" = "routes[].response"))]
    pub response: Option<ResponseSpec>,
}
