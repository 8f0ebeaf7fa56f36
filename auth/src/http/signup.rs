//! `POST /api/v1/signup`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa::ToSchema;

use crate::http::caller::Caller;
use crate::http::extract::{FromFields, JsonBody};
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::http::users::Account;
use crate::password::Password;
use crate::person::{Country, Email, Username};
use crate::service::{Auth, detached, signup};

/// Someone new.
#[derive(Debug, ToSchema)]
pub struct SignupBody {
    #[schema(value_type = String, example = "ada")]
    username: Username,
    #[schema(value_type = String, example = "ada@example.org")]
    email: Email,
    #[schema(value_type = String, min_length = 8, max_length = 128)]
    password: Password,
    #[schema(value_type = Option<String>, example = "NO")]
    country: Option<Country>,
}

impl FromFields for SignupBody {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self {
            username: fields.parsed("username", Username::parse)?,
            email: fields.parsed("email", Email::parse)?,
            password: fields.parsed("password", Password::chosen)?,
            country: fields.optional_parsed("country", Country::parse)?,
        })
    }
}

/// Sign up.
#[utoipa::path(post, path = "/api/v1/signup", request_body = SignupBody, responses(
    (status = 201, description = "signed up", body = Account),
    (status = 400, description = "a field is not acceptable"),
    (status = 409, description = "the name or the address is taken"),
    (status = 503, description = "busy; see Retry-After")))]
pub async fn signup(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    JsonBody(body): JsonBody<SignupBody>,
) -> Result<(StatusCode, axum::Json<Account>), Problem> {
    let SignupBody { username, email, password, country } = body;
    let signup = signup::Signup { username, email, password, country };
    let user =
        detached(async move { auth.signup(&signup, &["user"], &caller.origin).await }).await?;
    Ok((StatusCode::CREATED, axum::Json(Account::of(&user))))
}
