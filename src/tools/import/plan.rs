//! Plan of a weir.yaml: what the importer writes, in the order and with the comments it has there.

use std::{collections::BTreeMap, time::Duration};

/// Remark of a route for paths that only begin with the letters of a location.
pub const LETTERS: &str = "nginx compares letters: these paths are of the location too";
/// Networks that contain every address.
pub const EVERY_NETWORK: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Comments of an entry: its origin, and what changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// File and line it comes from; empty if it stands in no file.
    pub origin: String,
    /// Differences, each on a line of its own.
    pub changes: Vec<String>,
}

impl Remarks {
    /// Remarks of an entry from this place.
    #[must_use]
    pub fn from(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), changes: Vec::new() }
    }

    /// Adds a difference once.
    pub fn add(&mut self, change: impl Into<String>) {
        let change = change.into();
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }
}

/// Whole file.
#[derive(Clone, Debug, Default)]
pub struct ImportPlan {
    /// Listeners.
    pub listeners: Vec<ListenerPlan>,
    /// Networks of trusted proxies, each with its origin.
    pub trusted_proxies: Vec<(String, String)>,
    /// Value of `client_ip.header`, if it is not the default.
    pub forwarding: Option<(String, Remarks)>,
    /// Origin of `client_ip.recursive: false`, if that is to be written.
    pub last_hop: Option<String>,
    /// Zones by name.
    pub zones: BTreeMap<String, ZonePlan>,
    /// Zones of concurrency by name.
    pub concurrency: BTreeMap<String, ConcurrencyPlan>,
    /// Upstreams.
    pub upstreams: Vec<UpstreamPlan>,
    /// Routes.
    pub routes: Vec<RoutePlan>,
    /// Closed routes that are not written, since no other takes their requests: those get 404.
    pub left_out: Vec<RoutePlan>,
    /// More routes are needed than are written, so that none is open.
    pub is_full: bool,
    /// General status of a reject.
    pub reject_status: u16,
    /// Keys at the top and their values, in the order they are written.
    pub settings: Vec<(String, Remarks)>,
    /// Remarks at the head of the file.
    pub head: Vec<String>,
}

/// Listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// Address.
    pub address: String,
    /// TLS, if it has any.
    pub tls: Option<TlsPlan>,
    /// Further keys and their values.
    pub keys: Vec<(&'static str, String)>,
    /// Comments.
    pub remarks: Remarks,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPlan {
    /// Certificate, key and origin.
    pub certificates: Vec<(String, String, String)>,
    /// Further keys and their values.
    pub keys: Vec<(&'static str, String)>,
}

/// Zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZonePlan {
    /// Parts of the key.
    pub key: Vec<String>,
    /// Rate.
    pub rate: String,
    /// Number of keys.
    pub capacity: Option<String>,
    /// Networks that are not counted.
    pub exempt: Vec<String>,
    /// Condition of its rules.
    pub condition: Option<String>,
    /// Comments.
    pub remarks: Remarks,
}

impl ZonePlan {
    /// Key and rate as a file has them.
    #[must_use]
    pub fn key_and_rate(&self) -> String {
        format!("key: {}, rate: {}", key_text(&self.key), self.rate)
    }
}

/// Zone of concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyPlan {
    /// Parts of the key.
    pub key: Vec<String>,
    /// Networks that are not counted.
    pub exempt: Vec<String>,
    /// Condition of its rules.
    pub condition: Option<String>,
    /// Comments.
    pub remarks: Remarks,
}

impl ConcurrencyPlan {
    /// Keys and values as a file has them.
    #[must_use]
    pub fn keys(&self) -> String {
        let exempt = match &self.exempt[..] {
            [] => String::new(),
            networks => format!(", exempt: {}", listed(networks)),
        };
        format!("key: {}{exempt}", key_text(&self.key))
    }
}

/// Rule of concurrency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyRulePlan {
    /// Name of the zone.
    pub zone: String,
    /// Keys and their values, but for the status.
    pub text: String,
    /// Status of a reject.
    pub status: u16,
    /// File and line.
    pub origin: String,
}

/// Parts of a key as a file has them.
fn key_text(parts: &[String]) -> String {
    match parts {
        [part] => super::scalar::quoted(part),
        parts => listed(parts),
    }
}

fn listed(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| super::scalar::quoted(text)).collect();
    format!("[ {} ]", texts.join(", "))
}

/// Upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamPlan {
    /// Name.
    pub name: String,
    /// Endpoints.
    pub endpoints: Vec<EndpointPlan>,
    /// Further lines.
    pub lines: Vec<String>,
    /// Comments.
    pub remarks: Remarks,
}

/// Endpoint of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPlan {
    /// URL.
    pub url: String,
    /// Weight.
    pub weight: u32,
    /// It gets requests only while no other is available.
    pub is_backup: bool,
}

impl EndpointPlan {
    /// Endpoint without settings.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), weight: 1, is_backup: false }
    }
}

/// Rule of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RulePlan {
    /// Name of the zone.
    pub zone: String,
    /// Keys and their values.
    pub text: String,
    /// Requests that may be ahead of the rate.
    pub burst: u32,
    /// Time between two requests at the rate.
    pub interval: Duration,
    /// It is evaluated, and not enforced.
    pub is_dry: bool,
    /// It is not for all requests.
    pub is_conditional: bool,
    /// File and line.
    pub origin: String,
}

/// Files of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesPlan {
    /// Directory.
    pub root: String,
    /// Names that stand for a directory; empty for the default.
    pub index: Vec<String>,
    /// File for paths without one.
    pub fallback: Option<String>,
    /// Codings of files beside the file.
    pub precompressed: Vec<&'static str>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// Beginning of the path that is no part of a name.
    pub strip_prefix: Option<String>,
    /// Differences.
    pub changes: Vec<String>,
}

/// Conditions for passing a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardPlan {
    /// Allowed networks; none for all of them.
    pub allow: Option<Vec<String>>,
    /// Denied networks.
    pub deny: Vec<String>,
    /// A client of an allowed network needs no credentials.
    pub is_any: bool,
    /// File of users, and the realm.
    pub basic_auth: Option<(String, String)>,
    /// Service that is asked.
    pub auth: Option<AuthPlan>,
}

impl GuardPlan {
    /// Returns true if no client may pass.
    #[must_use]
    pub fn denies_all(&self) -> bool {
        !self.is_any && self.deny == EVERY_NETWORK
    }
}

/// Service that is asked about requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthPlan {
    /// Upstream, by its name or its URL.
    pub upstream: String,
    /// Path there.
    pub path: String,
    /// Variables that have a field of the verdict, each with the name of that field.
    pub variables: Vec<(String, String)>,
    /// Fields of the verdict that are forwarded.
    pub pass: Vec<String>,
}

/// Kind of the path of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathKind {
    /// The path and what is below it.
    #[default]
    Prefix,
    /// The same, and no expression is tried if it is the longest.
    OverRegex,
    /// The path alone.
    Exact,
    /// An expression.
    Regex,
}

impl PathKind {
    /// Key of weir's file.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Prefix | Self::OverRegex => "path",
            Self::Exact => "path_exact",
            Self::Regex => "path_regex",
        }
    }

    /// Returns true for a path with what is below it.
    #[must_use]
    pub fn is_prefix(self) -> bool {
        matches!(self, Self::Prefix | Self::OverRegex)
    }
}

/// Route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutePlan {
    /// Path, or an expression.
    pub path: String,
    /// Kind of the path.
    pub kind: PathKind,
    /// Host; none for every host.
    pub host: Option<String>,
    /// Methods; empty for every method.
    pub methods: Vec<String>,
    /// Upstream, by its name or its URL.
    pub upstream: String,
    /// Line of an action that needs no upstream.
    pub action: Option<String>,
    /// Value of `rewrite`.
    pub rewrite: Option<String>,
    /// Files in place of an upstream.
    pub files: Option<FilesPlan>,
    /// Conditions for passing.
    pub guard: GuardPlan,
    /// The route is closed: weir cannot do what nginx does there.
    pub is_closed: bool,
    /// Rules.
    pub limits: Vec<RulePlan>,
    /// Rules of concurrency.
    pub concurrency: Vec<ConcurrencyRulePlan>,
    /// Rules whose zone is not in the files.
    pub lost_limits: Vec<String>,
    /// Status of a reject, if it is not the general one.
    pub reject_status: Option<u16>,
    /// Largest body.
    pub max_body: Option<String>,
    /// Fields of requests that are set.
    pub set_request: BTreeMap<String, String>,
    /// Fields of requests that are removed.
    pub remove_request: Vec<String>,
    /// Fields of responses that are set.
    pub set_response: BTreeMap<String, String>,
    /// Fields of responses that are removed.
    pub remove_response: Vec<String>,
    /// Codings.
    pub compress: Vec<&'static str>,
    /// Comments.
    pub remarks: Remarks,
}

impl RoutePlan {
    /// Returns true if both take the same requests.
    #[must_use]
    pub fn takes_the_same(&self, other: &Self) -> bool {
        let form = |route: &Self| (route.host.clone(), route.methods.clone(), route.kind.key());
        self.path == other.path && form(self) == form(other)
    }

    /// Returns true if it keeps some requests from what is behind it.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let refuses = |action: &String| {
            action == "close: true"
                || action.starts_with("respond: { status: 4")
                || action.starts_with("respond: { status: 5")
        };
        self.is_closed
            || self.guard != GuardPlan::default()
            || self.action.as_ref().is_some_and(refuses)
    }

    /// Differences that a comment of the file lists, and that responses may show. Another `Host` is
    /// none of them: an upstream that responds otherwise for it has to be looked at.
    #[must_use]
    pub fn listed(&self) -> Vec<String> {
        let is_shown =
            |change: &&String| !change.starts_with("`Host` is forwarded") && *change != LETTERS;
        self.remarks.changes.iter().filter(is_shown).cloned().collect()
    }

    /// Returns true if both do the same with their requests.
    #[must_use]
    pub fn does_the_same(&self, other: &Self) -> bool {
        let remarks = Remarks::default();
        let here = Self { remarks: remarks.clone(), ..self.clone() };
        let there = Self { remarks, ..other.clone() };
        let without_origins = |mut route: Self| {
            route.limits.iter_mut().for_each(|rule| rule.origin.clear());
            route.concurrency.iter_mut().for_each(|rule| rule.origin.clear());
            route
        };
        without_origins(here) == without_origins(there)
    }
}
