//! Actions of a route that need no upstream, as written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Redirect of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectSpec {
    /// Place to go to: a URL, or a path of the same host. `{scheme}`, `{host}`, `{path}` and
    /// `{query}` are those of the request, the query with its `?`: `https://{host}{path}{query}`.
    pub to: String,
    /// Status: 301, 302, 303, 307 or 308. With 307 and 308 the client repeats method and body.
    #[serde(default = "RedirectSpec::default_status")]
    #[schemars(range(min = 301, max = 308))]
    pub status: u16,
}

impl RedirectSpec {
    fn default_status() -> u16 {
        308
    }
}

/// Response of weir's own on a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// Status, 200 to 599.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// Body; `text/plain` unless `headers` sets another `content-type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// File with the body, at most 1 MiB, read at the start and at a reload. Not together with `body`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_file: Option<String>,
    /// Header values to set, as in `response.headers.set`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// Change of the path that is forwarded, or that a redirect names. What is matched does not change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RewriteSpec {
    /// Prefix that is removed, in whole segments: `/api` makes `/api/x` to `/x` (nginx: `proxy_pass
    /// http://host/`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<String>,
    /// Prefix that is added, after the removal (nginx: `proxy_pass http://host/v1/`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_prefix: Option<String>,
    /// Expression on the path in its normal form, in place of prefixes. A path that it does not match
    /// stays (nginx: `rewrite`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Path that replaces the whole path where `regex` matches; `{1}` or `{name}` is a group. With a
    /// `?` it has a query, before that of the request; a `?` at the end drops that of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Responses get the way back: `Location`, and `Path` and `Domain` of cookies. Only with prefixes
    /// (nginx: `proxy_redirect`, `proxy_cookie_path`, `proxy_cookie_domain`).
    pub responses: bool,
}
