//! Route of a request: the most specific host, then the path, among the routes whose methods and
//! conditions match. Of the paths an exact one comes first, then expressions and endings in the order
//! of the file, then the longest prefix. A prefix that is longest and stands `over_regex` comes before
//! expressions. Routes of one host and one path are tried in the order of the file.
//!
//! Guarantee: matching compares bytes. The caller passes path and host in their normal form
//! (`limit/src/normal_form.rs`), or, with `path_matching: raw`, the path as received. A prefix
//! matches on segment boundaries only: `/api` takes `/api` and `/api/x`, never `/apiary`.

use std::rc::Rc;

use http::{HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    http::condition::{Condition, Fit},
    runtime::expression::Expression,
};

/// The form of a path that routes and keys see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathMatching {
    /// The normal form, so that another spelling of a path takes the same route.
    #[default]
    Normal,
    /// Bytes as received: only for upstreams that decode and normalise nothing.
    Raw,
}

/// Methods (RFC 9110, RFC 5789) listed for a route that takes every method.
const USUAL: [Method; 6] =
    [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

/// Hosts of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// `*.example.com`, stored as `.example.com`: any host below it.
    Below(String),
    /// One host, lower case, without a port.
    Exact(String),
}

/// Paths of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This path and all paths below it.
    Prefix(String),
    /// This path only.
    Exact(String),
    /// Paths in which the expression matches anywhere: a path in its normal form is ASCII.
    Regex(Expression),
    /// Paths that end so.
    Suffix(String),
}

/// Requests that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Hosts of the route.
    pub host: HostPattern,
    /// Paths of the route.
    pub path: PathPattern,
    /// Expressions and endings are not tried if this prefix is the longest one.
    pub over_regex: bool,
    /// Methods; empty means every method, and GET includes HEAD (RFC 9110, section 9.3.2).
    pub methods: Vec<Method>,
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Self::Exact(name) => host == name,
        }
    }

    /// Returns true if it takes every host that `other` takes.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Below(wide), Self::Below(narrow)) => narrow.ends_with(wide.as_str()),
            (wide, Self::Exact(narrow)) => wide.matches(narrow),
            _ => false,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Below(text) | Self::Exact(text) => text,
        }
    }

    /// An exact host comes before a wildcard, a longer wildcard before a shorter one, any host
    /// last.
    #[must_use]
    pub fn weight(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Below(suffix) => (1, suffix.len()),
            Self::Exact(_) => (2, 0),
        }
    }
}

impl PathPattern {
    /// Returns true if it takes this path.
    #[inline(always)]
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => is_below(path, prefix),
            Self::Regex(regex) => regex.regex().is_match(path.as_bytes()),
            Self::Suffix(suffix) => path.ends_with(suffix.as_str()),
        }
    }

    /// Returns true for an expression or an ending.
    #[must_use]
    pub fn is_expression(&self) -> bool {
        matches!(self, Self::Regex(_) | Self::Suffix(_))
    }

    /// The order of this file's head.
    fn weight(&self) -> (u8, usize) {
        match self {
            Self::Exact(_) => (2, 0),
            // All alike: a stable sort keeps them in the order of the file.
            Self::Regex(_) | Self::Suffix(_) => (1, 0),
            Self::Prefix(prefix) => (0, prefix.len()),
        }
    }
}

/// Returns what follows a prefix in a path, which is nothing or begins with a slash; none if the path
/// is not below the prefix.
#[must_use]
pub fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    // The slash belongs to both.
    let shared = usize::from(prefix.ends_with('/'));
    if is_below(path, prefix) { path.get(prefix.len() - shared..) } else { None }
}

/// Returns true if a path is the prefix, or below it.
fn is_below(path: &str, prefix: &str) -> bool {
    match path.as_bytes().strip_prefix(prefix.as_bytes()) {
        Some([] | [b'/', ..]) => true,
        Some(_) => prefix.ends_with('/'),
        None => false,
    }
}

impl Pattern {
    /// Returns true if it takes requests with this method.
    #[must_use]
    pub fn takes(&self, method: &Method) -> bool {
        let head_of_get = || *method == Method::HEAD && self.methods.contains(&Method::GET);
        self.methods.is_empty() || self.methods.contains(method) || head_of_get()
    }

    /// Returns true if this pattern takes every request that `other` takes.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let path = match (&self.path, &other.path) {
            (PathPattern::Prefix(root), _) if root == "/" => true,
            (
                wide @ PathPattern::Prefix(_),
                PathPattern::Prefix(narrow) | PathPattern::Exact(narrow),
            ) => wide.matches(narrow),
            (
                wide @ (PathPattern::Regex(_) | PathPattern::Suffix(_)),
                PathPattern::Exact(narrow),
            ) => wide.matches(narrow),
            // Which paths two expressions share is not decided here.
            (one, other) => one == other,
        };
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|method| self.takes(method)));
        self.host.covers(&other.host) && path && methods
    }
}

/// Reason why no route was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// No route serves this host and path.
    NotFound,
    /// A route serves them, but not with this method.
    MethodNotAllowed,
}

/// Condition of a route on more than host, path and method.
#[derive(Debug)]
pub struct RouteCondition {
    /// Condition itself.
    pub condition: Condition,
    /// Header fields that it reads.
    pub fields: Vec<HeaderName>,
}

impl From<Condition> for RouteCondition {
    fn from(condition: Condition) -> Self {
        Self { fields: condition.fields().collect(), condition }
    }
}

/// Route with one of its patterns.
#[derive(Debug)]
pub struct RouteCandidate<T> {
    /// Pattern of the requests that it takes.
    pub pattern: Pattern,
    /// Further condition on these requests. Where it fails, the next candidate is tried.
    pub condition: Option<Rc<RouteCondition>>,
    /// Route itself.
    pub route: T,
}

/// Route of a request in another reading of its path or of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<'a, T> {
    /// The chosen route, or one that takes the path too but comes later, like one above it.
    Above(&'a T),
    /// Another route.
    Beside,
}

/// Routes in the order they are tried.
#[derive(Debug)]
pub struct RouteTable<T> {
    candidates: Vec<RouteCandidate<T>>,
    has_conditions: bool,
}

impl<T> RouteTable<T> {
    /// Orders routes without conditions; of two with equal weight the first stays first.
    #[must_use]
    pub fn new(entries: Vec<(Pattern, T)>) -> Self {
        let candidate = |(pattern, route)| RouteCandidate { pattern, condition: None, route };
        Self::of(entries.into_iter().map(candidate).collect())
    }

    /// Orders routes; of two with equal weight the first stays first.
    #[must_use]
    pub fn of(mut candidates: Vec<RouteCandidate<T>>) -> Self {
        // The patterns of one host stay together: an expression is compared with its prefixes.
        candidates.sort_by(
            |RouteCandidate { pattern: one, .. }, RouteCandidate { pattern: other, .. }| {
                let (one_host, other_host) = (&one.host, &other.host);
                let hosts = other_host.weight().cmp(&one_host.weight());
                let hosts = hosts.then_with(|| one_host.text().cmp(other_host.text()));
                hosts.then_with(|| other.path.weight().cmp(&one.path.weight()))
            },
        );
        let has_conditions = candidates.iter().any(|candidate| candidate.condition.is_some());
        Self { candidates, has_conditions }
    }

    /// Returns true if a route has a condition.
    #[must_use]
    pub fn has_conditions(&self) -> bool {
        self.has_conditions
    }

    /// Returns the route for a request that fulfils all conditions, `host` and `path` in the form of
    /// the patterns.
    ///
    /// # Errors
    /// [`NoRoute`] says whether only the method did not match.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<&T, NoRoute> {
        self.entry(host, path, method, |_| Fit::Holds).map(|candidate| &candidate.route)
    }

    /// Returns the candidate whose route takes a request. `fit` judges a condition, and one in doubt
    /// is taken to hold.
    ///
    /// # Errors
    /// [`NoRoute`] says whether only the method did not match.
    pub fn entry(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit,
    ) -> Result<&RouteCandidate<T>, NoRoute> {
        let mut nearest = NoRoute::NotFound;
        for (index, candidate) in self.candidates.iter().enumerate() {
            let pattern = &candidate.pattern;
            if !pattern.host.matches(host)
                || !pattern.path.matches(path)
                // Last, because it reads the request; and before the method, so that a route which is
                // not meant makes no 405.
                || candidate.condition.as_ref().is_some_and(|it| fit(it) == Fit::Fails)
            {
                continue;
            }
            if !pattern.takes(method) {
                nearest = NoRoute::MethodNotAllowed;
            } else if pattern.path.is_expression() {
                return Ok(self.prefix_before(index, path, method, fit).unwrap_or(candidate));
            } else {
                return Ok(candidate);
            }
        }
        Err(nearest)
    }

    /// Returns the longest prefix of the same host, if it comes before this expression.
    fn prefix_before(
        &self,
        expression: usize,
        path: &str,
        method: &Method,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit,
    ) -> Option<&RouteCandidate<T>> {
        let (_, behind) = self.candidates.split_at_checked(expression)?;
        let (found, behind) = behind.split_first()?;
        let of_host = behind.iter().take_while(|it| it.pattern.host == found.pattern.host);
        let mut prefixes = of_host.filter(|it| {
            let RouteCandidate { pattern, condition, .. } = it;
            !pattern.path.is_expression()
                && pattern.path.matches(path)
                && pattern.takes(method)
                && condition.as_ref().is_none_or(|condition| fit(condition) != Fit::Fails)
        });
        prefixes.next().filter(|longest| longest.pattern.over_regex)
    }

    /// Candidates that could take a request: the one of [`Self::entry`], and those that would be
    /// chosen if conditions in doubt failed. None if no route takes it.
    pub fn possible(
        &self,
        host: &str,
        path: &str,
        method: &Method,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit,
    ) -> Vec<&RouteCandidate<T>> {
        let mut found: Vec<&RouteCandidate<T>> = Vec::new();
        // The first expression that certainly matches, and the host of a prefix in doubt that would
        // yield to it. Prefixes and expressions of one host alone stand against each other.
        let mut expression: Option<&RouteCandidate<T>> = None;
        let mut may_yield: Option<&HostPattern> = None;
        for candidate in &self.candidates {
            let pattern = &candidate.pattern;
            if expression.is_some_and(|found| found.pattern.host != pattern.host) {
                break;
            }
            let is_expression = pattern.path.is_expression();
            if is_expression && expression.is_some()
                || !pattern.host.matches(host)
                || !pattern.path.matches(path)
                || !pattern.takes(method)
            {
                continue;
            }
            let fit = candidate.condition.as_ref().map_or(Fit::Holds, &fit);
            if fit == Fit::Fails {
                continue;
            }
            let is_certain = fit == Fit::Holds;
            // Where no longer prefix yields, this one is chosen whether or not an expression matches.
            let yields = may_yield == Some(&pattern.host);
            if !is_expression && is_certain && pattern.over_regex && !yields {
                let is_before = |it: &Pattern| it.path.is_expression() && it.host == pattern.host;
                found.retain(|earlier| !is_before(&earlier.pattern));
            }
            // Behind a certain expression only a prefix that does not yield to it can be chosen.
            if expression.is_none() || pattern.over_regex {
                found.push(candidate);
            }
            match (is_certain, is_expression) {
                (true, true) => expression = Some(candidate),
                (true, false) => break,
                (false, true) => {}
                (false, false) if !pattern.over_regex => may_yield = Some(&pattern.host),
                (false, false) => {}
            }
        }
        found
    }

    /// Routes of a request for `path`, if its path were read as `reading`: one, or several if
    /// conditions are in doubt, or none.
    pub fn readings<'a>(
        &'a self,
        host: &str,
        path: &'a str,
        reading: &str,
        method: &Method,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit,
    ) -> impl Iterator<Item = Reading<'a, T>> {
        let possible = self.possible(host, reading, method, fit).into_iter();
        possible.map(|candidate| match candidate.pattern.path.matches(path) {
            true => Reading::Above(&candidate.route),
            false => Reading::Beside,
        })
    }

    /// Methods that routes take there, in the order of the routes: the usual ones if a route takes
    /// every method.
    #[must_use]
    pub fn methods(
        &self,
        host: &str,
        path: &str,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit,
    ) -> Vec<Method> {
        let mut methods = Vec::new();
        let is_there = |RouteCandidate { pattern, condition, .. }: &&RouteCandidate<T>| {
            pattern.host.matches(host)
                && pattern.path.matches(path)
                && condition.as_ref().is_none_or(|it| fit(it) != Fit::Fails)
        };
        for RouteCandidate { pattern, .. } in self.candidates.iter().filter(is_there) {
            for method in if pattern.methods.is_empty() { &USUAL[..] } else { &pattern.methods } {
                let head = (*method == Method::GET).then_some(Method::HEAD);
                for method in [method.clone()].into_iter().chain(head) {
                    if !methods.contains(&method) {
                        methods.push(method);
                    }
                }
            }
        }
        methods
    }

    /// All routes in the order they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.candidates.iter().map(|candidate| &candidate.route)
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        http::condition::{ConditionField, ValueTest},
        proxy::route::*,
    };

    /// A path as nginx writes it, and `* .css` for an ending.
    fn pattern(host: &str, given: &str, methods: &[Method]) -> Pattern {
        let host = match host {
            "" => HostPattern::Any,
            host if host.starts_with("*.") => HostPattern::Below(host[1..].to_owned()),
            host => HostPattern::Exact(host.to_owned()),
        };
        let path = match given.strip_prefix('=') {
            Some(exact) => PathPattern::Exact(exact.to_owned()),
            None => match given.split_once(' ') {
                Some(("~", regex)) => {
                    PathPattern::Regex(Expression::new(regex, false).expect("an expression"))
                }
                Some(("*", suffix)) => PathPattern::Suffix(suffix.to_owned()),
                Some(("^~", prefix)) => PathPattern::Prefix(prefix.to_owned()),
                _ => PathPattern::Prefix(given.to_owned()),
            },
        };
        Pattern { host, over_regex: given.starts_with("^~ "), path, methods: methods.to_vec() }
    }

    fn table() -> RouteTable<&'static str> {
        RouteTable::new(vec![
            (pattern("", "/", &[]), "all"),
            (pattern("", "/api", &[]), "api"),
            (pattern("", "=/api", &[]), "api itself"),
            (pattern("", "/api/v1/login", &[Method::POST]), "login"),
            (pattern("a.test", "/", &[]), "host"),
            (pattern("*.test", "/", &[]), "below test"),
            (pattern("*.b.test", "/only", &[Method::PUT]), "below b"),
        ])
    }

    #[test]
    fn route_most_specific_host_then_longest_path_wins() {
        let table = table();
        for (host, path, expected) in [
            ("x", "/", "all"),
            ("x", "/apiary", "all"),
            ("x", "/api", "api itself"),
            ("x", "/api/", "api"),
            ("x", "/api/v1/login/x", "api"),
            ("a.test", "/api", "host"),
            ("z.a.test", "/", "below test"),
            ("test", "/", "all"),
        ] {
            assert_eq!(table.find(host, path, &Method::GET), Ok(&expected), "{host}{path}");
        }
        assert_eq!(table.find("x", "/api/v1/login", &Method::POST), Ok(&"login"));
        assert_eq!(table.find("x.b.test", "/only", &Method::GET), Ok(&"below test"));
    }

    #[test]
    fn route_expression_comes_after_exact_and_before_prefix() {
        let table = RouteTable::new(vec![
            (pattern("", "/", &[]), "all"),
            (pattern("", "~ \\.php$", &[]), "php"),
            (pattern("", "* .css", &[]), "css"),
            (pattern("", "~ ^/a.*s$", &[]), "late"),
            (pattern("", "/a", &[]), "a"),
            (pattern("", "=/a/x.php", &[]), "exact"),
            (pattern("", "^~ /raw", &[]), "raw"),
            (pattern("", "/raw/deep", &[]), "deep"),
            (pattern("", "~ ^/post", &[Method::POST]), "post"),
            (pattern("a.test", "/b", &[]), "host"),
            (pattern("a.test", "~ x$", &[]), "host x"),
        ]);
        for (host, path, expected) in [
            ("", "/a/x.php", "exact"),
            ("", "/a/y.php", "php"),
            ("", "/a/y.css", "css"),
            ("", "/a/ys", "late"),
            ("", "/a/y", "a"),
            ("", "/raw/y.php", "raw"),
            ("", "/raw/deep/y.php", "php"),
            ("", "/post", "all"),
            ("a.test", "/b/y.php", "host"),
            ("a.test", "/y.php", "php"),
            ("a.test", "/b/x", "host x"),
            ("a.test", "/x", "host x"),
        ] {
            assert_eq!(table.find(host, path, &Method::GET), Ok(&expected), "{host}{path}");
        }
        assert_eq!(table.find("", "/post", &Method::POST), Ok(&"post"));
    }

    #[test]
    fn below_keeps_the_slash() {
        assert_eq!(below("/api/x", "/api"), Some("/x"));
        assert_eq!(below("/api", "/api"), Some(""));
        assert_eq!(below("/api/x", "/api/"), Some("/x"));
        assert_eq!(below("/apiary", "/api"), None);
        assert_eq!(below("/x", "/"), Some("/x"));
    }

    #[test]
    fn route_missing_path_differs_from_missing_method() {
        let table = RouteTable::new(vec![(pattern("", "/a", &[Method::GET]), ())]);
        assert_eq!(table.find("x", "/a", &Method::POST), Err(NoRoute::MethodNotAllowed));
        assert_eq!(table.find("x", "/a", &Method::HEAD), Ok(&()));
        assert_eq!(table.find("x", "/b", &Method::GET), Err(NoRoute::NotFound));
    }

    #[test]
    fn reading_takes_a_route_above_the_chosen_one_or_beside_it() {
        let table = RouteTable::new(vec![
            (pattern("", "/", &[]), "all"),
            (pattern("", "/private", &[]), "private"),
            (pattern("", "/private/open", &[]), "open"),
        ]);
        let read = |path: &'static str, reading: &str| {
            let fit = |_: &Rc<RouteCondition>| Fit::Holds;
            table.readings("a", path, reading, &Method::GET, fit).collect::<Vec<_>>()
        };
        assert_eq!(read("/private", "/%70rivate"), [Reading::Above(&"all")]);
        assert_eq!(read("/private/open", "/private/x/../open"), [Reading::Above(&"private")]);
        assert_eq!(read("/private", "/private/x/.."), [Reading::Above(&"private")]);
        assert_eq!(read("/", "/private/.."), [Reading::Beside]);
        assert_eq!(read("/private", "/private/open/.."), [Reading::Beside]);
        let table = RouteTable::new(vec![
            (pattern("", "/a", &[]), ()),
            (pattern("", "/post", &[Method::POST]), ()),
        ]);
        let fit = |_: &Rc<RouteCondition>| Fit::Holds;
        let read = table.readings("a", "/a", "/post", &Method::GET, fit);
        assert_eq!(read.count(), 0, "no route takes that method there");
    }

    /// Routes with a condition on a header of their name, but for those without a name.
    fn conditional(routes: &[(&str, &str, &'static str)]) -> RouteTable<&'static str> {
        let candidate = |(path, field, route): &(&str, &str, &'static str)| {
            let name = field.parse().ok();
            let field = |name| ConditionField { name, tests: vec![ValueTest::Present] };
            let of = |name| Condition { headers: vec![field(name)], ..Condition::default() };
            let condition = name.map(|name| Rc::new(of(name).into()));
            RouteCandidate { pattern: pattern("", path, &[]), condition, route: *route }
        };
        RouteTable::of(routes.iter().map(candidate).collect())
    }

    /// Judges conditions by the names of their fields.
    fn judged<'a>(
        holds: &'a [&str],
        in_doubt: &'a [&str],
    ) -> impl Fn(&Rc<RouteCondition>) -> Fit + 'a {
        |condition| match condition.fields[0].as_str() {
            name if holds.contains(&name) => Fit::Holds,
            name if in_doubt.contains(&name) => Fit::InDoubt,
            _ => Fit::Fails,
        }
    }

    #[test]
    fn route_whose_condition_fails_is_passed_over() {
        let table = conditional(&[
            ("/", "", "all"),
            ("/a", "x-one", "one"),
            ("/a", "x-two", "two"),
            ("/a/b", "x-deep", "deep"),
            ("~ b$", "x-regex", "regex"),
        ]);
        for (path, holds, expected) in [
            ("/a", &[][..], "all"),
            ("/a", &["x-one"], "one"),
            ("/a", &["x-two"], "two"),
            ("/a", &["x-two", "x-one"], "one"),
            ("/a/b", &["x-one"], "one"),
            ("/a/b", &["x-one", "x-deep"], "deep"),
            ("/a/b", &["x-one", "x-deep", "x-regex"], "regex"),
        ] {
            let found = table.entry("", path, &Method::GET, judged(holds, &[]));
            assert_eq!(found.map(|it| it.route), Ok(expected), "{path} {holds:?}");
            let possible = table.possible("", path, &Method::GET, judged(holds, &[]));
            assert_eq!(possible.len(), 1, "{path} {holds:?}");
        }
        let alone = conditional(&[("/a", "x-one", "one")]);
        let found = alone.entry("", "/a", &Method::GET, judged(&[], &[]));
        assert_eq!(found.map(|it| it.route), Err(NoRoute::NotFound));
    }

    #[test]
    fn condition_in_doubt_leaves_all_routes_behind_it_possible_to_the_first_certain_one() {
        let table = conditional(&[
            ("^~ /", "", "all"),
            ("/a", "", "a"),
            ("/a/b", "x-deep", "deep"),
            ("/c", "x-deep", "c"),
            ("~ z$", "", "regex"),
            ("~ y$", "x-regex", "doubtful regex"),
        ]);
        let of = |path: &str, in_doubt: &[&str]| {
            let possible = table.possible("", path, &Method::GET, judged(&[], in_doubt));
            possible.iter().map(|candidate| candidate.route).collect::<Vec<_>>()
        };
        assert_eq!(of("/a/b", &["x-deep"]), ["deep", "a"]);
        assert_eq!(of("/a/b/z", &["x-deep"]), ["regex"]);
        assert_eq!(of("/c/z", &["x-deep"]), ["regex", "all"], "`/c` would yield, `/` would not");
        assert_eq!(of("/c/z", &[]), ["all"]);
        assert_eq!(of("/a/y", &["x-regex"]), ["doubtful regex", "a"]);
        assert_eq!(of("/y", &["x-regex"]), ["all"]);
        assert_eq!(of("/c/y", &["x-deep", "x-regex"]), ["doubtful regex", "c", "all"]);
    }

    #[test]
    fn prefix_in_doubt_yields_to_expressions_of_its_own_host_alone() {
        let condition = |name: &'static str| {
            let field = ConditionField {
                name: HeaderName::from_static(name),
                tests: vec![ValueTest::Present],
            };
            Rc::new(Condition { headers: vec![field], ..Condition::default() }.into())
        };
        let candidate = |host, path, condition, route| RouteCandidate {
            pattern: pattern(host, path, &[]),
            condition,
            route,
        };
        let table = RouteTable::of(vec![
            candidate("", "^~ /", None, "all"),
            candidate("", "~ b$", None, "regex"),
            candidate("a.t", "/", Some(condition("x-a")), "host"),
        ]);
        let possible = table.possible("a.t", "/b", &Method::GET, judged(&[], &["x-a"]));
        let possible: Vec<_> = possible.iter().map(|candidate| candidate.route).collect();
        assert_eq!(possible, ["host", "all"]);
    }

    #[test]
    fn methods_are_those_of_all_routes_there_with_head_behind_get() {
        let table = RouteTable::new(vec![
            (pattern("", "/", &[]), ()),
            (pattern("a", "/x", &[Method::POST, Method::GET]), ()),
            (pattern("a", "=/x", &[Method::HEAD, Method::PUT]), ()),
            (pattern("a", "/", &[Method::DELETE]), ()),
        ]);
        let of = |host, path| {
            table
                .methods(host, path, |_| Fit::Holds)
                .iter()
                .map(|method| method.to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(of("a", "/x"), "HEAD PUT POST GET DELETE OPTIONS PATCH");
        assert_eq!(of("b", "/x"), "GET HEAD POST PUT DELETE OPTIONS PATCH");
    }

    #[test]
    fn route_pattern_that_covers_another_is_found() {
        assert!(pattern("", "/", &[]).covers(&pattern("a.test", "/x", &[Method::GET])));
        assert!(pattern("*.test", "/", &[]).covers(&pattern("a.test", "=/x", &[])));
        assert!(!pattern("", "/x", &[]).covers(&pattern("", "/", &[])));
        assert!(!pattern("", "/", &[Method::GET]).covers(&pattern("", "/", &[])));
        assert!(pattern("", "/", &[Method::GET]).covers(&pattern("", "/", &[Method::HEAD])));
        assert!(!pattern("", "/", &[Method::HEAD]).covers(&pattern("", "/", &[Method::GET])));
    }
}
