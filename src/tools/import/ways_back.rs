//! Ways back: `proxy_redirect`, `proxy_cookie_path` and `proxy_cookie_domain`.
//!
//! weir has one key for all of them, beside the prefixes of a path that it changes: `responses`. By
//! default nginx changes a `Location` that names the endpoint, which an application writes that
//! gets its name as `Host`. weir forwards the requested one.

use super::{
    levels::Level, plan::RoutePlan, translation::Translation, tree::Directive, urls::split,
    values::with_set,
};
use crate::config::directives::Treatment;

/// Names of the directives.
const NAMES: [&str; 3] = ["proxy_redirect", "proxy_cookie_path", "proxy_cookie_domain"];

/// Prefixes of a path that changes on its way to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    of_client: String,
    of_upstream: String,
}

impl WayBack {
    /// Prefixes of the client and of the upstream, without a slash at their end.
    #[must_use]
    pub fn of(of_client: &str, of_upstream: &str) -> Self {
        let bare = |path: &str| path.trim_end_matches('/').to_owned();
        Self { of_client: bare(of_client), of_upstream: bare(of_upstream) }
    }
}

/// Plans the way back of a route that forwards to `authority`.
pub fn way_back(
    state: &mut Translation<'_>,
    level: &Level<'_>,
    authority: &str,
    back: Option<&WayBack>,
    route: &mut RoutePlan,
) {
    // One that has no counterpart is worth a line, and none of them opens anything.
    let mut is_back = false;
    for directive in NAMES.iter().flat_map(|name| level.all(name)) {
        let from = with_set(directive.arg(0), level);
        let to = with_set(directive.arg(1), level);
        if matches!(&*from, "off" | "default") && to.is_empty() {
            state.notes.discard(directive, "an upstream gets the requested `Host`");
        } else if back.is_some_and(|back| back.is_of(directive, &from, &to, authority)) {
            is_back = true;
            let reason = "`Location`, and path and domain of cookies, get the way back";
            state.notes.tell(directive, Treatment::Noted, reason);
        } else {
            route.remarks.add(format!("without `{}`", directive.text()));
            let reason =
                "weir has the way back of a changed prefix: `rewrite: { responses: true }`";
            state.notes.refuse(directive, reason);
        }
    }
    // Written as a map in braces by the plan of `proxy_pass`.
    if let Some(rewrite) = route.rewrite.as_mut().filter(|_| is_back)
        && let Some(keys) = rewrite.strip_suffix(" }")
    {
        *rewrite = format!("{keys}, responses: true }}");
    }
}

impl WayBack {
    /// Returns true if a directive leads from the upstream's prefix to the client's.
    fn is_of(&self, directive: &Directive, from: &str, to: &str, authority: &str) -> bool {
        if directive.name == "proxy_cookie_domain" {
            // Whatever the new domain is: without one the cookie is for the requested host.
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            return from == host;
        }
        let (origin, from) = split(from);
        let is_own = origin.is_none_or(|origin| {
            origin.split_once("://").is_some_and(|(_, host)| host == authority)
        });
        let (origin, to) = split(to);
        // The client's own host, in each spelling of it.
        let hosts = ["${host}", "${http_host}", "${host}:${server_port}"];
        let is_asked = origin.is_none_or(|origin| {
            origin.split_once("://").is_some_and(|(_, host)| hosts.contains(&host))
        });
        // A cookie may get more attributes: `/ "/; secure"`.
        let is_path = |path: &str| path.starts_with('/') && !path.contains([' ', ';', '$']);
        // A slash at the end is on both sides or on none: whole segments change.
        let bare = |path: &str| path.trim_end_matches('/').to_owned();
        is_own
            && is_asked
            && is_path(from)
            && is_path(to)
            && bare(from) == self.of_upstream
            && bare(to) == self.of_client
    }
}
