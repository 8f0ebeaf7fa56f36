//! State of a worker that is built from one configuration: routes, upstreams, listeners.

use std::{
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
};

use http::HeaderName;

use super::shared::Shared;
use crate::{
    access::{keyed_digest::NoRandomness, password_check::PasswordCheck},
    config::{ConcurrencyConfig, RouteConfig},
    downstream::{
        listen_address::ListenAddress,
        settings::{HeaderLimits, ListenerSettings},
        upload::RequestBody,
    },
    files::{FileServer, blocking::BlockingReads, challenge::ChallengeDirectory, root::RootError},
    http::{condition::RuleScope, fields::further_claim, request_id::RequestIds},
    limit::{ConcurrencyZone, Gate, MAX_RULES, Rule, Zone, rule::RuleError},
    log::{access::AccessLogger, gateway::Watch},
    process::listeners::ListenerMap,
    proxy::{
        Proxy,
        action::Action,
        basic_auth::BasicAuth,
        concurrency::ConcurrencyRule,
        forward_auth::{ForwardAuth, VerdictMemory},
        guard::{Authenticator, Guard},
        reject::Reject,
        route::{RouteCandidate, RouteTable},
        served_route::{Route, counted_by},
    },
    runtime::{coarse_timer::CoarseTimer, release_timer::ReleaseTimer},
    upstream::{Upstream, endpoints::EndpointGroup},
};

/// Reason why a worker could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A rule cannot be counted.
    #[error("route `{route}`: {source}")]
    Rule {
        /// Name of the route.
        route: Arc<str>,
        /// Error of the rule.
        source: RuleError,
    },
    /// A directory of files cannot be opened.
    #[error("route `{route}`: {source}")]
    Files {
        /// Name of the route.
        route: Arc<str>,
        /// Error of the directory.
        source: RootError,
    },
    /// The directory of a listener for ACME challenges cannot be opened.
    #[error("`http01`: {source}")]
    Challenges {
        /// Error of the directory.
        source: RootError,
    },
    /// There is no timer for parked requests.
    #[error("cannot create a timer: {0}")]
    Timer(#[source] io::Error),
    /// The runtime cannot accept on a socket.
    #[error("cannot accept on `{address}`: {source}")]
    Listener {
        /// Address as configured.
        address: ListenAddress,
        /// Error of the kernel.
        source: io::Error,
    },
    /// There is no key for what is remembered of passwords.
    #[error("cannot make a key: {0}")]
    Random(#[from] NoRandomness),
    /// A route has more rules than a gate takes.
    #[error("route `{route}` has {rules} limits, and at most {max} are supported", max = MAX_RULES)]
    TooManyRules {
        /// Name of the route.
        route: Arc<str>,
        /// Number of rules.
        rules: usize,
    },
}

/// State built from one configuration. A request keeps the one with which it started.
pub struct ActiveConfig {
    /// Responds to requests.
    pub proxy: Proxy,
    /// Verifier of passwords.
    check: Rc<PasswordCheck>,
    /// Upstreams, in the order of [`crate::config::Config::upstreams`].
    pub upstreams: Vec<Rc<Upstream<RequestBody>>>,
    /// Policies of the listeners.
    pub doors: Arc<ListenerMap>,
    /// Limits on the heads of requests.
    pub limits: HeaderLimits,
    /// Permits to read files.
    reads: BlockingReads,
    /// Directories for ACME challenges, by path.
    challenges: Vec<(PathBuf, Arc<ChallengeDirectory>)>,
}

impl ActiveConfig {
    /// Builds the state. What stays of the one before is taken over: upstreams with the same group
    /// of endpoints keep their connections, and the permits of encoders and of reads and the memory
    /// of collected bodies stay limits of the worker.
    ///
    /// # Errors
    /// When a directory of files cannot be opened any more, or a rule cannot be counted, which a
    /// checked configuration rules out.
    pub fn of(
        shared: &Shared,
        alarm: &Rc<CoarseTimer>,
        releases: &Rc<ReleaseTimer>,
        journal: &Rc<AccessLogger>,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let config = &shared.config;
        let upstream = |group: &Arc<EndpointGroup>| {
            // By group, which is the same only if its settings are: so the kept connections
            // fit them.
            let same = before.and_then(|before| {
                before.upstreams.iter().find(|upstream| Arc::ptr_eq(upstream.group(), group))
            });
            same.map_or_else(|| Rc::new(Upstream::new(group, &shared.connector, alarm)), Rc::clone)
        };
        let upstreams: Vec<_> = shared.upstreams.iter().map(upstream).collect();
        let reads = before.map(|before| before.reads.clone()).unwrap_or_default();
        let check = PasswordCheck::new(before.map(|before| &*before.check)).map(Rc::new)?;
        let memory = Rc::new(VerdictMemory::new()?);
        let users =
            |index, route: &RouteConfig| authenticator(index, route, &upstreams, &check, &memory);
        let (mut routes, mut scopes) = (Vec::with_capacity(config.routes.len()), Vec::new());
        for (index, route) in config.routes.iter().enumerate() {
            let gate = gate(route, &shared.zones, &mut scopes)?;
            let concurrency = concurrency(route, &shared.concurrency);
            let action = route.action.try_map(
                |index| Rc::clone(&upstreams[*index]),
                |files| FileServer::open(files, &reads, alarm),
            );
            let wrong = |source| BuildError::Files { route: Arc::clone(&route.name), source };
            let guard = Guard::of(route.access.clone(), users(index, route));
            let built = Rc::new(served(route, gate, concurrency, guard, action.map_err(wrong)?));
            let condition = route.condition.clone().map(|condition| Rc::new(condition.into()));
            routes.extend(route.patterns.iter().map(|pattern| RouteCandidate {
                pattern: pattern.clone(),
                condition: condition.clone(),
                route: Rc::clone(&built),
            }));
        }
        let proxy = Proxy {
            clock: shared.clock,
            trust: config.client_ip.clone(),
            claim: further_claim(config.client_ip.header.name()).map(Rc::new),
            certificate_fields: certificate_fields(&config.routes),
            routes: RouteTable::of(routes),
            path_matching: config.path_matching,
            queue: Arc::clone(&shared.queue),
            releases: Rc::clone(releases),
            // The encoders of old requests still count, or each reload would allow as many again.
            coders: before.map(|before| before.proxy.coders.clone()).unwrap_or_default(),
            collected: before.map(|before| before.proxy.collected.clone()).unwrap_or_default(),
            journal: Rc::clone(journal),
            // A seed of its own, because the counters of all workers begin at the same number.
            ids: RequestIds::new(),
            gateway: Watch::on(shared.gateway.clone()),
            drain: shared.drain.clone(),
        };
        Ok(Self {
            proxy,
            check,
            upstreams,
            doors: Arc::clone(&shared.doors),
            limits: config.header_limits,
            reads,
            challenges: challenges(&config.listeners)?,
        })
    }

    /// Directory with this path for ACME challenges.
    pub fn challenges(&self, path: &Path) -> Option<Arc<ChallengeDirectory>> {
        let mut known = self.challenges.iter();
        known.find(|(known, _)| known == path).map(|(_, directory)| Arc::clone(directory))
    }
}

fn challenges(
    listeners: &[ListenerSettings],
) -> Result<Vec<(PathBuf, Arc<ChallengeDirectory>)>, BuildError> {
    let opened = |path: &PathBuf| {
        let wrong = |source| BuildError::Challenges { source };
        let directory = ChallengeDirectory::open(path).map_err(wrong)?;
        Ok((path.clone(), Arc::new(directory)))
    };
    listeners.iter().filter_map(|listener| listener.http01.as_ref()).map(opened).collect()
}

fn served(
    route: &RouteConfig,
    gate: Gate,
    concurrency: Vec<ConcurrencyRule>,
    guard: Option<Box<Guard>>,
    action: Action<Rc<Upstream<RequestBody>>, FileServer>,
) -> Route {
    Route {
        name: Arc::clone(&route.name),
        log: route.log,
        counted: counted_by(&gate, &concurrency),
        gate,
        penalty_statuses: penalty_statuses(route),
        concurrency,
        guard,
        action,
        reject: Reject::new(route.reject.clone(), route.limits.len()),
        rewrite: route.rewrite.clone().map(Box::new),
        max_body: route.max_body,
        buffer: route.buffer,
        request_edits: route.request_edits.clone(),
        response_edits: route.response_edits.clone(),
        compress: route.compress.clone(),
        response_rate: route.response_rate,
    }
}

/// Fields that any route sets to what is known of the certificate of a client. They are withheld on
/// all routes, as one service may be behind several.
fn certificate_fields(routes: &[RouteConfig]) -> Option<Rc<[HeaderName]>> {
    let mut names: Vec<HeaderName> = Vec::new();
    for name in routes.iter().flat_map(|route| route.request_edits.certificate_fields()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    (!names.is_empty()).then(|| names.into())
}

fn penalty_statuses(route: &RouteConfig) -> Vec<Option<u16>> {
    let statuses = route.limits.iter().map(|rule| rule.penalty?.status);
    if statuses.clone().all(|status| status.is_none()) { Vec::new() } else { statuses.collect() }
}

fn concurrency(route: &RouteConfig, zones: &[Arc<ConcurrencyZone>]) -> Vec<ConcurrencyRule> {
    let rule = |rule: &ConcurrencyConfig| ConcurrencyRule {
        zone: Arc::clone(&zones[rule.zone]),
        settings: rule.settings.clone(),
    };
    route.concurrency.iter().map(rule).collect()
}

/// Way to find out the users of the route of this number, if it has one.
fn authenticator(
    index: usize,
    route: &RouteConfig,
    upstreams: &[Rc<Upstream<RequestBody>>],
    check: &Rc<PasswordCheck>,
    memory: &Rc<VerdictMemory>,
) -> Option<Authenticator> {
    if let Some(users) = &route.basic_auth {
        return Some(Authenticator::Passwords(BasicAuth::new(users, check)));
    }
    let auth = route.auth.as_ref()?;
    let service = ForwardAuth::new(auth, &upstreams[auth.upstream], memory, index);
    Some(Authenticator::service(service))
}

/// Builds the gate of a route. Equal scopes are one, so that rules can be compared
/// ([`guards_as`](crate::proxy::served_route::guards_as)).
fn gate(
    route: &RouteConfig,
    zones: &[Arc<Zone>],
    scopes: &mut Vec<Arc<RuleScope>>,
) -> Result<Gate, BuildError> {
    let mut rules = Vec::with_capacity(route.limits.len());
    for limit in &route.limits {
        let rule = Rule::new(Arc::clone(&zones[limit.zone]), limit.settings)
            .map_err(|source| BuildError::Rule { route: Arc::clone(&route.name), source })?;
        let rule = match &limit.count[..] {
            [] => rule,
            statuses => rule.counting(statuses.into()),
        };
        let rule = match limit.penalty {
            None => rule,
            Some(own) => rule.with_penalty(own.penalty),
        };
        let Some(wanted) = &limit.scope else {
            rules.push(rule);
            continue;
        };
        let known = scopes.iter().find(|scope| ***scope == *wanted).cloned();
        let scope = known.unwrap_or_else(|| {
            scopes.push(Arc::new(wanted.clone()));
            Arc::clone(&scopes[scopes.len() - 1])
        });
        rules.push(rule.within(scope));
    }
    Gate::new(rules)
        .map_err(|rules| BuildError::TooManyRules { route: Arc::clone(&route.name), rules })
}
