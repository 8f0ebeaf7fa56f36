//! `/api/v1/password/change`, `forgot` and `reset`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa::ToSchema;

use crate::http::caller::{Bearer, Caller};
use crate::http::extract::{FromFields, JsonBody};
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::password::Password;
use crate::person::Email;
use crate::service::error::ServiceError;
use crate::service::passwords::PasswordChange;
use crate::service::{Auth, detached};

/// The password I have and the one I want.
#[derive(Debug, ToSchema)]
pub struct ChangePassword {
    #[schema(value_type = String)]
    current_password: Password,
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    new_password: Password,
}

impl FromFields for ChangePassword {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            current_password: fields.parsed("current_password", Password::presented)?,
            new_password: fields.parsed("new_password", Password::chosen)?,
        })
    }
}

/// Change my password; my other sessions end.
#[utoipa::path(
    post,
    path = "/api/v1/password/change",
    operation_id = "change_password",
    security(("bearer" = [])),
    request_body = ChangePassword,
    responses(
        (status = 204, description = "changed"),
        (status = 400, description = "the new password is not acceptable"),
        (status = 401, description = "not logged in, or the present password is wrong"),
        (status = 429, description = "too many failed attempts; see Retry-After"),
    ),
)]
pub async fn change(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    Bearer(identity): Bearer,
    JsonBody(body): JsonBody<ChangePassword>,
) -> Result<StatusCode, Problem> {
    let changed = detached(async move {
        let ChangePassword { current_password: current, new_password: new } = body;
        let change = PasswordChange { current, new, client: caller.client };
        auth.change_password(&identity, &change, &caller.origin).await
    });
    match changed.await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        // The general conversion names `password`, which is no field of this request.
        Err(ServiceError::Password(rule)) => Err(Problem::field("new_password", rule)),
        Err(error) => Err(error.into()),
    }
}

/// Address of the person whose password is forgotten.
#[derive(Debug, ToSchema)]
pub struct ForgotPassword {
    #[schema(value_type = String)]
    email: Email,
}

impl FromFields for ForgotPassword {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { email: fields.parsed("email", Email::parse)? })
    }
}

/// Mail me a token to set a new password. The response is the same whether there is such an address
/// or not.
#[utoipa::path(
    post,
    path = "/api/v1/password/forgot",
    operation_id = "forgot_password",
    request_body = ForgotPassword,
    responses( (status = 202, description = "mailed, if there is such an address")),
)]
pub async fn forgot(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    JsonBody(body): JsonBody<ForgotPassword>,
) -> StatusCode {
    auth.forgot(body.email.as_str().to_owned(), caller.origin);
    StatusCode::ACCEPTED
}

/// A mailed token and a new password.
#[derive(Debug, ToSchema)]
pub struct ResetPassword {
    token: String,
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    password: Password,
}

impl FromFields for ResetPassword {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            token: fields.text("token")?,
            password: fields.parsed("password", Password::chosen)?,
        })
    }
}

/// Set a new password with a mailed token; every session ends.
#[utoipa::path(
    post,
    path = "/api/v1/password/reset",
    operation_id = "reset_password",
    request_body = ResetPassword,
    responses(
        (status = 204, description = "set"),
        (status = 400, description = "the token is not good, or the password is not acceptable"),
    ),
)]
pub async fn reset(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    JsonBody(body): JsonBody<ResetPassword>,
) -> Result<StatusCode, Problem> {
    detached(async move { auth.reset_password(&body.token, &body.password, &caller.origin).await })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
