//! Route of a request: the most specific host, then the path, among the routes whose methods match.
//! Of the paths an exact one comes first, then expressions and endings in the order of the file, then
//! the longest prefix. A prefix that is longest and stands `over_regex` comes before expressions.
//!
//! Guarantee: matching compares bytes. The caller passes path and host in their normal form
//! (`limit/src/normal_form.rs`), or, with `path_matching: raw`, the path as received. A prefix
//! matches on segment boundaries only: `/api` takes `/api` and `/api/x`, never `/apiary`.

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::runtime::expression::Expression;

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

    fn text(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Below(text) | Self::Exact(text) => text,
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
    #[inline(always)]
    fn matches(&self, path: &str) -> bool {
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
        let host = match (&self.host, &other.host) {
            (HostPattern::Any, _) => true,
            (HostPattern::Below(wide), HostPattern::Below(narrow)) => {
                narrow.ends_with(wide.as_str())
            }
            (wide, HostPattern::Exact(narrow)) => wide.matches(narrow),
            _ => false,
        };
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
    /// The chosen route, or one that takes the path too but comes later, like one above it.
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
        // The patterns of one host stay together: an expression is compared with its prefixes.
        entries.sort_by(|(one, _), (other, _)| {
            let (one_host, other_host) = (&one.host, &other.host);
            let hosts = other_host.weight().cmp(&one_host.weight());
            let hosts = hosts.then_with(|| one_host.text().cmp(other_host.text()));
            hosts.then_with(|| other.path.weight().cmp(&one.path.weight()))
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
        for (index, entry) in self.entries.iter().enumerate() {
            let (pattern, _) = entry;
            if !pattern.host.matches(host) || !pattern.path.matches(path) {
                continue;
            }
            if !pattern.takes(method) {
                nearest = NoRoute::MethodNotAllowed;
            } else if pattern.path.is_expression() {
                return Ok(self.prefix_before(index, path, method).unwrap_or(entry));
            } else {
                return Ok(entry);
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
    ) -> Option<&(Pattern, T)> {
        let (_, behind) = self.entries.split_at_checked(expression)?;
        let (found, behind) = behind.split_first()?;
        let of_host = behind.iter().take_while(|(pattern, _)| pattern.host == found.0.host);
        let mut prefixes = of_host.filter(|(pattern, _)| !pattern.path.is_expression());
        let longest = prefixes.find(|(it, _)| it.path.matches(path) && it.takes(method))?;
        longest.0.over_regex.then_some(longest)
    }

    /// Route of a request for `path`, if its path were read as `reading`.
    pub fn read(&self, host: &str, path: &str, reading: &str, method: &Method) -> Reading<'_, T> {
        match self.entry(host, reading, method) {
            Ok((other, route)) if other.path.matches(path) => Reading::Above(route),
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
        let read = |path: &str, reading: &str| table.read("a", path, reading, &Method::GET);
        assert_eq!(read("/private", "/%70rivate"), Reading::Above(&"all"));
        assert_eq!(read("/private/open", "/private/x/../open"), Reading::Above(&"private"));
        assert_eq!(read("/private", "/private/x/.."), Reading::Above(&"private"));
        assert_eq!(read("/", "/private/.."), Reading::Beside);
        assert_eq!(read("/private", "/private/open/.."), Reading::Beside);
        let table = RouteTable::new(vec![
            (pattern("", "/a", &[]), ()),
            (pattern("", "/post", &[Method::POST]), ()),
        ]);
        assert_eq!(
            table.read("a", "/a", "/post", &Method::GET),
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
