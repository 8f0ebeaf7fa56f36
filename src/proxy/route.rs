//! Route of a request: the most specific host, then the longest path, among the routes whose
//! methods match.
//!
//! Guarantee: matching compares bytes. The caller passes path and host in their normal form
//! (`limit/src/normal_form.rs`), or, with `path_matching: raw`, the path as received. A prefix
//! matches on segment boundaries only: `/api` takes `/api` and `/api/x`, never `/apiary`.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// Requests that a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Hosts of the route.
    pub host: HostPattern,
    /// Paths of the route.
    pub path: PathPattern,
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

    /// An exact host comes before a wildcard, a longer wildcard before a shorter one, any host
    /// last.
    fn weight(&self) -> (u8, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Below(suffix) => (1, suffix.len()),
            Self::Exact(_) => (2, 0),
        }
    }
}

impl PathPattern {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
            }),
        }
    }

    /// Returns true if this path equals the other one or is above it.
    fn is_above(&self, other: &Self) -> bool {
        let (Self::Prefix(text) | Self::Exact(text)) = other;
        self.matches(text)
    }

    /// A longer path comes before a shorter one, and of the same text the exact one first.
    fn weight(&self) -> (usize, u8) {
        match self {
            Self::Prefix(prefix) => (prefix.len(), 0),
            Self::Exact(exact) => (exact.len(), 1),
        }
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
        let host = match (&self.host, &other.host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Below(wide), HostPattern::Below(narrow)) => {
                narrow.ends_with(wide.as_str())
            }
            (wide, HostPattern::Exact(narrow)) => wide.matches(narrow),
            _ => false,
        };
        let path = match (&self.path, &other.path) {
            (
                wide @ PathPattern::Prefix(_),
                PathPattern::Prefix(narrow) | PathPattern::Exact(narrow),
            ) => wide.matches(narrow),
            (PathPattern::Exact(one), PathPattern::Exact(other)) => one == other,
            (PathPattern::Exact(_), PathPattern::Prefix(_)) => false,
        };
        let methods = self.methods.is_empty()
            || (!other.methods.is_empty() && other.methods.iter().all(|method| self.takes(method)));
        host && path && methods
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

/// Route of a request in another reading of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading<'a, T> {
    /// The chosen route, or one whose path is above that of the chosen one.
    Above(&'a T),
    /// Another route.
    Beside,
    /// No route takes it.
    Nowhere,
}

/// Routes in the order they are tried.
#[derive(Debug)]
pub struct RouteTable<T> {
    entries: Vec<(Pattern, T)>,
}

impl<T> RouteTable<T> {
    /// Orders the routes; of two with equal weight the first stays first.
    #[must_use]
    pub fn new(mut entries: Vec<(Pattern, T)>) -> Self {
        entries.sort_by_key(|(pattern, _)| {
            std::cmp::Reverse((pattern.host.weight(), pattern.path.weight()))
        });
        Self { entries }
    }

    /// Returns the route for a request, `host` and `path` in the form of the patterns.
    ///
    /// # Errors
    /// [`NoRoute`] says whether only the method did not match.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<&T, NoRoute> {
        self.entry(host, path, method).map(|(_, route)| route)
    }

    /// Returns the route with its pattern.
    ///
    /// # Errors
    /// [`NoRoute`] says whether only the method did not match.
    pub fn entry(&self, host: &str, path: &str, method: &Method) -> Result<&(Pattern, T), NoRoute> {
        let mut nearest = NoRoute::NotFound;
        for entry in &self.entries {
            if entry.0.host.matches(host) && entry.0.path.matches(path) {
                if entry.0.takes(method) {
                    return Ok(entry);
                }
                nearest = NoRoute::MethodNotAllowed;
            }
        }
        Err(nearest)
    }

    /// Route of a request that takes `chosen`, if its path were read as `reading`.
    pub fn read(
        &self,
        chosen: &Pattern,
        host: &str,
        reading: &str,
        method: &Method,
    ) -> Reading<'_, T> {
        match self.entry(host, reading, method) {
            Ok((other, route)) if other.path.is_above(&chosen.path) => Reading::Above(route),
            Ok(_) => Reading::Beside,
            Err(_) => Reading::Nowhere,
        }
    }

    /// Methods that routes take there, in the order of the routes: the usual ones if a route takes
    /// every method.
    #[must_use]
    pub fn methods(&self, host: &str, path: &str) -> Vec<Method> {
        let mut methods = Vec::new();
        for (pattern, _) in
            self.entries.iter().filter(|(it, _)| it.host.matches(host) && it.path.matches(path))
        {
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
        self.entries.iter().map(|(_, route)| route)
    }
}

#[cfg(test)]
mod tests {
    use crate::proxy::route::*;

    fn pattern(host: &str, path: &str, methods: &[Method]) -> Pattern {
        let host = match host {
            "" => HostPattern::Any,
            host if host.starts_with("*.") => HostPattern::Below(host[1..].to_owned()),
            host => HostPattern::Exact(host.to_owned()),
        };
        let path = match path.strip_prefix('=') {
            Some(exact) => PathPattern::Exact(exact.to_owned()),
            None => PathPattern::Prefix(path.to_owned()),
        };
        Pattern { host, path, methods: methods.to_vec() }
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
        let read = |path: &str, reading: &str| {
            let chosen = &table.entry("a", path, &Method::GET).expect("a route").0;
            table.read(chosen, "a", reading, &Method::GET)
        };
        assert_eq!(read("/private", "/%70rivate"), Reading::Above(&"all"));
        assert_eq!(read("/private/open", "/private/x/../open"), Reading::Above(&"private"));
        assert_eq!(read("/private", "/private/x/.."), Reading::Above(&"private"));
        assert_eq!(read("/", "/private/.."), Reading::Beside);
        assert_eq!(read("/private", "/private/open/.."), Reading::Beside);
        let table = RouteTable::new(vec![
            (pattern("", "/a", &[]), ()),
            (pattern("", "/post", &[Method::POST]), ()),
        ]);
        let chosen = &table.entry("a", "/a", &Method::GET).expect("a route").0;
        assert_eq!(
            table.read(chosen, "a", "/post", &Method::GET),
            Reading::Nowhere,
            "no route takes that method there"
        );
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
                .methods(host, path)
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
