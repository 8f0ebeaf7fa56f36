//! `reject` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::proxy::{reject::RejectHeader, reply::RejectBody};

/// Response to a rejected request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RejectSpec {
    /// Status, 400 to 599; 444 closes the connection without a response (nginx:
    /// `limit_req_status`).
    #[schemars(range(min = 400, max = 599))]
    pub status: u16,
    /// Fields of the response.
    pub headers: Vec<RejectHeader>,
    /// Form of the body. `problem` is `application/problem+json`; `auto` is that, HTML or text,
    /// as `Accept` prefers (nginx: near `error_page`).
    pub body: RejectBody,
}

impl Default for RejectSpec {
    fn default() -> Self {
        let headers = vec![RejectHeader::RetryAfter, RejectHeader::ProxyStatus];
        Self { status: 503, headers, body: RejectBody::Auto }
    }
}
