//! Layer around every request: an id, a client address, a deadline, a limit on concurrency, a log
//! line, a count.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tracing::Instrument;
use uuid::Uuid;
use weir_limit::client_ip::Trust;

use crate::http::caller::Caller;
use crate::http::cookie::Transport;
use crate::http::problem::Problem;
use crate::metrics;
use crate::service::Auth;
use crate::settings::{CookieSecure, Settings};
use crate::store::audit::Origin;

/// The header that joins the proxy's log lines with ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Time limit of a response.
const DEADLINE: Duration = Duration::from_secs(12);

/// Most requests at the same time; further ones are refused with `Retry-After`.
const AT_ONCE: usize = 1024;

/// Layer around every request.
pub struct RequestLayer {
    auth: Arc<Auth>,
    places: Semaphore,
}

impl RequestLayer {
    /// Before this service.
    #[must_use]
    pub fn new(auth: Arc<Auth>) -> Self {
        Self { auth, places: Semaphore::new(AT_ONCE) }
    }
}

/// Lets a request pass.
pub async fn serve(
    State(layer): State<Arc<RequestLayer>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let trust = &layer.auth.settings.trusted_proxies;
    let client = match trust.client(peer.ip(), request.headers()) {
        Ok(client) => client,
        Err(error) => return Problem::malformed(error.to_string()).into_response(),
    };
    let origin = Origin { client: Some(client), request_id: request_id.clone() };
    let cookies = cookies(&layer.auth.settings, peer.ip(), request.headers());
    request.extensions_mut().insert(Caller { client, origin, cookies });
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route =
        request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();

    let span = tracing::info_span!("request", request_id);
    // Refused, not queued: a queue here would need a bound of its own, and clients are better off
    // with a `Retry-After`.
    let mut response = match layer.places.try_acquire() {
        Ok(_place) => {
            // Detached work goes on after the deadline, so a write that began is finished.
            match tokio::time::timeout(DEADLINE, next.run(request).instrument(span.clone())).await {
                Ok(response) => response,
                Err(_) => Problem::busy(2).into_response(),
            }
        }
        Err(_) => Problem::busy(1).into_response(),
    };

    complete(response.headers_mut(), &request_id);
    let code = response.status().as_u16();
    let took = began.elapsed();
    let labels = metrics::RequestLabels { route, method: word(&method), code };
    layer.auth.metrics.request(&labels, took.as_secs_f64());
    let dur_ms = took.as_micros() as f64 / 1000.0;
    // Outside the span, which would name the id once more.
    tracing::info!(request_id, %client, %method, path, status = code, dur_ms, "request");
    response
}

/// The proxy's id if it sent a plain one, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    // The id goes into headers, logs and the database: other characters could be more than text
    // there.
    let plain = |id: &&str| {
        (1..=128).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    sent.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// A browser keeps a `Secure` cookie only over TLS, and whether there was TLS is what the proxy
/// says.
fn cookies(settings: &Settings, peer: IpAddr, headers: &HeaderMap) -> Transport {
    let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    match settings.cookie_secure {
        CookieSecure::Never => Transport::Any,
        CookieSecure::Auto if is_plain_http(&settings.trusted_proxies, peer, proto) => {
            Transport::Any
        }
        CookieSecure::Auto | CookieSecure::Always => Transport::TlsOnly,
    }
}

/// Returns whether the client came over plain HTTP: only a trusted peer can say so, with
/// `X-Forwarded-Proto: http`.
fn is_plain_http(trusted: &Trust, peer: IpAddr, proto: Option<&str>) -> bool {
    trusted.is_trusted(peer) && proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("http"))
}

fn complete(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    // A response may hold tokens and personal data: a handler allows caching explicitly.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
}

fn word(method: &Method) -> &'static str {
    // Any token may be a method (RFC 9110, section 9.1). As labels they would have no bound.
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "PUT" => "PUT",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{REQUEST_ID, Trust, is_plain_http, request_id};

    #[test]
    fn plain_http_is_said_by_trusted_peers_only() {
        let trusted = Trust { proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Trust::default() };
        let plain = |peer: &str, proto| is_plain_http(&trusted, peer.parse().unwrap(), proto);
        assert!(plain("10.0.0.2", Some("http")) && plain("::ffff:10.0.0.2", Some(" HTTP")));
        assert!(
            !plain("10.0.0.2", Some("https"))
                && !plain("10.0.0.2", Some("https, http"))
                && !plain("10.0.0.2", None)
        );
        assert!(!plain("192.0.2.7", Some("http")));
    }

    #[test]
    fn request_id_plain_is_kept_and_any_other_replaced() {
        let with = |id: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(id).unwrap());
            request_id(&headers)
        };
        assert_eq!(with("0198-abc_DEF.1:2"), "0198-abc_DEF.1:2");
        for bad in ["", "a b", "x\"y", &"a".repeat(129)] {
            assert_eq!(with(bad).len(), 32, "{bad}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
