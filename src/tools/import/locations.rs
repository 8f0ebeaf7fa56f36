//! Locations: the path of each, and what holds there.

use std::rc::Rc;

use super::{
    access::conditions,
    amounts::{size, size_bytes},
    fields::{self, FieldPlace},
    levels::Level,
    plan::{FilesPlan, GuardPlan, RoutePlan},
    responses,
    rules::rules,
    targets::{LocationAction, action},
    translation::{NginxServer, Translation},
    tree::Directive,
    upstreams::CLOSED,
};
use crate::config::directives::{self, Treatment};

/// The route without a way to an upstream.
#[must_use]
pub fn closed(route: RoutePlan, reason: &str) -> RoutePlan {
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

/// Server whose locations are translated.
#[derive(Debug)]
pub struct Scope<'s, 'a> {
    server: &'s NginxServer<'a>,
    server_name: String,
    port: String,
    /// Routes, each with its location; those without one fill gaps.
    pub found: Vec<(Option<&'a Directive>, RoutePlan)>,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// Scope of a server with its first name, and its port if it has one only.
    #[must_use]
    pub fn of(server: &'s NginxServer<'a>, server_name: String, port: String) -> Self {
        Self { server, server_name, port, found: Vec::new() }
    }

    /// Plans the routes of a location, and of those within it.
    pub fn location(
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
            if !route.is_exact && !location.modifier_and_path().1.ends_with('/') {
                // nginx compares letters, and protects `/admin.php` by `location /admin`.
                let change =
                    format!("not closed: `{}x` and the like take other routes", route.path);
                route.remarks.add(change);
            }
            state.notes.refuse(location, route.remarks.changes.join("; "));
        } else if route.guard != GuardPlan::default()
            && !route.is_exact
            && !location.modifier_and_path().1.ends_with('/')
        {
            let change = format!("not protected: `{}x` and the like take other routes", route.path);
            route.remarks.add(change.clone());
            state.notes.tell(location, Treatment::Noted, change);
        }
        self.found.push((Some(location), route));
        // Behind the other: of two routes for one path the first that takes the method counts.
        self.found.extend(rest.map(|rest| (Some(location), rest)));
    }

    /// Path of a location; none if no route can have it.
    fn pattern(&self, state: &mut Translation<'_>, location: &'a Directive) -> Option<RoutePlan> {
        let (kind, text) = location.modifier_and_path();
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
        let is_taken = |bare: &str| {
            self.server.locations.iter().any(|other| other.modifier_and_path().1 == bare)
        };
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

    /// Plans what a route does with its requests.
    pub fn route(
        &self,
        state: &mut Translation<'a>,
        mut route: RoutePlan,
        level: &Rc<Level<'a>>,
        location: Option<&'a Directive>,
    ) -> RoutePlan {
        if let Some(response) = level.own("return").first().filter(|_| location.is_some()) {
            return self.response(state, route, level, response);
        }
        match conditions(state, level, self.server) {
            Ok(guard) => route.guard = guard,
            Err(reason) => return closed(route, &reason),
        }
        let (target, level_of_target) = match action(state, level, self.server, location) {
            LocationAction::Forward { target, level } => (target, level),
            LocationAction::Files(files) => return self.files(state, route, level, files),
            LocationAction::None(reason) => return closed(route, &reason),
        };
        // A named location has rules of its own, and nginx asks for both.
        match conditions(state, &level_of_target, self.server) {
            Ok(guard) if guard == GuardPlan::default() || guard == route.guard => {}
            Ok(guard) if route.guard == GuardPlan::default() => route.guard = guard,
            Ok(_) => return closed(route, "two locations have conditions of their own"),
            Err(reason) => return closed(route, &reason),
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
        route.rewrite.clone_from(&target.rewrite);
        rules(state, level, &mut route);
        self.settings(state, &level_of_target, &mut route);
        let place = self.place(&level_of_target, &target.authority, &route);
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

    /// Place of the fields of a route.
    fn place<'p>(
        &'p self,
        level: &'p Level<'p>,
        authority: &'p str,
        route: &RoutePlan,
    ) -> FieldPlace<'p> {
        let (server_name, port) = (&*self.server_name, &*self.port);
        let has_user = route.guard.basic_auth.is_some();
        FieldPlace { level, authority, server_name, port, has_user }
    }

    /// Plans a route that responds. nginx looks at `return` before it asks for credentials or counts,
    /// so neither is carried over.
    fn response(
        &self,
        state: &mut Translation<'a>,
        mut route: RoutePlan,
        level: &Rc<Level<'a>>,
        directive: &'a Directive,
    ) -> RoutePlan {
        let planned = match ["if", "rewrite"].iter().any(|name| !level.own(name).is_empty()) {
            true => Err("a condition decides about it".to_owned()),
            false => responses::response(&mut state.loads, directive, level),
        };
        let response = match planned {
            Ok(response) => response,
            Err(reason) => {
                state.notes.refuse(directive, format!("{reason}: the route is closed"));
                return closed(route, &format!("it responds with `{}`", directive.text()));
            }
        };
        state.notes.carry(directive);
        if let Some(change) = response.change {
            state.notes.tell(directive, Treatment::Noted, change);
            route.remarks.add(change);
        }
        for name in ["allow", "deny", "auth_basic", "auth_request", "limit_req", "limit_conn"] {
            for directive in level.own(name) {
                state.notes.discard(directive, "`return` comes first in nginx");
            }
        }
        route.action = Some(response.line);
        fields::of_responses(state, self.place(level, "", &route), "proxy", &mut route);
        if route.set_response.contains_key("content-type") {
            route.remarks.add("`content-type` is sent once, nginx sends its own beside it");
        }
        route
    }

    /// Plans a route that serves files.
    fn files(
        &self,
        state: &mut Translation<'a>,
        mut route: RoutePlan,
        level: &Rc<Level<'a>>,
        mut files: FilesPlan,
    ) -> RoutePlan {
        rules(state, level, &mut route);
        self.settings(state, level, &mut route);
        fields::of_responses(state, self.place(level, "", &route), "proxy", &mut route);
        let policy = route.set_response.remove("cache-control");
        // nginx sends both, and two fields are one list.
        let policies: Vec<_> = files.cache_control.take().into_iter().chain(policy).collect();
        files.cache_control = (!policies.is_empty()).then(|| policies.join(", "));
        route.files = Some(files);
        without(level, &mut route);
        route
    }

    /// Plans body size and codings.
    pub fn settings(&self, state: &mut Translation<'_>, level: &Level<'_>, route: &mut RoutePlan) {
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
