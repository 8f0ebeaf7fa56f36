//! `/api/v1/password/change`, `forgot` and `reset`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa::ToSchema;

use crate::field::Fields;
use crate::http::body::{Json, Take};
use crate::http::caller::{Bearer, Caller};
use crate::password::Password;
use crate::person::Email;
use crate::problem::Problem;
use crate::service::{Auth, to_the_end};

/// The password I have and the one I want.
#[derive(Debug, ToSchema)]
#[schema(as = ChangePassword)]
pub struct Change {
    #[schema(value_type = String)]
    current_password: Password,
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    new_password: Password,
}

impl Take for Change {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            current_password: Password::presented("current_password", fields.text("current_password")?)?,
            new_password: Password::chosen("new_password", fields.text("new_password")?)?,
        })
    }
}

/// Change my password; my other sessions end.
#[utoipa::path(post, path = "/api/v1/password/change", operation_id = "change_password", security(("bearer" = [])), request_body = Change, responses(
    (status = 204, description = "changed"),
    (status = 400, description = "the new password is not acceptable"),
    (status = 401, description = "not logged in, or the present password is wrong"),
    (status = 429, description = "too many failed attempts; see Retry-After")))]
pub async fn change(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Bearer(identity): Bearer,
    Json(body): Json<Change>,
) -> Result<StatusCode, Problem> {
    to_the_end(async move {
        let passwords = (&body.current_password, &body.new_password);
        auth.change_password(&identity, passwords, caller.client, &caller.origin).await
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whose password is forgotten.
#[derive(Debug, ToSchema)]
pub struct Forgot {
    #[schema(value_type = String)]
    email: Email,
}

impl Take for Forgot {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { email: Email::parse(fields.text("email")?)? })
    }
}

/// Mail me a token to set a new password. Answers the same whether there is such an address or not.
#[utoipa::path(post, path = "/api/v1/password/forgot", operation_id = "forgot_password", request_body = Forgot, responses(
    (status = 202, description = "mailed, if there is such an address")))]
pub async fn forgot(State(auth): State<Arc<Auth>>, caller: Caller, Json(body): Json<Forgot>) -> StatusCode {
    auth.forgot(body.email.as_str().to_owned(), caller.origin);
    StatusCode::ACCEPTED
}

/// A mailed token and a new password.
#[derive(Debug, ToSchema)]
pub struct Reset {
    token: String,
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    password: Password,
}

impl Take for Reset {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { token: fields.text("token")?, password: Password::chosen("password", fields.text("password")?)? })
    }
}

/// Set a new password with a mailed token; every session ends.
#[utoipa::path(post, path = "/api/v1/password/reset", operation_id = "reset_password", request_body = Reset, responses(
    (status = 204, description = "set"),
    (status = 400, description = "the token is not good, or the password is not acceptable")))]
pub async fn reset(State(auth): State<Arc<Auth>>, caller: Caller, Json(body): Json<Reset>) -> Result<StatusCode, Problem> {
    to_the_end(async move { auth.reset_password(&body.token, &body.password, &caller.origin).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
