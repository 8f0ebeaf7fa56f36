//! Route of a request, and the responses that need none but know of the routes.

use std::{borrow::Cow, cell::RefCell, rc::Rc};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;

use super::{
    Proxy, reply,
    route::{NoRoute, PathMatching, Reading, RouteCondition},
    routed_request::RoutedRequest,
    served_route::{Route, guards_as},
    stop::Stop,
};
use crate::{
    http::{
        condition::Fit,
        error::{Error, Kind},
        fields::{hides_counted, last_hop, looks_counted},
        header_list::HeaderList,
        known_name::KnownName,
        message::{RequestParts, Response},
        target::Target,
    },
    limit::{
        Subject,
        normal_form::{self, PathError},
    },
    log::record::Record,
};

/// Conditions of routes that were asked for a request, with their outcomes. Empty, without memory of
/// its own, for a request that meets no route with a condition.
#[derive(Default)]
struct Outcomes(RefCell<Vec<(Rc<RouteCondition>, Fit)>>);

impl Proxy {
    /// Responses that weir gives itself: `OPTIONS *`, and `Max-Forwards: 0` (RFC 9110, sections
    /// 7.6.2 and 9.3.7).
    pub(super) fn respond_locally(
        &self,
        head: &mut RequestParts,
        target: &Target,
    ) -> Result<Option<Response<Full<Bytes>>>, Stop> {
        let counted = head.method == Method::OPTIONS || head.method == Method::TRACE;
        let last = counted && last_hop(&mut head.headers);
        if target.path_and_query.as_str() == "*" {
            return Ok(Some(reply::empty(StatusCode::OK)));
        }
        if !last {
            return Ok(None);
        }
        let methods = self.routes.methods(&target.host, &self.path(target)?, |_| Fit::Holds);
        let methods = method_list(methods.iter().filter(|method| *method != Method::TRACE));
        if head.method == Method::TRACE {
            return Err(Stop::MethodNotAllowed(methods));
        }
        let mut answer = reply::empty(StatusCode::OK);
        answer.head.headers.set(KnownName::Allow, &methods);
        Ok(Some(answer))
    }

    /// Returns the route of a request, which is recorded, and its path as keys see it.
    pub(super) fn route<'a>(
        &self,
        method: &Method,
        target: &'a Target,
        headers: &HeaderList,
        record: &mut Record,
    ) -> Result<(Rc<Route>, Cow<'a, str>), Stop> {
        let request = RoutedRequest { client: record.entry.client, method, target, headers };
        let path = self.path(target)?;
        let is_as_received = matches!(path, Cow::Borrowed(_));
        // Most configurations have no conditions, and their requests pay for none.
        let route = match self.routes.has_conditions() {
            false => self.find_route(request, &path, is_as_received, |_| Fit::Holds)?,
            true => self.route_by_conditions(request, &path, is_as_received)?,
        };
        route.begin_record(record);
        Ok((Rc::clone(route), path))
    }

    #[inline(never)]
    fn route_by_conditions(
        &self,
        request: RoutedRequest<'_, '_>,
        path: &str,
        is_as_received: bool,
    ) -> Result<&Rc<Route>, Stop> {
        let outcomes = Outcomes::default();
        let fit = |condition: &Rc<RouteCondition>| outcomes.of(condition, request);
        let found = self.find_route(request, path, is_as_received, fit);
        // Before the outcome counts: an endpoint may see what the conditions did not, or less.
        outcomes.refuse_look_alikes(request)?;
        let route = found?;
        // The path has one reading now. What is left are readings of fields.
        if outcomes.are_in_doubt() && self.strays(route, request, path, path, fit) {
            let detail = "ambiguous field: its values choose different routes";
            return Err(Error::new(Kind::HttpRequestError, detail).into());
        }
        Ok(route)
    }

    /// Route that takes a request, where conditions fit so. Every other reading of its path takes a
    /// route that guards it no less.
    fn find_route(
        &self,
        request: RoutedRequest<'_, '_>,
        path: &str,
        is_as_received: bool,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit + Copy,
    ) -> Result<&Rc<Route>, Stop> {
        let RoutedRequest { method, target, .. } = request;
        let host = &*target.host;
        let found = self.routes.entry(host, path, method, fit);
        let route = found.map(|candidate| &candidate.route).map_err(|nearest| match nearest {
            NoRoute::NotFound => {
                Stop::Failed(Error::new(Kind::NoRoute, "no route matches this host and path"))
            }
            NoRoute::MethodNotAllowed => {
                Stop::MethodNotAllowed(method_list(self.routes.methods(host, path, fit).iter()))
            }
        })?;
        // Only a path that was not in its normal form has other readings.
        if !is_as_received {
            let mut readings =
                normal_form::other_readings(target.path_and_query.path()).map_err(refused)?;
            if readings.any(|reading| self.strays(route, request, path, &reading, fit)) {
                return Err(Error::new(Kind::HttpRequestError, "ambiguous path").into());
            }
        }
        Ok(route)
    }

    /// Returns true if a request in another reading could take a route that guards it otherwise than
    /// the chosen one.
    fn strays(
        &self,
        chosen: &Rc<Route>,
        request: RoutedRequest<'_, '_>,
        path: &str,
        reading: &str,
        fit: impl Fn(&Rc<RouteCondition>) -> Fit,
    ) -> bool {
        let same_path = || normal_form::path(reading).is_ok_and(|form| form == *path);
        let host = &*request.target.host;
        self.routes.readings(host, path, reading, request.method, fit).any(|other| match other {
            Reading::Above(other) => !guards_as(chosen, other, same_path),
            Reading::Beside => true,
        })
    }

    /// Path of a request as routes and keys see it.
    #[inline]
    fn path<'a>(&self, target: &'a Target) -> Result<Cow<'a, str>, Error> {
        let received = target.path_and_query.path();
        match self.path_matching {
            PathMatching::Raw => Ok(Cow::Borrowed(received)),
            PathMatching::Normal => normal_form::path(received).map_err(refused),
        }
    }
}

impl Outcomes {
    /// Outcome of a condition. It is found once: a path with many readings asks for it again.
    #[cold]
    #[inline(never)]
    fn of(&self, condition: &Rc<RouteCondition>, request: RoutedRequest<'_, '_>) -> Fit {
        let mut known = self.0.borrow_mut();
        // By identity: all patterns of a route share its condition.
        if let Some((_, fit)) = known.iter().find(|(known, _)| Rc::ptr_eq(known, condition)) {
            return *fit;
        }
        let query = request.target.path_and_query.query();
        // Conditions read neither the path nor the route, which is not known yet.
        let of_client = Subject::of(request.client, request.method, request.headers);
        let subject = Subject { host: &request.target.host, query, ..of_client };
        let fit = condition.condition.fit(&subject);
        known.push((Rc::clone(condition), fit));
        fit
    }

    /// Refuses a request with a field that looks to its endpoint like one that chose the route, or
    /// that `Connection` hides from the endpoint.
    fn refuse_look_alikes(&self, request: RoutedRequest<'_, '_>) -> Result<(), Error> {
        for (condition, _) in &*self.0.borrow() {
            if looks_counted(request.headers, &condition.fields) {
                let detail = "a header's name resembles one that chooses the route";
                return Err(Error::new(Kind::HttpRequestError, detail));
            }
            if hides_counted(request.headers, &condition.fields) {
                let detail = "`Connection` names a header that chooses the route";
                return Err(Error::new(Kind::HttpRequestError, detail));
            }
        }
        Ok(())
    }

    fn are_in_doubt(&self) -> bool {
        self.0.borrow().iter().any(|(_, fit)| *fit == Fit::InDoubt)
    }
}

fn refused(error: PathError) -> Error {
    Error::new(Kind::HttpRequestError, error.detail())
}

/// Formats methods as a value of `Allow` (RFC 9110, section 10.2.1).
fn method_list<'a>(methods: impl Iterator<Item = &'a Method>) -> HeaderValue {
    let methods: Vec<&str> = methods.map(Method::as_str).collect();
    // Methods are tokens; an empty list means that no method is allowed.
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}
