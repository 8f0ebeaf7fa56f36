//! Routes: locations of all servers, with what holds at each.
//!
//! Guarantee: no route is open that nginx protects. Where weir cannot do what nginx does with a
//! path (rules of access, a response of its own, files, an expression), its route is closed: it
//! goes to an upstream where nothing listens and gets 502, so that no other route takes its requests
//! (`protected_location_is_closed` in tests/config/import.rs). What no route can say takes other
//! routes, and the file says so: an `if` that asks for more than the method, and the paths that only
//! begin with the letters of a location (`/admin.php` of `location /admin`) where another location
//! begins with them too.

use super::{
    hosts::Hosts,
    locations::{FoundRoute, Scope, closed},
    plan::{EndpointPlan, PathKind, Remarks, RoutePlan, UpstreamPlan},
    redirects::redirect,
    rules::rules,
    sockets::Socket,
    translation::{NginxServer, Translation},
    tree::Directive,
    upstreams::CLOSED,
};

/// Limit on the routes that are written: a location is repeated for each name of its server.
pub const MAX_ROUTES: usize = 4_096;
/// Upstream of a route that stands in no file.
const EXAMPLE: &str = "http://127.0.0.1:8000";

/// Plans all routes.
pub fn routes(state: &mut Translation<'_>, sockets: &[Socket<'_>]) {
    let servers = state.servers.clone();
    let hosts = Hosts::of(state, sockets);
    let mut fillers = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        if !hosts.is_served(index) {
            continue;
        }
        let planned = of_server(state, server, port_of(sockets, index));
        for FoundRoute { location, route, .. } in planned {
            let of_hosts = hosts.of_server(index).iter();
            let of_hosts = of_hosts.map(|host| RoutePlan { host: host.clone(), ..route.clone() });
            match location {
                Some(location) => of_hosts.for_each(|route| add(state, location, route)),
                None => fillers.extend(of_hosts),
            }
        }
    }
    for filler in fillers {
        let is_taken = state.plan.routes.iter().any(|route| route.takes_the_same(&filler));
        if !is_taken && state.plan.routes.len() < MAX_ROUTES {
            state.plan.routes.push(filler);
        }
    }
    close(state);
}

fn port_of(sockets: &[Socket<'_>], server: usize) -> String {
    let of_server = sockets.iter().filter(|socket| socket.servers.contains(&server));
    let mut ports: Vec<&str> =
        of_server.filter_map(|socket| Some(socket.address.rsplit_once(':')?.1)).collect();
    ports.dedup();
    match ports[..] {
        [port] => port.to_owned(),
        _ => String::new(),
    }
}

fn add(state: &mut Translation<'_>, location: &Directive, route: RoutePlan) {
    if let Some(other) = state.plan.routes.iter().find(|other| other.takes_the_same(&route)) {
        if !other.does_the_same(&route) {
            let reason = format!(
                "routes do not see the port, and {} takes the same requests",
                other.remarks.origin
            );
            state.notes.refuse(location, reason);
        }
        return;
    }
    if state.plan.routes.len() >= MAX_ROUTES {
        // The one that is left out may be what keeps clients from another.
        state.plan.is_full = true;
        state.notes.refuse(location, format!("more than {MAX_ROUTES} routes: all are closed"));
        return;
    }
    state.plan.routes.push(route);
}

/// Leaves out closed routes whose requests no other route takes, and declares their upstream.
fn close(state: &mut Translation<'_>) {
    let mut routes = std::mem::take(&mut state.plan.routes);
    if state.plan.is_full {
        let reason = format!("the files have more than {MAX_ROUTES} routes");
        routes = routes.into_iter().map(|route| closed(route, &reason)).collect();
    }
    let is_covered =
        |closed: &RoutePlan| routes.iter().any(|open| !open.is_closed && covers(open, closed));
    let (kept, left_out) =
        routes.iter().cloned().partition(|route| !route.is_closed || is_covered(route));
    state.plan.routes = kept;
    state.plan.left_out = left_out;
    if state.plan.routes.is_empty() {
        let mut remarks = Remarks::default();
        remarks.add("no location that weir can serve is in the files: this is an example");
        let path = "/".to_owned();
        let upstream = CLOSED.to_owned();
        state.plan.routes.push(RoutePlan {
            path,
            upstream,
            is_closed: true,
            remarks,
            ..RoutePlan::default()
        });
    }
    if state.plan.routes.iter().any(|route| route.is_closed) {
        let mut remarks = Remarks::default();
        remarks.add("nothing listens here: routes that weir cannot serve as nginx does get 502");
        let endpoints = vec![EndpointPlan::at("http://127.0.0.1:1")];
        let (name, lines) = (CLOSED.to_owned(), Vec::new());
        state.plan.upstreams.push(UpstreamPlan { name, endpoints, lines, remarks });
    }
}

/// Returns true if the first route takes requests of the second when that is left out.
fn covers(open: &RoutePlan, closed: &RoutePlan) -> bool {
    let host = match (&open.host, &closed.host) {
        (None, _) => true,
        // A host that the closed one's wildcard has, or the reverse: some requests of both.
        (Some(open), Some(closed)) => {
            let below = |wide: &str, narrow: &str| {
                wide.strip_prefix('*').is_some_and(|suffix| narrow.ends_with(suffix))
            };
            open == closed || below(open, closed) || below(closed, open)
        }
        (Some(_), None) => false,
    };
    let prefix = open.path.trim_end_matches('/');
    let path = match (open.kind, closed.kind) {
        // Which paths an expression shares with others is not decided here.
        (PathKind::Regex, _) | (_, PathKind::Regex) => true,
        (PathKind::Exact, _) => open.path == closed.path,
        (PathKind::Prefix | PathKind::OverRegex, _) => closed
            .path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    host && path
}

/// Routes of a server without its hosts.
fn of_server<'a>(
    state: &mut Translation<'a>,
    server: &NginxServer<'a>,
    port: String,
) -> Vec<FoundRoute<'a>> {
    let server_name = server.names().map(|(_, name)| name).next().unwrap_or_default();
    let mut scope = Scope::of(server, server_name, port);
    let remarks = Remarks::from(state.origin_of(server.place()));
    let mut root = RoutePlan { path: "/".to_owned(), remarks, ..RoutePlan::default() };
    let level = server.level.clone();
    if server.is_location {
        let route = scope.route(state, root, &level, None);
        scope.fill(route);
    } else if server.block.is_none() && server.locations.is_empty() {
        root.remarks.add("no location is in the files: this upstream is an example");
        root.upstream = EXAMPLE.to_owned();
        rules(state, &level, &mut root);
        scope.settings(state, &level, &mut root);
        scope.fill(root);
    } else if let Some(response) = server.level.own("return").first() {
        let route = of_response(state, &scope, root, response);
        scope.fill(route);
    } else {
        scope.rewrites_of_server(state);
        for location in &server.locations {
            scope.location(state, location, &server.level, None);
        }
        if !scope.has_root() {
            // Paths without a location are files of the server.
            let route = match server.level.one("root") {
                Some(_) => scope.route(state, root, &level, None),
                None => closed(root, "the server has no `location /` that is forwarded"),
            };
            scope.fill(route);
        }
    }
    scope.routes()
}

/// Route of a server that gives the same response to all requests: its `return` comes before its
/// locations.
fn of_response<'a>(
    state: &mut Translation<'a>,
    scope: &Scope<'_, 'a>,
    route: RoutePlan,
    directive: &'a Directive,
) -> RoutePlan {
    for location in &scope.server.locations {
        state.notes.refuse(location, "the `return` of its server comes first");
    }
    // To the same host by TLS, of a server that has a listener without: routes do not see that.
    let is_loop = redirect(scope.server).is_some_and(|redirect| redirect.is_of_same_host);
    if is_loop {
        let reason = "the redirect would come back: routes do not see the port";
        state.notes.refuse(directive, reason);
        return closed(route, reason);
    }
    scope.response(state, route, &scope.server.level.clone(), directive, None)
}
