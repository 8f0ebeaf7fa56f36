//! Documents that programs look up: the public keys and the API's description.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::service::Auth;

/// The API's description, as served.
#[derive(Clone)]
pub struct Description(pub Arc<str>);

/// The public keys (RFC 7517).
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    responses((status = 200, description = "current and previous key")),
)]
pub async fn jwks(State(auth): State<Arc<Auth>>) -> Response {
    ([(CACHE_CONTROL, "public, max-age=300")], axum::Json(auth.keys.jwks())).into_response()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1")))]
pub async fn openapi(Extension(Description(text)): Extension<Description>) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "public, max-age=300")], text.to_string())
        .into_response()
}
