//! Routes of which the path changes: by the `rewrite` of a location or a server, or by a map.

use std::rc::Rc;

use super::{
    fields,
    levels::Level,
    locations::{Scope, closed},
    patterns::Turn,
    plan::{PathKind, Remarks, RoutePlan},
    redirect_maps, rewrites,
    translation::Translation,
    tree::Directive,
};

impl<'a> Scope<'_, 'a> {
    /// Plans the location with the change of its paths.
    pub(super) fn rewritten(
        &mut self,
        state: &mut Translation<'a>,
        route: RoutePlan,
        level: &Rc<Level<'a>>,
        location: &'a Directive,
    ) -> RoutePlan {
        let own = level.own("rewrite");
        if own.is_empty() {
            return self.route(state, route, level, Some(location));
        }
        let plan = match rewrites::of_location(state, self.server, location, level) {
            Ok(plan) => plan,
            Err(reason) => {
                own.iter().for_each(|one| state.notes.refuse(one, reason.clone()));
                return closed(route, &reason);
            }
        };
        for redirect in plan.redirects {
            self.add(location, redirect, Turn::Last);
        }
        // Redirects for a part of the paths leave the location as it is.
        let Some(change) = plan.change else {
            return self.route(state, route, level, Some(location));
        };
        if change.redirect.is_some() {
            let redirect =
                RoutePlan { action: change.redirect, rewrite: Some(change.rewrite), ..route };
            return self.redirected(state, redirect, level);
        }
        match plan.location {
            None => self.changed(state, route, level, Some(location), change.rewrite),
            Some(other) => {
                let level = Level::of(other.children(), Some(&self.server.level));
                self.changed(state, route, &level, Some(other), change.rewrite)
            }
        }
    }

    /// Fields of a route that redirects.
    fn redirected(
        &self,
        state: &mut Translation<'a>,
        mut route: RoutePlan,
        level: &Rc<Level<'a>>,
    ) -> RoutePlan {
        fields::of_responses(state, self.place(level, "", &route), "proxy", &mut route);
        route
    }

    /// Plans a route of which the path changes before it is forwarded.
    fn changed(
        &self,
        state: &mut Translation<'a>,
        route: RoutePlan,
        level: &Rc<Level<'a>>,
        location: Option<&'a Directive>,
        rewrite: String,
    ) -> RoutePlan {
        let mut route = self.route(state, route, level, location);
        if route.is_closed {
            return route;
        }
        // weir changes a path once, and a file's name is the path itself.
        if route.rewrite.is_some() || route.files.is_some() {
            return closed(route, "its path changes twice");
        }
        // A response has no use for the path.
        if route.action.is_none() {
            route.rewrite = Some(rewrite);
        }
        route
    }

    /// Plans the redirects and `rewrite` directives of the server, which come before its locations.
    pub fn rewrites_of_server(&mut self, state: &mut Translation<'a>) {
        // A map of paths is asked by an `if`, which comes before locations too.
        for (directive, route) in redirect_maps::redirects(state, self.server) {
            let level = self.server.level.clone();
            let route = self.redirected(state, route, &level);
            self.add(directive, route, Turn::First);
        }
        for directive in self.server.level.own("rewrite").to_vec() {
            let route = match rewrites::of_server(state, self.server, directive) {
                Ok((route, None)) => {
                    let level = self.server.level.clone();
                    self.redirected(state, route, &level)
                }
                Ok((route, Some(owner))) => {
                    let level = Level::of(owner.children(), Some(&self.server.level));
                    let rewrite = route.rewrite.clone().unwrap_or_default();
                    let route = RoutePlan { rewrite: None, ..route };
                    self.changed(state, route, &level, Some(owner), rewrite)
                }
                Err((reason, path)) => {
                    state.notes.refuse(directive, format!("{reason}: its paths are closed"));
                    let origin = format!("{} {}", state.origin(directive), directive.text());
                    let remarks = Remarks::from(origin);
                    let kind = PathKind::Regex;
                    closed(RoutePlan { path, kind, remarks, ..RoutePlan::default() }, &reason)
                }
            };
            self.add(directive, route, Turn::First);
        }
    }
}
