//! `/api/v1/admin/users`: everyone, a page at a time, newest first.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cursor::Cursor;
use crate::http::caller::{Bearer, Caller};
use crate::http::extract::{FromFields, JsonBody, PathSegment, QueryFields};
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::http::users::Account;
use crate::service::{Auth, detached};

/// Query of a page of people.
#[derive(Debug)]
pub struct Page {
    limit: u32,
    after: Cursor,
}

impl FromFields for Page {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let limit = |text: String| {
            text.parse().ok().filter(|limit| (1..=200).contains(limit)).ok_or("is 1 to 200")
        };
        Ok(Self {
            limit: fields.optional_parsed("limit", limit)?.unwrap_or(50),
            after: fields
                .optional_parsed("after", |text| Cursor::decode(&text))?
                .unwrap_or(Cursor::START),
        })
    }
}

/// A page of people.
#[derive(Debug, Serialize, ToSchema)]
pub struct People {
    users: Vec<Account>,
    /// Send it as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Everyone.
#[utoipa::path(
    get,
    path = "/api/v1/admin/users",
    operation_id = "list_users",
    security(("bearer" = [])),
    params(
        ("limit" = Option<u32>, Query, description = "1 to 200, 50 if left out"),
        ("after" = Option<String>, Query),
    ),
    responses(
        (status = 200, description = "a page, newest first", body = People),
        (status = 401, description = "not logged in"),
        (status = 403, description = "needs the scope users:read"),
    ),
)]
pub async fn list(
    State(auth): State<Arc<Auth>>,
    Bearer(identity): Bearer,
    QueryFields(page): QueryFields<Page>,
) -> Result<axum::Json<People>, Problem> {
    identity.may("users:read")?;
    let (users, next) = auth.list_users(page.after, page.limit).await?;
    let users = users.iter().map(Account::of).collect();
    Ok(axum::Json(People { users, next: next.map(|cursor| cursor.encode()) }))
}

/// New state of an account.
#[derive(Debug, ToSchema)]
pub struct SetDisabled {
    disabled: bool,
}

impl FromFields for SetDisabled {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let disabled = fields.optional_flag("disabled")?;
        Ok(Self { disabled: disabled.ok_or_else(|| Problem::field("disabled", "is missing"))? })
    }
}

/// Disable or enable someone; disabling ends their sessions.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/users/{username}",
    operation_id = "set_disabled",
    security(("bearer" = [])),
    params(("username" = String, Path)),
    request_body = SetDisabled,
    responses(
        (status = 200, description = "as they are now", body = Account),
        (status = 401, description = "not logged in"),
        (status = 403, description = "needs the scope users:write"),
        (status = 404, description = "there is no such user"),
    ),
)]
pub async fn change(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Bearer(identity): Bearer,
    PathSegment(username): PathSegment,
    JsonBody(SetDisabled { disabled }): JsonBody<SetDisabled>,
) -> Result<axum::Json<Account>, Problem> {
    identity.may("users:write")?;
    let user =
        detached(
            async move { auth.set_disabled(&identity, &username, disabled, &caller.origin).await },
        )
        .await?;
    Ok(axum::Json(Account::of(&user)))
}
