//! Locations: the path of each, and what holds there.

use std::rc::Rc;

use super::{
    access::conditions,
    amounts::{size, size_bytes},
    expressions::path_expression,
    fields::{self, FieldPlace},
    levels::Level,
    patterns::{self, Around, LocationPattern, Turn, is_expression, letters_behind},
    plan::{FilesPlan, GuardPlan, LETTERS, PathKind, Remarks, RoutePlan},
    refusals::{is_of_methods, method_rules, refused},
    responses,
    rewrites::begin_of,
    rules::rules,
    targets::{LocationAction, action},
    translation::{NginxServer, Translation},
    tree::Directive,
    upstreams::CLOSED,
    ways_back::way_back,
};
use crate::{config::directives::Treatment, runtime::expression::Expression};

/// The route without a way to an upstream.
#[must_use]
pub fn closed(route: RoutePlan, reason: &str) -> RoutePlan {
    let mut remarks = route.remarks;
    remarks.add(format!("closed, because {reason}"));
    RoutePlan {
        path: route.path,
        kind: route.kind,
        upstream: CLOSED.to_owned(),
        is_closed: true,
        remarks,
        ..RoutePlan::default()
    }
}

/// Server whose locations are translated.
#[derive(Debug)]
pub struct Scope<'s, 'a> {
    pub(super) server: &'s NginxServer<'a>,
    server_name: String,
    port: String,
    found: Vec<FoundRoute<'a>>,
}

/// Route of a server.
#[derive(Clone, Debug)]
pub struct FoundRoute<'a> {
    /// Its location; a route without one fills gaps.
    pub location: Option<&'a Directive>,
    /// The route, without its host.
    pub route: RoutePlan,
    turn: Turn,
}

impl<'s, 'a> Scope<'s, 'a> {
    /// Scope of a server with its first name, and its port if it has one only.
    #[must_use]
    pub fn of(server: &'s NginxServer<'a>, server_name: String, port: String) -> Self {
        Self { server, server_name, port, found: Vec::new() }
    }

    /// Adds a route that fills a gap.
    pub fn fill(&mut self, route: RoutePlan) {
        self.found.push(FoundRoute { location: None, route, turn: Turn::Last });
    }

    /// Adds a route of a directive, in its turn among the expressions of the server.
    pub fn add(&mut self, directive: &'a Directive, route: RoutePlan, turn: Turn) {
        self.found.push(FoundRoute { location: Some(directive), route, turn });
    }

    /// Returns true if a route takes every path that no other takes.
    #[must_use]
    pub fn has_root(&self) -> bool {
        self.found.iter().any(|found| found.route.path == "/" && found.route.kind.is_prefix())
    }

    /// All routes, expressions in the order that they are tried.
    #[must_use]
    pub fn routes(self) -> Vec<FoundRoute<'a>> {
        let mut found = self.found;
        found.sort_by_key(|found| found.turn);
        found
    }

    /// Plans the routes of a location, and of those within it.
    pub fn location(
        &mut self,
        state: &mut Translation<'a>,
        location: &'a Directive,
        outer: &Rc<Level<'a>>,
        around: Option<Around<'a>>,
    ) {
        let level = Level::of(location.children(), Some(outer));
        let is_expression = is_expression(location);
        let mut inner_locations = location.named("location").peekable();
        let has_inner = inner_locations.peek().is_some();
        for inner in inner_locations {
            match is_expression {
                true => state.notes.refuse(inner, "it is within an expression"),
                false => {
                    self.location(state, inner, &level, Some(Around::of(location, around)));
                }
            }
        }
        let Some((mut pattern, mut route)) = self.pattern(state, location, around) else { return };
        if is_expression && has_inner {
            pattern.closed.get_or_insert_with(|| "locations stand within an expression".to_owned());
        }
        if self.is_hidden(state, location, &mut pattern) {
            return;
        }
        let rules = match &pattern.closed {
            Some(reason) => Err(reason.clone()),
            None => method_rules(state, self.server, &level),
        };
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        route = match rules {
            Err(reason) => closed(route, &reason),
            Ok(rules) => {
                (before, behind) = refused(&route, &rules);
                let mut route = self.rewritten(state, route, &level, location);
                behind.extend(
                    rules.except.map(|except| excepted(state, except, &level, &route, self)),
                );
                route.methods.clone_from(&rules.methods);
                route
            }
        };
        let is_bound = before.iter().chain(&behind).any(RoutePlan::is_bound) || route.is_bound();
        self.say(state, location, &mut route, is_bound);
        // Of routes for one path the first that takes the method counts.
        let routes: Vec<RoutePlan> = before.into_iter().chain([route]).chain(behind).collect();
        for route in &routes {
            self.add(location, route.clone(), pattern.turn);
        }
        let letters = letters_behind(self.server, location).filter(|_| is_bound);
        if let Some(letters) = letters {
            let turn = if pattern.kind == PathKind::OverRegex { Turn::First } else { Turn::Last };
            for route in routes {
                self.add(location, of_letters(route, &letters), turn);
            }
        }
    }

    /// Returns true if a `rewrite` of the server takes all requests of a location that weir would
    /// try before it. Where it takes some, the location has to be closed.
    fn is_hidden(
        &self,
        state: &mut Translation<'_>,
        location: &Directive,
        pattern: &mut LocationPattern,
    ) -> bool {
        // Of routes that weir would try before it: an exact path and `over_regex`.
        let firsts = self.found.iter().filter(|found| {
            found.turn == Turn::First && found.location.is_some_and(|one| one.name != "location")
        });
        for first in firsts {
            let expression = &first.route.path;
            let regex = Expression::new(expression, false);
            let takes = regex.is_ok_and(|regex| regex.regex().is_match(pattern.path.as_bytes()));
            let begin = begin_of(expression).unwrap_or_default();
            let is_near = begin.starts_with(&pattern.path) || pattern.path.starts_with(begin);
            match pattern.kind {
                PathKind::Exact if takes => {
                    state
                        .notes
                        .discard(location, "a redirect or `rewrite` of the server comes before it");
                    return true;
                }
                PathKind::OverRegex if is_near => {
                    pattern.closed =
                        Some("a redirect or `rewrite` of the server comes before it".to_owned());
                }
                _ => {}
            }
        }
        false
    }

    /// Pattern of a location, and the route with it; none if no request can take it.
    fn pattern(
        &self,
        state: &mut Translation<'a>,
        location: &'a Directive,
        around: Option<Around<'a>>,
    ) -> Option<(LocationPattern, RoutePlan)> {
        let text = location.modifier_and_path().1;
        let Some(mut pattern) = patterns::pattern(state, self.server, location, around) else {
            if !text.starts_with('@') && location.modifier_and_path().0 != "@" {
                state.notes.discard(location, "a path begins with a slash");
            }
            return None;
        };
        state.notes.carry(location);
        // Of `//` nothing would be left.
        let bare = text.strip_suffix('/').filter(|bare| !bare.is_empty() && !bare.ends_with('/'));
        let is_taken = |bare: &str| {
            self.server.locations.iter().any(|other| other.modifier_and_path().1 == bare)
        };
        let is_rewritten = location.named("rewrite").next().is_some();
        if let Some(bare) =
            bare.filter(|bare| pattern.kind.is_prefix() && !is_rewritten && !is_taken(bare))
        {
            bare.clone_into(&mut pattern.path);
            let reason = format!("`path: {bare}` takes `{bare}` too");
            state.notes.tell(location, Treatment::Carried, reason);
        } else if pattern.kind.is_prefix() && !text.ends_with('/') {
            let reason = format!("`{text}` and what is below it, not `{text}...`");
            state.notes.tell(location, Treatment::Carried, reason);
        }
        let origin = format!("{} {}", state.origin(location), location.text());
        let remarks = Remarks::from(origin);
        let (path, kind) = (pattern.path.clone(), pattern.kind);
        Some((pattern, RoutePlan { path, kind, remarks, ..RoutePlan::default() }))
    }

    /// Says of a location what its route says of itself.
    fn say(
        &self,
        state: &mut Translation<'_>,
        location: &Directive,
        route: &mut RoutePlan,
        is_bound: bool,
    ) {
        let (kind, text) = location.modifier_and_path();
        let has_letters = route.kind.is_prefix() && !text.ends_with('/') && kind != "=";
        if is_bound && has_letters && letters_behind(self.server, location).is_none() {
            let what = if route.is_closed { "closed" } else { "protected" };
            let change = format!("not {what}: `{}x` and the like take other routes", route.path);
            route.remarks.add(change.clone());
            state.notes.tell(location, Treatment::Noted, change);
        }
        if route.is_closed {
            state.notes.refuse(location, route.remarks.changes.join("; "));
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
        if let Some(response) = level.own("return").first()
            && let Some(location) = location
        {
            let (kind, text) = location.modifier_and_path();
            let groups = is_expression(location).then(|| path_expression(text, kind == "~*").text);
            return self.response(state, route, level, response, groups.as_deref());
        }
        match conditions(state, level, self.server) {
            Ok(guard) => route.guard = guard,
            Err(reason) => return closed(route, &reason),
        }
        let (target, level_of_target) = match action(state, level, self.server, location) {
            LocationAction::Forward { target, level } => (target, level),
            LocationAction::Files(files) => return self.files(state, route, level, files),
            // Nothing is behind a location that refuses everyone.
            LocationAction::None(_) if route.guard.denies_all() => {
                route.action = Some("respond: { status: 403 }".to_owned());
                route.guard = GuardPlan::default();
                return route;
            }
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
        way_back(state, &level_of_target, &target.authority, target.back.as_ref(), &mut route);
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
    pub(super) fn place<'p>(
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
    /// so neither is carried over. A redirect may have groups of an expression.
    pub fn response(
        &self,
        state: &mut Translation<'a>,
        mut route: RoutePlan,
        level: &Rc<Level<'a>>,
        directive: &'a Directive,
        expression: Option<&str>,
    ) -> RoutePlan {
        let is_conditional = level.own("if").iter().any(|condition| !is_of_methods(condition));
        let planned = match is_conditional {
            true => Err("a condition decides about it".to_owned()),
            false => responses::response(&mut state.loads, directive, level).or_else(|reason| {
                let expression = expression.ok_or_else(|| reason.clone())?;
                responses::with_groups(&mut state.loads, directive, expression).ok_or(reason)
            }),
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
        route.rewrite = response.rewrite;
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
        files.changes.drain(..).for_each(|change| route.remarks.add(change));
        route.files = Some(files);
        if route.files.as_ref().is_some_and(|files| files.fallback.is_none()) {
            without(level, &mut route);
        }
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

/// Route of the paths that only begin with the letters of a location that keeps some requests out:
/// nginx compares letters, and protects `/admin.php` by `location /admin`.
fn of_letters(route: RoutePlan, path: &str) -> RoutePlan {
    let changes_path = route.rewrite.is_some()
        || route.files.as_ref().is_some_and(|files| files.strip_prefix.is_some());
    let mut letters = RoutePlan { path: path.to_owned(), kind: PathKind::Regex, ..route };
    if changes_path {
        let methods = std::mem::take(&mut letters.methods);
        letters = closed(letters, "weir changes whole segments of a path");
        letters.methods = methods;
    }
    letters.remarks.add(LETTERS);
    letters
}

/// Route of the methods that a `limit_except` is for: the same with its conditions.
fn excepted<'a>(
    state: &mut Translation<'a>,
    except: &'a Directive,
    level: &Rc<Level<'a>>,
    route: &RoutePlan,
    scope: &Scope<'_, 'a>,
) -> RoutePlan {
    let inside = Level::of(except.children(), Some(level));
    let other = except.children().iter().find(|child| {
        !matches!(&*child.name, "allow" | "deny" | "auth_basic" | "auth_basic_user_file")
    });
    if let Some(other) = other {
        return closed(route.clone(), &format!("`{}` is for the other methods", other.text()));
    }
    match conditions(state, &inside, scope.server) {
        // Behind a service the other route has, conditions of networks count too.
        Ok(guard) => RoutePlan { guard, ..route.clone() },
        Err(reason) => closed(route.clone(), &reason),
    }
}

/// Says what a route leaves out that changes its requests.
fn without(level: &Level<'_>, route: &mut RoutePlan) {
    let conditions = level.own("if").iter().filter(|one| !is_of_methods(one));
    let others = ["sub_filter", "error_page"].iter().flat_map(|name| level.own(name));
    for directive in conditions.chain(others) {
        route.remarks.add(format!("without `{}`", directive.text()));
    }
}
