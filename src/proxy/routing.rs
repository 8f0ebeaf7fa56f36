//! Route of a request, and the responses that need none but know of the routes.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;

use super::{
    Proxy, reply,
    route::{NoRoute, PathMatching, Reading},
    served_route::{Route, guards_as},
    stop::Stop,
};
use crate::{
    http::{
        error::{Error, Kind},
        fields::last_hop,
        known_name::KnownName,
        message::{RequestParts, Response},
        target::Target,
    },
    limit::normal_form::{self, PathError},
    log::record::Record,
};

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
        let methods = self.routes.methods(&target.host, &self.path(target)?);
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
        record: &mut Record,
    ) -> Result<(Rc<Route>, Cow<'a, str>), Stop> {
        let (host, path) = (&*target.host, self.path(target)?);
        let found = self.routes.entry(host, &path, method);
        let (_, route) = found.map_err(|nearest| match nearest {
            NoRoute::NotFound => {
                Stop::Failed(Error::new(Kind::NoRoute, "no route matches this host and path"))
            }
            NoRoute::MethodNotAllowed => {
                Stop::MethodNotAllowed(method_list(self.routes.methods(host, &path).iter()))
            }
        })?;
        // Only a path that was not in its normal form has other readings.
        if let Cow::Owned(normal) = &path {
            let mut readings =
                normal_form::other_readings(target.path_and_query.path()).map_err(refused)?;
            let strays = |reading: Cow<'_, str>| {
                let same_path = || normal_form::path(&reading).is_ok_and(|form| form == *normal);
                match self.routes.read(host, normal, &reading, method) {
                    Reading::Above(other) => !guards_as(route, other, same_path),
                    Reading::Beside => true,
                    Reading::Nowhere => false,
                }
            };
            if readings.any(strays) {
                return Err(Error::new(Kind::HttpRequestError, "ambiguous path").into());
            }
        }
        record.entry.route = Some(Arc::clone(&route.name));
        Ok((Rc::clone(route), path))
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

fn refused(error: PathError) -> Error {
    Error::new(Kind::HttpRequestError, error.detail())
}

/// Formats methods as a value of `Allow` (RFC 9110, section 10.2.1).
fn method_list<'a>(methods: impl Iterator<Item = &'a Method>) -> HeaderValue {
    let methods: Vec<&str> = methods.map(Method::as_str).collect();
    // Methods are tokens; an empty list means that no method is allowed.
    HeaderValue::from_str(&methods.join(", ")).unwrap_or(HeaderValue::from_static(""))
}
