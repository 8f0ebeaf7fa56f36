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
