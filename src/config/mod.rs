//! The configuration as used: every name resolved, every value parsed, every default filled in.
//!
//! From text to there: [`yaml_tree`] (YAML with places) -> [`set`] -> [`interpolate`] ->
//! [`validate`] (against the [`shape`] of [`schema`](mod@schema)) -> [`resolve`] -> [`lint`], every
//! [`problem`] collected on the way.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::{
    compress::negotiate::Coding,
    downstream::settings::{ClientTimeouts, HeaderLimits, ListenerSettings},
    limit::{RuleSettings, ZoneSettings, client_ip::Trust},
    log::settings::AccessLogSettings,
    proxy::{
        header_edits::Edits,
        reply::RejectSettings,
        route::{PathMatching, Pattern},
    },
    upstream::settings::UpstreamSettings,
};

pub mod interpolate;
pub mod lint;
pub mod load;
pub mod nearest;
pub mod networks;
pub mod problem;
pub mod quantity;
pub mod resolve;
pub mod schema;
pub mod set;
pub mod shape;
pub mod show;
pub mod validate;
pub mod yaml_tree;

pub use load::{Loaded, load, parse};
pub use networks::NetworkLists;
pub use problem::Problems;
pub use show::{schema, show};

/// Everything `weir run` needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listeners: Vec<ListenerSettings>,
    /// Who is believed about the client's address.
    pub client_ip: Trust,
    /// Entries that the networks of `client_ip` and of `zones` were read from.
    pub networks: NetworkLists,
    /// What is counted.
    pub zones: Vec<ZoneSettings>,
    /// Where requests go.
    pub upstreams: Vec<UpstreamSettings>,
    /// Which requests go where.
    pub routes: Vec<RouteConfig>,
    /// The form of a path that routes and keys see.
    pub path_matching: PathMatching,
    /// How many requests may be parked over all zones.
    pub queue_max: usize,
    /// How long clients may take.
    pub timeouts: ClientTimeouts,
    /// How large a request head may be.
    pub header_limits: HeaderLimits,
    /// The access log.
    pub access_log: AccessLogSettings,
    /// Diagnostics: a `tracing` filter such as `info`.
    pub log_level: String,
    /// Where the operator is listened to.
    pub admin: Option<SocketAddr>,
    /// What the zones remember across a restart.
    pub state: StateSettings,
    /// How many workers to run.
    pub workers: usize,
    /// How long a stop may take.
    pub drain: Duration,
}

/// Where the zones' debts are kept, and how often they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// The file, if there is to be one.
    pub file: Option<PathBuf>,
    /// How long what it says may be behind.
    pub interval: Duration,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Its name in logs and keys: the pattern as written.
    pub name: Arc<str>,
    /// Which requests it takes.
    pub pattern: Pattern,
    /// Which of [`Config::upstreams`] it forwards to.
    pub upstream: usize,
    /// Its rules, in order: which of [`Config::zones`], and how.
    pub limits: Vec<(usize, RuleSettings)>,
    /// How it rejects.
    pub reject: RejectSettings,
    /// The largest request body, in bytes; `None` for no limit.
    pub max_body: Option<u64>,
    /// The largest body of unknown length that is collected before it is forwarded, in bytes.
    pub buffer: usize,
    /// What its requests are edited by.
    pub request_edits: Edits,
    /// What its answers are edited by.
    pub response_edits: Edits,
    /// The codings of its answers, the one it likes best first.
    pub compress: Vec<Coding>,
}
