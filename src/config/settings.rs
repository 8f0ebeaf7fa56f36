//! Resolved configuration: every name resolved, every value parsed, every default filled in.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{
    networks::{self, NetworkLists, NetworksError},
    passwords::{self, PasswordsError},
};
use crate::{
    access::networks::NetworkAccess,
    compress::negotiate::Coding,
    downstream::{
        paced_body::ResponseRate,
        settings::{ClientTimeouts, HeaderLimits, ListenerSettings},
    },
    http::condition::{Condition, RuleScope},
    limit::{ConcurrencySettings, Penalty, RuleSettings, ZoneSettings, client_ip::Trust},
    log::settings::{AccessLogSettings, RouteLog},
    proxy::{
        action::Action,
        basic_auth::BasicAuthSettings,
        concurrency::ConcurrencyRuleSettings,
        forward_auth::ForwardAuthSettings,
        header_edits::Edits,
        reject::RejectSettings,
        rewrite::Rewrite,
        route::{PathMatching, Pattern},
    },
    upstream::settings::UpstreamSettings,
};

/// Resolved configuration of `weir run`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Listeners.
    pub listeners: Vec<ListenerSettings>,
    /// Trusted proxies and the forwarding field they set.
    pub client_ip: Trust,
    /// Entries from which the networks of `client_ip`, `zones` and rules were read.
    pub networks: NetworkLists,
    /// Zones of the limiter.
    pub zones: Vec<ZoneSettings>,
    /// Zones of concurrency.
    pub concurrency: Vec<ConcurrencySettings>,
    /// Upstreams.
    pub upstreams: Vec<UpstreamSettings>,
    /// Routes.
    pub routes: Vec<RouteConfig>,
    /// Form of a path that routes and keys see.
    pub path_matching: PathMatching,
    /// Limit on parked requests over all zones.
    pub queue_max: usize,
    /// Time-outs for clients.
    pub timeouts: ClientTimeouts,
    /// Limits on request heads.
    pub header_limits: HeaderLimits,
    /// Access log.
    pub access_log: AccessLogSettings,
    /// Filter of diagnostics: a `tracing` filter such as `info`.
    pub log_level: String,
    /// Address of the admin listener.
    pub admin: Option<SocketAddr>,
    /// State file.
    pub state: StateSettings,
    /// Number of workers.
    pub workers: usize,
    /// Drain timeout.
    pub drain: Duration,
}

/// Settings of the state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// Path of the file, if there is one.
    pub file: Option<PathBuf>,
    /// Interval between writes.
    pub interval: Duration,
}

/// Resolved route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// Name in logs and keys: the pattern as written.
    pub name: Arc<str>,
    /// Requests that it takes: one pattern for each of its hosts and paths.
    pub patterns: Vec<Pattern>,
    /// Further condition on these requests; where it fails, the next route is tried.
    pub condition: Option<Condition>,
    /// Access lines of its requests.
    pub log: RouteLog,
    /// Action; an upstream is its index in [`Config::upstreams`].
    pub action: Action<usize>,
    /// Change of the path that is forwarded.
    pub rewrite: Option<Rewrite>,
    /// Rules, in order.
    pub limits: Vec<RuleConfig>,
    /// Rules of concurrency, in the order in which they are checked.
    pub concurrency: Vec<ConcurrencyConfig>,
    /// Networks whose clients may pass, if it is not all.
    pub access: Option<NetworkAccess>,
    /// Users that may pass, if passwords are asked for.
    pub basic_auth: Option<BasicAuthSettings>,
    /// Service that judges requests, if one is asked.
    pub auth: Option<ForwardAuthSettings>,
    /// Form of rejects.
    pub reject: RejectSettings,
    /// Limit on the request body, in bytes; `None` for no limit.
    pub max_body: Option<u64>,
    /// Size up to which a body of unknown length is collected before it is forwarded, in bytes.
    pub buffer: usize,
    /// Edits of requests.
    pub request_edits: Edits,
    /// Edits of responses.
    pub response_edits: Edits,
    /// Offered response codings, the preferred one first.
    pub compress: Vec<Coding>,
    /// Rate of responses, if it is limited.
    pub response_rate: Option<ResponseRate>,
}

/// Resolved rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleConfig {
    /// Index of its zone in [`Config::zones`].
    pub zone: usize,
    /// Settings of the limiter.
    pub settings: RuleSettings,
    /// Statuses of the responses that it counts; empty if it counts requests.
    pub count: Vec<u16>,
    /// Penalty, if it has one.
    pub penalty: Option<PenaltyConfig>,
    /// Requests that it applies to; none for all.
    pub scope: Option<RuleScope>,
}

impl RuleConfig {
    /// Returns true if the rule counts all that `other` counts, in the same zone, and is as strict.
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        self.zone == other.zone
            && (self.scope.is_none() || self.scope == other.scope)
            && (self.count.is_empty() || self.count == other.count)
            && (other.penalty.is_none() || self.penalty == other.penalty)
    }
}

/// Resolved penalty of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PenaltyConfig {
    /// Settings of the limiter.
    pub penalty: Penalty,
    /// Status of the rejects, if it is not that of the route.
    pub status: Option<u16>,
}

/// Resolved rule of concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyConfig {
    /// Index of its zone in [`Config::concurrency`].
    pub zone: usize,
    /// Position in the file, by which conditions are found again.
    pub written: usize,
    /// Settings of the rule.
    pub settings: ConcurrencyRuleSettings,
}

impl RouteConfig {
    /// Conditions in the order of the file.
    fn conditions_mut(&mut self) -> impl Iterator<Item = &mut Condition> {
        let mut concurrency: Vec<_> = self.concurrency.iter_mut().collect();
        concurrency.sort_by_key(|rule| rule.written);
        let limits = self.limits.iter_mut().map(|rule| &mut rule.scope);
        let scopes = limits.chain(concurrency.into_iter().map(|rule| &mut rule.settings.scope));
        let of_rules =
            scopes.flatten().flat_map(|scope| scope.when.iter_mut().chain(&mut scope.unless));
        self.condition.iter_mut().chain(of_rules)
    }
}

impl Config {
    /// Returns the configuration with the networks that its files hold now; `None` while they are
    /// unchanged.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn with_networks_read_again(&self) -> Result<Option<Self>, NetworksError> {
        // The common case, which must not copy the configuration every few seconds.
        if !self.networks.have_files() {
            return Ok(None);
        }
        let mut fresh = self.clone();
        fresh.client_ip.proxies = networks::all(&self.networks.proxies)?;
        for (zone, entries) in fresh.zones.iter_mut().zip(&self.networks.exempt) {
            zone.exempt = networks::all(entries)?;
        }
        for (zone, entries) in fresh.concurrency.iter_mut().zip(&self.networks.concurrency) {
            zone.exempt = networks::all(entries)?;
        }
        let conditions = fresh.routes.iter_mut().flat_map(RouteConfig::conditions_mut);
        for (condition, entries) in conditions.zip(&self.networks.conditions) {
            condition.clients = networks::all(entries)?;
        }
        for (route, entries) in fresh.routes.iter_mut().zip(&self.networks.access) {
            if let Some(access) = &mut route.access {
                access.deny = networks::all(&entries.deny)?;
                access.allow = entries.allow.as_deref().map(networks::all).transpose()?;
            }
        }
        // Equal content must not cause a reload.
        let same = fresh.client_ip == self.client_ip
            && fresh.zones == self.zones
            && fresh.concurrency == self.concurrency
            && fresh.routes == self.routes;
        Ok((!same).then_some(fresh))
    }

    /// Returns the configuration with the users that its files hold now; `None` while they are
    /// unchanged.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn with_passwords_read_again(&self) -> Result<Option<Self>, PasswordsError> {
        let mut changed = Vec::new();
        for (index, route) in self.routes.iter().enumerate() {
            let Some(settings) = &route.basic_auth else { continue };
            let users = passwords::read(&settings.file)?;
            if users != *settings.users {
                changed.push((index, Arc::new(users)));
            }
        }
        // The common case, which must not copy the configuration every few seconds.
        if changed.is_empty() {
            return Ok(None);
        }
        let mut fresh = self.clone();
        for (index, users) in changed {
            if let Some(settings) = &mut fresh.routes[index].basic_auth {
                settings.users = users;
            }
        }
        Ok(Some(fresh))
    }
}
