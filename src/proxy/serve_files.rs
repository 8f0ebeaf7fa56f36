//! Response of a route that serves files.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{Either, Full};

use super::{
    Proxy, header_edits::EditContext, reply, served_route::Route, stop::Stop,
    to_client::ResponseBody,
};
use crate::{
    compress::{self, EncodingPreference},
    files::{FileReply, FileServer, body::FileBody},
    http::{
        error::{Error, Kind},
        known_name::KnownName,
        message::{RequestParts, Response},
    },
    limit::normal_form,
};

/// Methods of files.
const METHODS: &str = "GET, HEAD";

impl Proxy {
    /// Responds to a request for `path`, which the route was found by, with a file.
    pub(super) async fn serve_file(
        &self,
        files: &FileServer,
        route: &Route,
        head: &RequestParts,
        path: &str,
        facts: &EditContext<'_>,
    ) -> Result<Response<ResponseBody>, Stop> {
        let mut response = match head.method {
            Method::GET | Method::HEAD => self.find_file(files, head, path, facts.path).await?,
            _ => return Err(Stop::MethodNotAllowed(HeaderValue::from_static(METHODS))),
        };
        route.response_edits.apply(&mut response.head.headers, facts)?;
        let Response { head: described, body } = response;
        let body = match body {
            Either::Left(own) => {
                return Ok(Response { head: described, body: ResponseBody::Own(own) });
            }
            Either::Right(file) => file,
        };
        let preference = EncodingPreference::of(&route.compress, &head.method, &head.headers);
        let response = Response { head: described, body };
        let coded = compress::code(response, preference.as_ref(), &self.coders);
        Ok(coded.map(|body| ResponseBody::File(Box::new(body))))
    }

    /// Finds the file of the path that the route makes of `path`.
    async fn find_file(
        &self,
        files: &FileServer,
        head: &RequestParts,
        path: &str,
        rewritten: &str,
    ) -> Result<Response<Either<Full<Bytes>, FileBody>>, Error> {
        // Where routes see paths as received, a file has one spelling too: another one may have
        // taken another route.
        let is_normal = matches!(normal_form::path(path), Ok(Cow::Borrowed(_)));
        let name = normal_form::path(rewritten).ok().filter(|_| is_normal);
        let (is_get, now) = (head.method == Method::GET, self.clock.now());
        let request = name.and_then(|name| files.request(&name, &head.headers, is_get, now));
        let Some(request) = request else {
            return Err(Error::new(Kind::FileNotFound, "no file has this path"));
        };
        match files.respond(request).await? {
            FileReply::Directory => Ok(to_directory(path, head.uri.query())?.map(Either::Left)),
            FileReply::File(status, headers, body) => {
                let mut response = reply::empty(status).map(|_| Either::Right(body));
                response.head.headers = headers;
                Ok(response)
            }
        }
    }
}

/// Redirects to a directory, by the path alone: a normal form has one slash at its start, so it
/// leads to no other host.
fn to_directory(path: &str, query: Option<&str>) -> Result<Response<Full<Bytes>>, Error> {
    let mut response = reply::empty(StatusCode::MOVED_PERMANENTLY);
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    let location = [path.as_bytes(), b"/", query.as_bytes()];
    response.head.headers.set_parts(KnownName::Location, &location).map_err(|cause| {
        Error::caused(Kind::HttpRequestError, "the target is not a valid header value", cause)
    })?;
    Ok(response)
}
