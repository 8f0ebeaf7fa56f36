//! Health: the process responds, and it can do its work. Without Redis it can; without the database
//! it cannot.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::problem::Problem;
use crate::service::Auth;

/// The database responds within this or counts as away.
const PATIENCE: Duration = Duration::from_secs(1);

/// Parts that the service depends on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `up`; a response without it is 503.
    database: &'static str,
    /// `up`, `down` or `unused`.
    redis: &'static str,
}

/// The process responds.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "health_live",
    responses((status = 200, description = "it does")),
)]
pub async fn live() -> &'static str {
    "ok\n"
}

/// The service can do its work.
#[utoipa::path(get, path = "/health/ready", operation_id = "health_ready", responses(
    (status = 200, description = "it can", body = Health),
    (status = 503, description = "the database is away")))]
pub async fn ready(State(auth): State<Arc<Auth>>) -> Result<axum::Json<Health>, Problem> {
    match tokio::time::timeout(PATIENCE, auth.store.ping()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, cause = error.source(), "not ready");
            return Err(Problem::unavailable());
        }
        Err(_) => return Err(Problem::unavailable()),
    }
    let redis = match auth.cache.is_up() {
        None => "unused",
        Some(true) => "up",
        Some(false) => "down",
    };
    Ok(axum::Json(Health { database: "up", redis }))
}

/// Every counter, for the inside.
pub async fn metrics(State(auth): State<Arc<Auth>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], auth.metrics.text()).into_response()
}
