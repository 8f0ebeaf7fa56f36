//! `/api/v1/admin/users`: everyone, a page at a time, newest first.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cursor::Cursor;
use crate::field::Fields;
use crate::http::body::{Json, Search, Segment, Take};
use crate::http::caller::{Bearer, Caller};
use crate::http::users::Account;
use crate::problem::Problem;
use crate::service::{Auth, to_the_end};
use crate::store::users;

/// Which page.
#[derive(Debug)]
pub struct Page {
    limit: u32,
    after: Cursor,
}

impl Take for Page {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        let limit = fields.optional_text("limit")?.map_or(Ok(50), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=200).contains(limit));
        Ok(Self {
            limit: limit.ok_or_else(|| Problem::field("limit", "`limit` is 1 to 200"))?,
            after: fields.optional_text("after")?.map_or(Ok(Cursor::START), |text| Cursor::decode(&text))?,
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
#[utoipa::path(get, path = "/api/v1/admin/users", operation_id = "list_users", security(("bearer" = [])),
    params(("limit" = Option<u32>, Query, description = "1 to 200, 50 if left out"), ("after" = Option<String>, Query)), responses(
    (status = 200, description = "a page, newest first", body = People),
    (status = 401, description = "not logged in"),
    (status = 403, description = "needs the scope users:read")))]
pub async fn list(
    State(auth): State<Arc<Auth>>,
    Bearer(identity): Bearer,
    Search(page): Search<Page>,
) -> Result<axum::Json<People>, Problem> {
    identity.may("users:read")?;
    let _permit = auth.store.read_permit().await?;
    let (users, next) = users::page(&mut auth.store.connection().await?, page.after, page.limit).await?;
    let users = users.iter().map(Account::of).collect();
    Ok(axum::Json(People { users, next: next.map(|cursor| cursor.encode()) }))
}

/// What is to change about someone.
#[derive(Debug, ToSchema)]
#[schema(as = SetDisabled)]
pub struct Change {
    disabled: bool,
}

impl Take for Change {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        let disabled = fields.optional_flag("disabled")?;
        Ok(Self { disabled: disabled.ok_or_else(|| Problem::field("disabled", "`disabled` is missing"))? })
    }
}

/// Disable or enable someone; disabling ends their sessions at once.
#[utoipa::path(patch, path = "/api/v1/admin/users/{username}", operation_id = "set_disabled", security(("bearer" = [])), params(("username" = String, Path)), request_body = Change, responses(
    (status = 200, description = "as they are now", body = Account),
    (status = 401, description = "not logged in"),
    (status = 403, description = "needs the scope users:write"),
    (status = 404, description = "there is no such user")))]
pub async fn change(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Bearer(identity): Bearer,
    Segment(username): Segment,
    Json(Change { disabled }): Json<Change>,
) -> Result<axum::Json<Account>, Problem> {
    identity.may("users:write")?;
    let user = to_the_end(async move { auth.set_disabled(&identity, &username, disabled, &caller.origin).await }).await?;
    Ok(axum::Json(Account::of(&user)))
}
