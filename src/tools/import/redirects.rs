//! Servers that only send their clients to `https`.

use super::{levels::Level, translation::NginxServer, tree::Directive, values::with_set};

/// Texts behind the host that are the whole target of the request.
const WHOLE: [&str; 4] = ["${request_uri}", "${request_uri}?", "${uri}", "${1}"];
/// Expressions of a `rewrite` that match every path.
const EVERY: [&str; 7] = ["^", ".*", "^.*$", "^(.*)", "^(.*)$", "^/(.*)", "^/(.*)$"];

/// Conditions of requests that came without TLS.
const WITHOUT_TLS: [&str; 6] = [
    "$scheme = http",
    "$scheme != https",
    "$https =",
    "$https != on",
    "$server_port = 80",
    "$server_port != 443",
];

/// Redirect of a server.
#[derive(Clone, Debug)]
pub struct HttpsRedirect<'a> {
    /// Value of `redirect` on its listener: `https` or `https:8443`.
    pub target: String,
    /// Directives that make it.
    pub made_by: Vec<&'a Directive>,
    /// Difference from what nginx does.
    pub change: Option<String>,
    /// It is for requests without TLS, of a server that has both.
    pub is_of_plain: bool,
    /// It leads to the host that was asked for.
    pub is_of_same_host: bool,
}

/// Returns the redirect of a server that does nothing else: by `return` or `rewrite` of its own, of
/// `location /`, or of an `if` as certbot writes it.
#[must_use]
pub fn redirect<'a>(server: &NginxServer<'a>) -> Option<HttpsRedirect<'a>> {
    let own = of_level(&server.level, server);
    if own.is_some() {
        return own;
    }
    if let Some(redirect) = of_scheme(server) {
        return Some(redirect);
    }
    if server.locations.iter().any(|location| is_proxied(location)) {
        return None;
    }
    let root = server.locations.iter().find(|location| location.args == ["/"]);
    let of_root = root.and_then(|root| {
        let level = Level::of(root.children(), Some(&server.level));
        let mut redirect = of_level(&level, server)?;
        redirect.made_by.push(root);
        Some(redirect)
    });
    of_root.or_else(|| of_conditions(server))
}

/// Returns true if a location, or one within it, forwards.
#[must_use]
pub fn is_proxied(location: &Directive) -> bool {
    location.children().iter().any(|child| {
        child.name.ends_with("_pass") || (child.name == "location" && is_proxied(child))
    })
}

fn of_level<'a>(level: &Level<'a>, server: &NginxServer<'a>) -> Option<HttpsRedirect<'a>> {
    let target = |directive: &'a Directive| {
        let target = https_target(directive)?;
        read(directive, &with_set(target, level), server)
    };
    let directives = level.own("return").iter().chain(level.own("rewrite"));
    directives.into_iter().find_map(|directive| target(directive))
}

/// `if ($scheme = http) { return 301 https://$host$request_uri; }`, for a server that listens on both
/// ports.
fn of_scheme<'a>(server: &NginxServer<'a>) -> Option<HttpsRedirect<'a>> {
    server.level.own("if").iter().copied().find_map(|condition| {
        let words = condition.args.join(" ");
        let text = words.trim_start_matches('(').trim_end_matches(')').trim();
        if !WITHOUT_TLS.contains(&text) {
            return None;
        }
        let level = Level::of(condition.children(), Some(&server.level));
        let mut redirect = of_level(&level, server)?;
        redirect.made_by.push(condition);
        Some(HttpsRedirect { is_of_plain: true, ..redirect })
    })
}

/// `if ($host = example.com) { return 301 https://$host$request_uri; }`, once for each name.
fn of_conditions<'a>(server: &NginxServer<'a>) -> Option<HttpsRedirect<'a>> {
    let mut found: Option<HttpsRedirect<'a>> = None;
    for condition in server.level.own("if").iter().copied() {
        let level = Level::of(condition.children(), Some(&server.level));
        let redirect = of_level(&level, server)?;
        let made_by = redirect.made_by.iter().copied().chain([condition]);
        match &mut found {
            Some(found) => found.made_by.extend(made_by),
            None => found = Some(HttpsRedirect { made_by: made_by.collect(), ..redirect }),
        }
    }
    let found = found?;
    // What is left for other hosts: certbot writes `return 404`.
    let made_by = found.made_by.into_iter().chain(server.level.own("return").iter().copied());
    Some(HttpsRedirect { made_by: made_by.collect(), ..found })
}

fn https_target(directive: &Directive) -> Option<&str> {
    let target = match &*directive.name {
        "return" if directive.args.len() == 1 => directive.arg(0),
        "return" if directive.arg(0).starts_with('3') => directive.arg(1),
        "rewrite" if EVERY.contains(&directive.arg(0)) => directive.arg(1),
        _ => return None,
    };
    target.get(..8).filter(|scheme| scheme.eq_ignore_ascii_case("https://")).map(|_| target)
}

fn read<'a>(
    directive: &'a Directive,
    target: &str,
    server: &NginxServer<'a>,
) -> Option<HttpsRedirect<'a>> {
    let rest = target.get(8..)?;
    let end = rest.find(['/', '?']).or_else(|| behind_host(rest)).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse::<u16>().ok().filter(|port| *port != 0)?)
        }
        _ => (authority, 443),
    };
    let is_of_same_host = is_own(host, server);
    let change = if directive.name == "return" || directive.args.len() > 2 {
        differences(host, behind, server)
    } else {
        None
    };
    let target = if port == 443 { "https".to_owned() } else { format!("https:{port}") };
    let made_by = vec![directive];
    Some(HttpsRedirect { target, made_by, change, is_of_plain: false, is_of_same_host })
}

/// End of the host where a variable of the path follows it: `$host$request_uri`.
fn behind_host(rest: &str) -> Option<usize> {
    let paths = ["${request_uri}", "${uri}", "${1}"];
    paths.iter().filter_map(|path| rest.find(path)).min()
}

fn differences(host: &str, behind: &str, server: &NginxServer<'_>) -> Option<String> {
    let path = behind.trim_start_matches('/');
    let is_whole = path.is_empty() || WHOLE.contains(&path) || path.starts_with("${uri}");
    match (is_own(host, server), is_whole) {
        (true, true) => None,
        (false, _) => Some(format!("to the same host, not to `{host}`")),
        (true, false) => Some("to the same path".to_owned()),
    }
}

/// Returns true if a host is the one that a request to the server names.
fn is_own(host: &str, server: &NginxServer<'_>) -> bool {
    let variables = ["${host}", "${http_host}", "${server_name}"];
    variables.contains(&host) || server.names().all(|(_, name)| name == host)
}
