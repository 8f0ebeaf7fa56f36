//! The caller of a request: client address and identity.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};

use crate::http::cookie::{self, Transport};
use crate::http::problem::Problem;
use crate::service::Auth;
use crate::service::identity::Identity;
use crate::store::audit::Origin;

/// Client of a request, for limits and the audit log.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Client address.
    pub client: IpAddr,
    /// The same with the request's id, for the audit log.
    pub origin: Origin,
    /// Transport that its cookies are written for.
    pub cookies: Transport,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// Someone logged in: by `Authorization: Bearer`, or by the browser's cookie from one of our own
/// pages.
#[derive(Debug)]
pub struct Bearer(pub Identity);

impl FromRequestParts<Arc<Auth>> for Bearer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<Auth>) -> Result<Self, Problem> {
        let headers = &parts.headers;
        // A header is set by a program, a cookie comes along by itself: only the cookie needs the
        // check below.
        if let Some(token) = bearer(headers) {
            return Ok(Self(auth.identify(token).await?));
        }
        let token = cookie::read(headers, cookie::ACCESS)
            .ok_or_else(|| Problem::unauthenticated("there is no token"))?;
        if !parts.method.is_safe() {
            from_own_page(headers)?;
        }
        Ok(Self(auth.identify(token).await?))
    }
}

/// The token of `Authorization: Bearer`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A cookie comes along wherever a request was made: so the page it was made on must be ours.
///
/// # Errors
/// 403: it is another one, or none is named.
pub fn from_own_page(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let own = match text(&ORIGIN) {
        Some(origin) => {
            // The scheme is not compared: behind a proxy with TLS this service sees plain HTTP.
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == text(&HOST)
        }
        // Without `Origin`, a browser's own word about the page may stand in for it.
        None => text(&HeaderName::from_static("sec-fetch-site")) == Some("same-origin"),
    };
    if own {
        Ok(())
    } else {
        Err(Problem::forbidden(
            "cookies count only on pages of this site: `origin` names another one or none",
        ))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::from_own_page;

    fn own(pairs: &[(&'static str, &'static str)]) -> bool {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let headers: HeaderMap = pairs.iter().map(pair).collect();
        from_own_page(&headers).is_ok()
    }

    #[test]
    fn origin_of_our_host_or_same_origin_is_ours() {
        assert!(own(&[("host", "a.example"), ("origin", "https://a.example")]));
        assert!(own(&[("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn origin_of_anything_else_is_foreign() {
        assert!(!own(&[("host", "a.example"), ("origin", "https://b.example")]));
        assert!(!own(&[
            ("host", "a.example"),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(
            !own(&[("host", "a.example")]) && !own(&[("sec-fetch-site", "same-site")]) && !own(&[])
        );
    }
}
