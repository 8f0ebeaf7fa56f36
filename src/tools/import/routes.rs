//! Routes: locations of all servers, with what holds at each.
//!
//! Guarantee: no route is open that nginx protects. Where weir cannot do what nginx does with a
//! path (rules of access, a response of its own, files), its route is closed: it goes to an
//! upstream where nothing listens and gets 502, so that no other route takes its requests
//! (`protected_location_is_closed` in tests/config/import.rs). What no route can say takes other
//! routes, and the file says so: locations with expressions, an `if`, and the paths that only begin
//! with the letters of a location (`/admin.php` of `location /admin`).

use std::rc::Rc;

use super::{
    access::{action_of_server, protection},
    amounts::{size, size_bytes},
    fields::{self, FieldPlace},
    hosts::Hosts,
    levels::Level,
    listeners::Socket,
    plan::{Remarks, RoutePlan, UpstreamPlan},
    targets::{Action, action},
    translation::{NginxServer, Translation},
    tree::Directive,
    upstreams::CLOSED,
    zones::rules,
};
use crate::config::directives::{self, Treatment};

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
        for (location, route) in planned {
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
        state.notes.refuse(location, format!("more than {MAX_ROUTES} routes"));
        return;
    }
    state.plan.routes.push(route);
}

/// Leaves out closed routes whose requests no other route takes, and declares their upstream.
fn close(state: &mut Translation<'_>) {
    let routes = std::mem::take(&mut state.plan.routes);
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
        let endpoints = vec![("http://127.0.0.1:1".to_owned(), 1)];
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
    let path = match open.is_exact {
        true => open.path == closed.path,
        false => closed
            .path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    };
    host && path
}

/// Routes of a server without its hosts, each with its location; those without one fill gaps.
fn of_server<'a>(
    state: &mut Translation<'a>,
    server: &NginxServer<'a>,
    port: String,
) -> Vec<(Option<&'a Directive>, RoutePlan)> {
    let server_name = server.names().map(|(_, name)| name).next().unwrap_or_default();
    let mut scope = Scope { server, server_name, port, found: Vec::new() };
    let remarks = Remarks::from(state.origin_of(server.place()));
    let mut root = RoutePlan { path: "/".to_owned(), remarks, ..RoutePlan::default() };
    if server.is_location {
        let level = server.level.clone();
        let route = scope.route(state, root, &level, None);
        scope.found.push((None, route));
        return scope.found;
    }
    if server.block.is_none() && server.locations.is_empty() {
        root.remarks.add("no location is in the files: this upstream is an example");
        root.upstream = EXAMPLE.to_owned();
        let level = server.level.clone();
        rules(state, &level, &mut root);
        scope.settings(state, &level, &mut root);
        return vec![(None, root)];
    }
    if let Some(reason) = action_of_server(state, server) {
        scope.found.push((None, closed(root, &reason)));
        return scope.found;
    }
    for location in &server.locations {
        scope.location(state, location, &server.level);
    }
    let has_root = scope.found.iter().any(|(_, route)| route.path == "/" && !route.is_exact);
    if !has_root {
        scope.found.push((None, closed(root, "the server has no `location /` that is forwarded")));
    }
    scope.found
}

/// The route without a way to an upstream.
fn closed(route: RoutePlan, reason: &str) -> RoutePlan {
    let mut remarks = route.remarks;
    remarks.add(format!("closed, because {reason}"));
    RoutePlan {
        path: route.path,
        is_exact: route.is_exact,
        upstream: CLOSED.to_owned(),
        is_closed: true,
        remarks,
        ..RoutePlan::default()
    }
}

struct Scope<'s, 'a> {
    server: &'s NginxServer<'a>,
    server_name: String,
    port: String,
    found: Vec<(Option<&'a Directive>, RoutePlan)>,
}

impl<'a> Scope<'_, 'a> {
    fn location(
        &mut self,
        state: &mut Translation<'a>,
        location: &'a Directive,
        outer: &Rc<Level<'a>>,
    ) {
        let level = Level::of(location.children(), Some(outer));
        for inner in location.named("location") {
            self.location(state, inner, &level);
        }
        let Some(mut route) = self.pattern(state, location) else { return };
        route.remarks.origin = format!("{} {}", state.origin(location), location.text());
        let except = level.own("limit_except").first().copied();
        let mut rest = None;
        if let Some(except) = except {
            rest = Some(closed(route.clone(), "`limit_except` refuses the other methods"));
            self.methods(state, except, &mut route);
        }
        let mut route = self.route(state, route, &level, Some(location));
        if route.is_closed {
            if !route.is_exact && !split(location).1.ends_with('/') {
                // nginx compares letters, and protects `/admin.php` by `location /admin`.
                let change =
                    format!("not closed: `{}x` and the like take other routes", route.path);
                route.remarks.add(change);
            }
            state.notes.refuse(location, route.remarks.changes.join("; "));
        }
        self.found.push((Some(location), route));
        // Behind the other: of two routes for one path the first that takes the method counts.
        self.found.extend(rest.map(|rest| (Some(location), rest)));
    }

    /// Path of a location; none if no route can have it.
    fn pattern(&self, state: &mut Translation<'_>, location: &'a Directive) -> Option<RoutePlan> {
        let (kind, text) = split(location);
        let mut route =
            RoutePlan { path: text.to_owned(), is_exact: kind == "=", ..RoutePlan::default() };
        let form = match kind {
            "~" | "~*" => "location ~ ...",
            "@" => {
                // Its users mark it; without any it is never reached.
                return None;
            }
            _ => "",
        };
        let refused = match directives::form(form) {
            Some(row) => Some(row.note.to_owned()),
            None => state.loads.path(if route.is_exact { "path_exact" } else { "path" }, text),
        };
        if let Some(reason) = refused {
            let reason = format!("{reason}; its requests take other routes");
            let line =
                format!("not imported: {} `{}`: {reason}", state.origin(location), location.text());
            state.plan.head.push(line);
            state.notes.refuse(location, reason);
            return None;
        }
        // Of `//` nothing would be left.
        let bare = text.strip_suffix('/').filter(|bare| !bare.is_empty() && !bare.ends_with('/'));
        let is_taken =
            |bare: &str| self.server.locations.iter().any(|other| split(other).1 == bare);
        state.notes.carry(location);
        if let Some(bare) = bare.filter(|bare| !route.is_exact && !is_taken(bare)) {
            bare.clone_into(&mut route.path);
            let reason = format!("`path: {bare}` takes `{bare}` too");
            state.notes.tell(location, Treatment::Carried, reason);
        } else if !route.is_exact && !text.ends_with('/') {
            let reason = format!("`{text}` and what is below it, not `{text}...`");
            state.notes.tell(location, Treatment::Carried, reason);
        }
        Some(route)
    }

    fn methods(&self, state: &mut Translation<'_>, except: &Directive, route: &mut RoutePlan) {
        route.methods = except.args.iter().map(|method| method.to_ascii_uppercase()).collect();
        route.methods.dedup();
        let is_method = |method: &String| method.bytes().all(|byte| byte.is_ascii_uppercase());
        if route.methods.is_empty() || !route.methods.iter().all(is_method) {
            route.methods.clear();
            state.notes.refuse(except, "not a list of methods");
            return;
        }
        state.notes.tell(
            except,
            Treatment::Carried,
            "other methods get 405, or 502 where another route takes the path",
        );
        for child in except.children() {
            state.notes.discard(child, "it is for the other methods");
        }
    }

    fn route(
        &self,
        state: &mut Translation<'a>,
        mut route: RoutePlan,
        level: &Rc<Level<'a>>,
        location: Option<&'a Directive>,
    ) -> RoutePlan {
        if let Some(reason) = protection(state, level, &self.server.level) {
            return closed(route, &reason);
        }
        let (target, level_of_target) = match action(state, level, self.server, location) {
            Action::Forward { target, level } => (target, level),
            Action::None(reason) => return closed(route, &reason),
        };
        // A named location has rules of its own.
        if let Some(reason) = protection(state, &level_of_target, &self.server.level) {
            return closed(route, &reason);
        }
        let upstream = super::upstreams::upstream(state, target.as_ref(), &level_of_target);
        match upstream {
            Ok(upstream) => route.upstream = upstream,
            Err(reason) => {
                state.notes.refuse(target.directive, reason.clone());
                return closed(route, &reason);
            }
        }
        target.changes.iter().for_each(|change| route.remarks.add(change));
        rules(state, level, &mut route);
        self.settings(state, &level_of_target, &mut route);
        let place = FieldPlace {
            level: &level_of_target,
            authority: &target.authority,
            server_name: &self.server_name,
            port: &self.port,
        };
        let kind = if target.is_grpc { "grpc" } else { "proxy" };
        fields::of_requests(state, place, kind, &mut route);
        fields::of_responses(state, place, kind, &mut route);
        if let Some(change) = target.host(&level_of_target, kind, &mut route) {
            state.notes.tell(target.directive, Treatment::Noted, change.clone());
            route.remarks.add(change);
        }
        without(level, &mut route);
        route
    }

    /// Body size and codings.
    fn settings(&self, state: &mut Translation<'_>, level: &Level<'_>, route: &mut RoutePlan) {
        if let Some(directive) = level.one("client_max_body_size") {
            match size_bytes(directive.arg(0)) {
                Some(1_048_576) => state.notes.discard(directive, "the default"),
                Some(0) => {
                    route.max_body = Some("none".to_owned());
                    state.notes.carry(directive);
                }
                Some(bytes) => {
                    route.max_body = Some(size(bytes));
                    state.notes.carry(directive);
                }
                None => state.notes.refuse(directive, "not a size"),
            }
        }
        for (name, coding) in [("zstd", "zstd"), ("brotli", "br"), ("gzip", "gzip")] {
            let Some(directive) = level.one(name) else { continue };
            match directive.arg(0) {
                "on" => {
                    route.compress.push(coding);
                    state.notes.carry(directive);
                }
                _ => state.notes.discard(directive, "the default"),
            }
        }
        if !route.compress.is_empty()
            && let Some(types) = level.one("gzip_types")
        {
            state.notes.tell(types, Treatment::Noted, "every type of text is coded");
        }
    }
}

/// Says what a route leaves out that changes its requests.
fn without(level: &Level<'_>, route: &mut RoutePlan) {
    for name in ["rewrite", "if", "proxy_redirect", "proxy_cookie_path", "error_page", "sub_filter"]
    {
        for directive in level.own(name) {
            if !(name == "proxy_redirect" && directive.arg(0) == "off") {
                route.remarks.add(format!("without `{}`", directive.text()));
            }
        }
    }
}

/// Modifier and text of a location: `= /a`, `^~ /a`, `~ a`, `/a`, and the same without the space.
fn split(location: &Directive) -> (&str, &str) {
    if let [kind, text, ..] = &location.args[..] {
        return (kind, text);
    }
    let text = location.arg(0);
    let kinds = ["=", "^~", "~*", "~", "@"];
    kinds.iter().find_map(|kind| Some((*kind, text.strip_prefix(kind)?))).unwrap_or(("", text))
}
