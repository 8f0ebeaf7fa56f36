//! `POST /api/v1/refresh`: by token in the body, or by cookie from one of our own pages.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::ToSchema;

use crate::http::caller::{Caller, from_own_page};
use crate::http::cookie;
use crate::http::extract::{FromFields, JsonBody};
use crate::http::fields::Fields;
use crate::http::login::{Granted, grant};
use crate::http::problem::Problem;
use crate::service::{Auth, detached};

/// A refresh token; left out by browsers, which send it as a cookie.
#[derive(Debug, ToSchema)]
pub struct RefreshBody {
    refresh_token: Option<String>,
}

impl FromFields for RefreshBody {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { refresh_token: fields.optional_text("refresh_token")? })
    }
}

/// Exchange a refresh token for the next one and a new access token.
#[utoipa::path(post, path = "/api/v1/refresh", request_body = RefreshBody, responses(
    (status = 200, description = "the next tokens", body = Granted),
    (status = 401, description = "not good, or not any more"),
    (status = 403, description = "by cookie from a foreign page")))]
pub async fn refresh(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<RefreshBody>,
) -> Result<Response, Problem> {
    let as_cookie = body.refresh_token.is_none();
    let token = match body.refresh_token {
        Some(token) => token,
        None => {
            let none =
                || Problem::field("refresh_token", "is missing, and there is no cookie either");
            let token = cookie::read(&headers, cookie::REFRESH).ok_or_else(none)?.to_owned();
            // A token in the body was put there by a script of this site. A cookie comes along from
            // any page.
            from_own_page(&headers)?;
            token
        }
    };
    let cookies = as_cookie.then_some(caller.cookies);
    let tokens = detached(async move { auth.refresh(&token, &caller.origin).await }).await?;
    Ok(grant(tokens, cookies))
}
