//! Report of a verification.

use std::{fmt, net::SocketAddr};

use crate::runtime::hint::Hinted;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Request.
    pub request: String,
    /// Difference of its responses.
    pub what: String,
    /// Reason, where the import lists it.
    pub expected: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.expected {
            Some(reason) => write!(f, "expected: {}: {}: {reason}", self.request, self.what),
            None => write!(f, "different: {}: {}", self.request, self.what),
        }
    }
}

/// Outcome of a verification.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Requests that were compared.
    pub probes: usize,
    /// Limits that were compared.
    pub limits: usize,
    /// What was not compared, and why.
    pub skipped: Vec<String>,
    /// Differences.
    pub differences: Vec<Difference>,
}

impl VerifyReport {
    /// Differences that no one listed.
    pub fn unexpected(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.expected.is_none())
    }
}

/// Error of a verification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A server does not take connections.
    #[error("`{0}` cannot be asked: {1}")]
    Unreachable(SocketAddr, String),
}

impl Hinted for VerifyError {
    fn hint(&self) -> Option<String> {
        Some("start both servers before, and name a listener without TLS of each".to_owned())
    }
}
