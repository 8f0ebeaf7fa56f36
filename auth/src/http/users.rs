//! `GET /api/v1/users/{username}`, and how people are shown.

use std::sync::Arc;

use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::caller::Bearer;
use crate::http::extract::PathSegment;
use crate::http::problem::Problem;
use crate::person::{User, Username};
use crate::service::Auth;

/// A person to themselves and to administrators.
#[derive(Debug, Serialize, ToSchema)]
pub struct Account {
    id: Uuid,
    username: String,
    email: String,
    country: Option<String>,
    roles: Vec<String>,
    disabled: bool,
    /// Grows with every change.
    version: i64,
    /// RFC 3339.
    created_at: String,
}

impl Account {
    /// Everything but the secrets.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self {
            id: user.id,
            username: user.username.clone(),
            email: user.email.clone(),
            country: user.country.clone(),
            roles: user.roles.clone(),
            disabled: user.disabled,
            version: user.version,
            created_at: time(user.created_us),
        }
    }
}

/// A person to everyone who is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    username: String,
    country: Option<String>,
    /// RFC 3339.
    created_at: String,
}

/// Microseconds since 1970 as RFC 3339.
#[must_use]
pub fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Somebody's profile.
#[utoipa::path(
    get,
    path = "/api/v1/users/{username}",
    operation_id = "read_profile",
    security(("bearer" = [])),
    params(("username" = String, Path)),
    responses(
        (status = 200, description = "the profile", body = Profile),
        (status = 401, description = "not logged in"),
        (status = 404, description = "there is no such user"),
    ),
)]
pub async fn read(
    State(auth): State<Arc<Auth>>,
    _: Bearer,
    PathSegment(username): PathSegment,
) -> Result<axum::Json<Profile>, Problem> {
    let nobody = || Problem::not_found("there is no such user");
    // A text that cannot be a user name needs no query.
    let username = Username::parse(username).map_err(|_| nobody())?;
    let user = auth
        .user_by_name(username.as_str())
        .await?
        .filter(|user| !user.disabled)
        .ok_or_else(nobody)?;
    let created_at = time(user.created_us);
    Ok(axum::Json(Profile { username: user.username, country: user.country, created_at }))
}
