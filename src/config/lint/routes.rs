//! Lints on routes: requests that a route never gets, and limits and conditions that do not apply to
//! requests that look like those of their route.

use std::collections::HashSet;

use super::conditions::is_at_will;
use crate::{
    config::{
        problem::Problems,
        resolve::{location::Location, path::PATH_KEYS},
        settings::{Config, RouteConfig, RuleConfig},
    },
    proxy::route::{HostPattern, PathPattern, Pattern, RouteTable},
};

/// Limit on the patterns that are compared with each other, since the work grows with their square.
const MAX_COMPARED: usize = 2_048;

/// Pattern of a route.
#[derive(Clone, Copy)]
struct Entry<'a> {
    pattern: &'a Pattern,
    route: &'a RouteConfig,
    index: usize,
}

impl Entry<'_> {
    /// Returns what the other route has and this one does not, if anything.
    fn lacks(&self, other: &Self) -> Option<&'static str> {
        let counts = |rule: &RuleConfig| self.route.limits.iter().any(|own| own.counts_as(rule));
        let has_limits = other.route.limits.iter().all(counts);
        let has_conditions = !other.has_conditions()
            || (&self.route.access, &self.route.basic_auth, &self.route.auth)
                == (&other.route.access, &other.route.basic_auth, &other.route.auth);
        match (has_limits, has_conditions) {
            (true, true) => None,
            (false, true) => Some("limits"),
            (true, false) => Some("conditions"),
            (false, false) => Some("limits and conditions"),
        }
    }

    /// Returns true if it takes whatever request its pattern takes, or all that `other` takes.
    fn is_general_to(&self, other: &Self) -> bool {
        self.route.condition.is_none() || self.route.condition == other.route.condition
    }

    /// Returns true if not every client may pass.
    fn has_conditions(&self) -> bool {
        let route = self.route;
        route.access.is_some() || route.basic_auth.is_some() || route.auth.is_some()
    }
}

/// Checks the routes.
pub fn lint(config: &Config, root: Location<'_>, problems: &mut Problems) {
    let entries = config.routes.iter().enumerate().flat_map(|(index, route)| {
        route.patterns.iter().map(move |pattern| Entry { pattern, route, index })
    });
    // In the order of matching: only an earlier pattern can take requests away.
    let table = RouteTable::new(entries.map(|entry| (entry.pattern.clone(), entry)).collect());
    let order: Vec<Entry<'_>> = table.iter().copied().take(MAX_COMPARED).collect();
    let routes = root.key("routes");
    unreachable_routes(config, &order, routes, problems);
    let mut hosts = HashSet::new();
    let hosts: Vec<&HostPattern> =
        order.iter().map(|entry| &entry.pattern.host).filter(|host| hosts.insert(*host)).collect();
    let mut reported = HashSet::new();
    for (place, entry) in order.iter().enumerate() {
        if entry.route.limits.is_empty() && !entry.has_conditions() {
            continue;
        }
        let found = [
            shadowed_limits(entry, &order, &hosts),
            shadowed_methods(entry, &order[..place]),
            expression_before(entry, &order),
            slash_apart(entry, &order),
            condition_before(entry, &order),
        ];
        for (kind, found) in found.into_iter().enumerate() {
            // Once for a route: its other patterns are nearly always in the same case.
            if let Some((message, hint)) = found.filter(|_| reported.insert((entry.index, kind))) {
                let spot = routes.item(entry.index);
                let keys = ["limits", "basic_auth", "auth", "access"];
                let own = keys.into_iter().find(|key| spot.has_own(key));
                let span = own.map_or_else(|| spot.first(), |key| spot.key(key).span);
                problems.warn(span, message, hint);
            }
        }
    }
}

/// Message with its hint.
type Warning = (String, String);

fn unreachable_routes(
    config: &Config,
    order: &[Entry<'_>],
    routes: Location<'_>,
    problems: &mut Problems,
) {
    let mut taken = vec![Vec::new(); config.routes.len()];
    for (place, entry) in order.iter().enumerate() {
        let takes = |earlier: &&Entry<'_>| {
            earlier.pattern.covers(entry.pattern) && earlier.is_general_to(entry)
        };
        taken[entry.index].extend(order[..place].iter().find(takes).map(|first| (entry, first)));
    }
    for (index, taken) in taken.iter().enumerate() {
        let Some((entry, first)) = taken.first() else { continue };
        let spot = routes.item(index);
        let spot = PATH_KEYS.into_iter().map(|key| spot.key(key)).find(|spot| spot.is_written());
        let number = first.index;
        let (message, hint) = if taken.len() == config.routes[index].patterns.len() {
            (
                "no request ever matches this route".to_owned(),
                format!("entry {number} of `routes`, counted from 0, matches them all first"),
            )
        } else {
            let Pattern { host, path, .. } = entry.pattern;
            (
                format!("no request to `{}` ever matches this route here", place_of(host, path)),
                format!("entry {number} of `routes`, counted from 0, matches it first"),
            )
        };
        problems.warn(spot.unwrap_or(routes).span, message, hint);
    }
}

/// The host takes precedence over the path: a limit on a longer path does not apply where a route
/// with a more specific host takes that path too.
fn shadowed_limits(
    limited: &Entry<'_>,
    order: &[Entry<'_>],
    hosts: &[&HostPattern],
) -> Option<Warning> {
    // Only hosts that the configuration names can differ, so only those are tried.
    let (taker, what, host) = hosts.iter().find_map(|host| {
        // The route that takes the path of the limited one for this host, with a method of both.
        let takes = |other: &&Entry<'_>| {
            let wanted = Pattern {
                host: (*host).clone(),
                methods: other.pattern.methods.clone(),
                ..limited.pattern.clone()
            };
            other.pattern.covers(&wanted)
                && other.is_general_to(limited)
                && share_a_method(other.pattern, limited.pattern)
        };
        let taker = order.iter().find(takes)?;
        let what = taker.lacks(limited).filter(|_| is_shadowed(limited, host, taker))?;
        (taker.index != limited.index).then_some((taker.index, what, *host))
    })?;
    Some((
        format!("the {what} of this route do not apply to requests to `{}`", named(host)),
        format!(
            "entry {taker} of `routes`, counted from 0, has a more specific host and matches them; \
            repeat the limited path with that host"
        ),
    ))
}

/// Returns true if `taker` takes requests to `host` from a route with a longer path.
fn is_shadowed(limited: &Entry<'_>, host: &HostPattern, taker: &Entry<'_>) -> bool {
    let of_host = |host: &HostPattern| Pattern {
        host: host.clone(),
        path: PathPattern::Prefix("/".to_owned()),
        over_regex: false,
        methods: Vec::new(),
    };
    // With one path for both, this compares the hosts alone.
    of_host(&limited.pattern.host).covers(&of_host(host))
        && length(&taker.pattern.path) < length(&limited.pattern.path)
}

/// A limit that names its methods does not apply to those that an earlier route takes.
fn shadowed_methods(limited: &Entry<'_>, earlier: &[Entry<'_>]) -> Option<Warning> {
    let (taker, what, method) = earlier.iter().find_map(|taker| {
        let takes = |method: &&http::Method| {
            let methods = vec![(**method).clone()];
            taker.pattern.covers(&Pattern { methods, ..limited.pattern.clone() })
                && taker.is_general_to(limited)
        };
        let method = limited.pattern.methods.iter().find(takes)?;
        // A route that takes all of them is reported elsewhere.
        let is_partial = !taker.pattern.covers(limited.pattern);
        let what = taker.lacks(limited).filter(|_| is_partial)?;
        Some((taker.index, what, method))
    })?;
    Some((
        format!("the {what} of this route do not apply to {method} requests"),
        format!(
            "entry {taker} of `routes`, counted from 0, matches them; repeat the {what} there, or \
            remove {method}"
        ),
    ))
}

/// An expression takes the requests of a limited prefix that it matches.
fn expression_before(limited: &Entry<'_>, order: &[Entry<'_>]) -> Option<Warning> {
    let PathPattern::Prefix(prefix) = &limited.pattern.path else { return None };
    if limited.pattern.over_regex {
        return None;
    }
    let taker = order.iter().find(|taker| {
        let (own, other) = (&limited.pattern.host, &taker.pattern.host);
        taker.is_general_to(limited)
            && may_match_some(&taker.pattern.path, prefix)
            && (own == other || *own == HostPattern::Any)
            && share_a_method(taker.pattern, limited.pattern)
            && taker.lacks(limited).is_some()
    })?;
    let (index, text) = (taker.index, path_of(&taker.pattern.path));
    let what = taker.lacks(limited)?;
    let message =
        format!("the {what} of this route do not apply to paths below that `{text}` matches");
    let hint = format!(
        "entry {index} of `routes`, counted from 0, comes first; repeat the {what} there, or write \
        `over_regex: true` here"
    );
    Some((message, hint))
}

/// Returns true if an expression or an ending may match a path below the prefix.
fn may_match_some(path: &PathPattern, prefix: &str) -> bool {
    match path {
        PathPattern::Suffix(_) => true,
        PathPattern::Regex(regex) => may_match_below(regex.as_str(), prefix),
        PathPattern::Prefix(_) | PathPattern::Exact(_) => false,
    }
}

/// A route with a condition that any client can fulfil takes requests of a limited route of the same
/// paths, or of all paths that it matches.
fn condition_before(limited: &Entry<'_>, order: &[Entry<'_>]) -> Option<Warning> {
    // A route behind the limited one gets only what that one leaves.
    let place = order.iter().position(|entry| std::ptr::eq(entry.pattern, limited.pattern))?;
    let taker = order[..place].iter().find(|taker| {
        let (own, other) = (&limited.pattern.host, &taker.pattern.host);
        // On a route for every host another one may take the requests of its own host.
        let host = if *own == HostPattern::Any { other } else { own };
        let wanted = Pattern {
            host: host.clone(),
            methods: taker.pattern.methods.clone(),
            ..limited.pattern.clone()
        };
        let is_expression = || match &limited.pattern.path {
            PathPattern::Prefix(prefix) if !limited.pattern.over_regex => {
                (own == other || *own == HostPattern::Any)
                    && may_match_some(&taker.pattern.path, prefix)
            }
            _ => false,
        };
        // Expressions stand before prefixes in the order, whatever their place in the file.
        taker.index != limited.index
            && !taker.is_general_to(limited)
            && taker.route.condition.as_ref().is_some_and(is_at_will)
            && share_a_method(taker.pattern, limited.pattern)
            && (taker.pattern.covers(&wanted) || is_expression())
            && taker.lacks(limited).is_some()
    })?;
    let (index, what) = (taker.index, taker.lacks(limited)?);
    let message = format!("any client can avoid the {what} of this route");
    let hint = format!(
        "it fulfils `match` of entry {index} of `routes`, counted from 0; repeat the {what} there, \
         or add `clients` to that condition"
    );
    Some((message, hint))
}

/// Returns false if an expression is anchored to text that is apart from the prefix.
fn may_match_below(regex: &str, prefix: &str) -> bool {
    let Some(anchored) = regex.strip_prefix('^').filter(|rest| !rest.contains('|')) else {
        return true;
    };
    let end = anchored.find(|letter| "\\.+*?()[]{}^$".contains(letter)).unwrap_or(anchored.len());
    // The last sign may be optional: `^/ab?` matches `/a`.
    let end =
        if anchored[end..].starts_with(['*', '?', '{']) { end.saturating_sub(1) } else { end };
    // A cut within a character cannot be compared.
    let Some(text) = anchored.get(..end) else { return true };
    text.starts_with(prefix) || prefix.starts_with(text)
}

/// A limit on `/login` alone does not apply to `/login/`, which many frameworks take for the same.
fn slash_apart(limited: &Entry<'_>, order: &[Entry<'_>]) -> Option<Warning> {
    let PathPattern::Exact(path) = &limited.pattern.path else { return None };
    let other = match path.strip_suffix('/') {
        Some("") => return None,
        Some(bare) => bare.to_owned(),
        None => format!("{path}/"),
    };
    let of_other = Pattern { path: PathPattern::Exact(other.clone()), ..limited.pattern.clone() };
    let takes =
        |taker: &&Entry<'_>| taker.pattern.covers(&of_other) && taker.is_general_to(limited);
    let taker = order.iter().find(takes)?;
    let (index, path) = (taker.index, path.trim_end_matches('/'));
    let what = taker.lacks(limited)?;
    Some((
        format!("the {what} of this route do not apply to `{other}`"),
        format!(
            "entry {index} of `routes`, counted from 0, matches it; write `path: {path}` for both \
            and all below"
        ),
    ))
}

fn share_a_method(one: &Pattern, other: &Pattern) -> bool {
    let takes =
        |one: &Pattern, other: &Pattern| other.methods.iter().any(|method| one.takes(method));
    one.methods.is_empty() || other.methods.is_empty() || takes(one, other) || takes(other, one)
}

fn length(path: &PathPattern) -> usize {
    path_of(path).len()
}

fn path_of(path: &PathPattern) -> &str {
    match path {
        PathPattern::Prefix(text) | PathPattern::Exact(text) | PathPattern::Suffix(text) => text,
        PathPattern::Regex(regex) => regex.as_str(),
    }
}

fn place_of(host: &HostPattern, path: &PathPattern) -> String {
    match host {
        HostPattern::Any => path_of(path).to_owned(),
        host => named(host) + path_of(path),
    }
}

fn named(host: &HostPattern) -> String {
    match host {
        HostPattern::Any => "every host".to_owned(),
        HostPattern::Below(suffix) => format!("*{suffix}"),
        HostPattern::Exact(name) => name.clone(),
    }
}
