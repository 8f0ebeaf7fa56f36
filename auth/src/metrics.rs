//! Counters. No label is unbounded: routes are patterns, outcomes are words of this program.

use std::fmt::Write as _;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The pattern, as in `/api/v1/users/{username}`.
    pub route: String,
    /// The method; unknown ones count as `other`.
    pub method: &'static str,
    /// The status.
    pub code: u16,
}

/// The labels of a cache read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReadLabels {
    /// `user`, `name` or `session`.
    pub kind: &'static str,
    /// `hit`, `miss`, `written` (a write is in progress or just done) or `away` (Redis is).
    pub outcome: &'static str,
}

/// The label of a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LoginLabels {
    /// `granted`, `refused`, `limited`, `busy` or `failed`.
    pub outcome: &'static str,
}

/// Every counter of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests that got their response.
    pub requests: Family<RequestLabels, Counter>,
    /// Time that they took.
    pub seconds: Histogram,
    /// Cache reads.
    pub reads: Family<ReadLabels, Counter>,
    /// Logins tried.
    pub logins: Family<LoginLabels, Counter>,
    /// Requests that wait for or hold a hashing permit.
    pub hashing: Gauge,
    /// 1 while Redis is used.
    pub redis_up: Gauge,
    /// Refresh tokens used twice, which ends their session.
    pub reused: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = Histogram::new([
            0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ]);
        let mut metrics = Self {
            registry: Registry::with_prefix("auth"),
            requests: Family::default(),
            seconds,
            reads: Family::default(),
            logins: Family::default(),
            hashing: Gauge::default(),
            redis_up: Gauge::default(),
            reused: Counter::default(),
        };
        let registry = &mut metrics.registry;
        registry.register(
            "http_requests",
            "requests by route, method and status",
            metrics.requests.clone(),
        );
        registry.register(
            "http_request_seconds",
            "how long a response took",
            metrics.seconds.clone(),
        );
        registry.register("cache_reads", "reads of the cache", metrics.reads.clone());
        registry.register("logins", "logins tried", metrics.logins.clone());
        registry.register(
            "hashing",
            "requests waiting for or holding a hashing permit",
            metrics.hashing.clone(),
        );
        registry.register("redis_up", "1 while Redis is used", metrics.redis_up.clone());
        registry.register("refresh_reused", "refresh tokens used twice", metrics.reused.clone());
        metrics
    }
}

impl Metrics {
    /// One more login of this outcome.
    pub fn login(&self, outcome: &'static str) {
        self.logins.get_or_create_owned(&LoginLabels { outcome }).inc();
    }

    /// One more cache read.
    pub fn read(&self, kind: &'static str, outcome: &'static str) {
        self.reads.get_or_create_owned(&ReadLabels { kind, outcome }).inc();
    }

    /// One more response.
    pub fn request(&self, request: &RequestLabels, seconds: f64) {
        self.requests.get_or_create_owned(request).inc();
        self.seconds.observe(seconds);
    }

    /// OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        if text::encode(&mut out, &self.registry).is_err() {
            let _ = out.write_str("# EOF\n"); // writing to a string cannot fail
        }
        out
    }
}
