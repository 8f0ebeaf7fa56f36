//! `reject` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

impl Default for Reject {
    fn default() -> Self {
        let headers = vec![RejectHeader::RetryAfter, RejectHeader::ProxyStatus];
        Self { status: 503, headers, body: RejectBody::Auto }
    }
}
