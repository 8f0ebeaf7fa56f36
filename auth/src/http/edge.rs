//! What is true of every request: it has an id and a client, a deadline, a place among so many at once, a log line, a count.

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

use crate::client::{came_plain, client};
use crate::http::caller::Caller;
use crate::http::cookie::Over;
use crate::http::problem::Problem;
use crate::metrics;
use crate::service::Auth;
use crate::settings::{CookieSecure, Settings};
use crate::store::audit::Origin;

/// The header that joins the proxy's log lines with ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// No answer takes longer.
const DEADLINE: Duration = Duration::from_secs(12);

/// So many requests at once; further ones are told to come back.
const AT_ONCE: usize = 1024;

/// What every request passes.
pub struct Edge {
    auth: Arc<Auth>,
    places: Semaphore,
}

impl Edge {
    /// Before this service.
    #[must_use]
    pub fn new(auth: Arc<Auth>) -> Self {
        Self { auth, places: Semaphore::new(AT_ONCE) }
    }
}

/// Lets a request pass.
pub async fn pass(
    State(edge): State<Arc<Edge>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let forwarded = request.headers().get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or("not text"));
    let client = client(peer.ip(), forwarded, &edge.auth.settings.trusted_proxies);
    let origin = Origin { client: Some(client), request_id: request_id.clone() };
    let cookies = cookies(&edge.auth.settings, peer.ip(), request.headers());
    request.extensions_mut().insert(Caller { client, origin, cookies });
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();

    let span = tracing::info_span!("request", request_id);
    let mut response = match edge.places.try_acquire() {
        Ok(_place) => match tokio::time::timeout(DEADLINE, next.run(request).instrument(span.clone())).await {
            Ok(response) => response,
            Err(_) => Problem::busy(2).into_response(),
        },
        Err(_) => Problem::busy(1).into_response(),
    };

    complete(response.headers_mut(), &request_id);
    let code = response.status().as_u16();
    let took = began.elapsed();
    let labels = metrics::Request { route, method: word(&method), code };
    edge.auth.metrics.request(&labels, took.as_secs_f64());
    let dur_ms = took.as_micros() as f64 / 1000.0;
    span.in_scope(|| {
        tracing::info!(request_id, %client, %method, path, status = code, dur_ms, "answered");
    });
    response
}

/// The proxy's id if it sent a plain one, otherwise a new one.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    };
    let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(plain);
    sent.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// A browser keeps a `Secure` cookie only over TLS, and whether there was TLS is what the proxy says.
fn cookies(settings: &Settings, peer: IpAddr, headers: &HeaderMap) -> Over {
    let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    match settings.cookie_secure {
        CookieSecure::Never => Over::Anything,
        CookieSecure::Auto if came_plain(peer, proto, &settings.trusted_proxies) => Over::Anything,
        CookieSecure::Auto | CookieSecure::Always => Over::Tls,
    }
}

fn complete(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
}

fn word(method: &Method) -> &'static str {
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

    use super::{REQUEST_ID, request_id};

    #[test]
    fn a_plain_id_is_kept_and_anything_else_is_replaced() {
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
