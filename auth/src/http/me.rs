//! `/api/v1/me`: oneself, and the devices one is logged in on.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::caller::{Bearer, Caller};
use crate::http::extract::{FromFields, JsonBody, PathSegment};
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::http::users::{Account, time};
use crate::password::Password;
use crate::person::{Country, Email};
use crate::service::{Auth, account, detached};
use crate::store::sessions;

/// Me.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    operation_id = "read_me",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "me", body = Account),
        (status = 401, description = "not logged in"),
    ),
)]
pub async fn read(Bearer(identity): Bearer) -> axum::Json<Account> {
    axum::Json(Account::of(&identity.user))
}

/// Members to change; what is left out stays.
#[derive(Debug, ToSchema)]
pub struct ChangeAccount {
    #[schema(value_type = Option<String>)]
    email: Option<Email>,
    /// The password of now, where `email` changes.
    #[schema(value_type = Option<String>)]
    current_password: Option<Password>,
    #[schema(value_type = Option<String>)]
    country: Option<Country>,
}

impl FromFields for ChangeAccount {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            email: fields.optional_parsed("email", Email::parse)?,
            current_password: fields.optional_parsed("current_password", Password::presented)?,
            country: fields.optional_parsed("country", Country::parse)?,
        })
    }
}

/// Change something about me.
#[utoipa::path(
    patch,
    path = "/api/v1/me",
    operation_id = "change_me",
    security(("bearer" = [])),
    request_body = ChangeAccount,
    responses(
        (status = 200, description = "me, changed", body = Account),
        (
            status = 400,
            description = "a field is not acceptable, or `current_password` is missing beside \
                           `email`",
        ),
        (status = 401, description = "not logged in, or the password is wrong"),
        (status = 429, description = "too many failed attempts; see Retry-After"),
        (status = 409, description = "the address is taken"),
    ),
)]
pub async fn change(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Bearer(identity): Bearer,
    JsonBody(ChangeAccount { email, current_password, country }): JsonBody<ChangeAccount>,
) -> Result<axum::Json<Account>, Problem> {
    let email = match (email, current_password) {
        (Some(email), Some(password)) => {
            Some(account::NewEmail { email, password, client: caller.client })
        }
        (Some(_), None) => {
            return Err(Problem::field("current_password", "is needed beside `email`"));
        }
        (None, _) => None,
    };
    let change = account::AccountChange { email, country };
    let user =
        detached(async move { auth.change(&identity.user, &change, &caller.origin).await }).await?;
    Ok(axum::Json(Account::of(&user)))
}

/// A device I am logged in on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Device {
    id: Uuid,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339.
    used_at: String,
    client: Option<String>,
    user_agent: Option<String>,
    /// The one that asks.
    current: bool,
}

/// My sessions.
#[derive(Debug, Serialize, ToSchema)]
pub struct Devices {
    sessions: Vec<Device>,
}

/// List my sessions.
#[utoipa::path(
    get,
    path = "/api/v1/me/sessions",
    operation_id = "list_my_sessions",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "the last used first", body = Devices),
        (status = 401, description = "not logged in"),
    ),
)]
pub async fn sessions(
    State(auth): State<Arc<Auth>>,
    Bearer(identity): Bearer,
) -> Result<axum::Json<Devices>, Problem> {
    let listed = auth.list_sessions(identity.user.id).await?;
    let device = |one: sessions::Listed| Device {
        id: one.id,
        created_at: time(one.created_us),
        used_at: time(one.used_us),
        client: one.client,
        user_agent: one.user_agent,
        current: one.id == identity.session.id,
    };
    Ok(axum::Json(Devices { sessions: listed.into_iter().map(device).collect() }))
}

/// Log one of my devices out.
#[utoipa::path(
    delete,
    path = "/api/v1/me/sessions/{id}",
    operation_id = "end_my_session",
    security(("bearer" = [])),
    params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "it is logged out"),
        (status = 401, description = "not logged in"),
        (status = 404, description = "there is no such session of mine"),
    ),
)]
pub async fn end_session(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Bearer(identity): Bearer,
    PathSegment(id): PathSegment,
) -> Result<StatusCode, Problem> {
    let nothing = || Problem::not_found("there is no such session of yours");
    // An id that is no UUID gets the response of a session of somebody else.
    let id = id.parse::<Uuid>().map_err(|_| nothing())?;
    let user_id = identity.user.id;
    let ended =
        detached(async move { auth.end_session(user_id, id, "logout", &caller.origin).await })
            .await?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(nothing()) }
}
