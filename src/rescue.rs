//! From an error or a reject to an answer.

/// What a rejected client is told besides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectBody {
    /// JSON, HTML or text, as `Accept` prefers.
    Auto,
    /// `application/problem+json` (RFC 9457).
    Problem,
    /// A small page.
    Html,
    /// One line of text.
    Text,
    /// Nothing.
    None,
}

/// How a route answers what it rejects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectSettings {
    /// 400 to 599; 444 closes the connection without an answer.
    pub status: u16,
    /// Send `Retry-After`.
    pub retry_after: bool,
    /// Send `Proxy-Status` (RFC 9209).
    pub proxy_status: bool,
    /// Send `RateLimit-Policy` and `RateLimit`.
    pub ratelimit: bool,
    /// The body.
    pub body: RejectBody,
}
