//! `POST /api/v1/login`, `logout` and `logout-all`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::caller::{Caller, bearer, from_own_page};
use crate::http::cookie::{self, Transport};
use crate::http::extract::{FromFields, JsonBody};
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::password::Password;
use crate::service::login::{Presented, Tokens};
use crate::service::{Auth, detached, login};
use crate::token::ACCESS_S;

/// Someone who comes back.
#[derive(Debug, ToSchema)]
pub struct LoginBody {
    /// A user name or an address.
    username: String,
    #[schema(value_type = String, max_length = 128)]
    password: Password,
    /// Hand the tokens to the browser as cookies, not to its scripts.
    cookie: Option<bool>,
}

impl FromFields for LoginBody {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let login = |text: String| {
            if (1..=254).contains(&text.len()) { Ok(text) } else { Err("has 1 to 254 bytes") }
        };
        Ok(Self {
            username: fields.parsed("username", login)?,
            password: fields.parsed("password", Password::presented)?,
            cookie: fields.optional_flag("cookie")?,
        })
    }
}

/// The tokens (RFC 6749, section 5.1); a browser that asked for cookies finds none here.
#[derive(Debug, Serialize, ToSchema)]
pub struct Granted {
    #[serde(skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
}

/// Hands tokens out, in the body or as cookies.
pub fn grant(tokens: Tokens, cookies: Option<Transport>) -> Response {
    let mut headers = HeaderMap::new();
    let body = |access_token, refresh_token| Granted {
        access_token,
        refresh_token,
        token_type: "Bearer",
        expires_in: ACCESS_S,
    };
    let Some(transport) = cookies else {
        return axum::Json(body(Some(tokens.access), Some(tokens.refresh))).into_response();
    };
    cookie::set(&mut headers, &tokens, transport);
    (headers, axum::Json(body(None, None))).into_response()
}

/// Log in.
#[utoipa::path(post, path = "/api/v1/login", request_body = LoginBody, responses(
    (status = 200, description = "logged in", body = Granted),
    (status = 400, description = "a field is not acceptable"),
    (status = 401, description = "the user name or the password is wrong"),
    (status = 429, description = "too many failed attempts; see Retry-After"),
    (status = 503, description = "busy; see Retry-After")))]
pub async fn login(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    headers: HeaderMap,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Response, Problem> {
    let cookies = body.cookie.unwrap_or(false).then_some(caller.cookies);
    // A foreign page must not log a browser in to an account of its own.
    if cookies.is_some() {
        from_own_page(&headers)?;
    }
    let user_agent =
        headers.get("user-agent").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let login = login::Login {
        name: body.username,
        password: body.password,
        client: caller.client,
        user_agent,
    };
    let tokens = detached(async move { auth.login(&login, &caller.origin).await }).await?;
    Ok(grant(tokens, cookies))
}

/// End this session. Takes the access token or the refresh token, whichever is left; ends nothing
/// where neither is good.
#[utoipa::path(post, path = "/api/v1/logout", security((), ("bearer" = [])), responses(
    (status = 204, description = "logged out"),
    (status = 403, description = "cookies from a page of another site")))]
pub async fn logout(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tokens = presented(&headers)?;
    let transport = caller.cookies;
    detached(async move { auth.end_sessions(&tokens, "logout", &caller.origin).await }).await?;
    Ok(logged_out(transport))
}

/// The tokens of a request: of its cookies only where they come from one of our own pages.
fn presented(headers: &HeaderMap) -> Result<Presented, Problem> {
    let [access, refresh] =
        [cookie::ACCESS, cookie::REFRESH].map(|name| cookie::read(headers, name));
    if access.or(refresh).is_some() {
        from_own_page(headers)?;
    }
    Ok(Presented {
        access: bearer(headers).or(access).map(str::to_owned),
        refresh: refresh.map(str::to_owned),
    })
}

/// End every session of mine.
#[utoipa::path(post, path = "/api/v1/logout-all", security(("bearer" = [])), responses(
    (status = 204, description = "logged out everywhere"),
    (status = 401, description = "not logged in")))]
pub async fn logout_all(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let tokens = presented(&headers)?;
    let transport = caller.cookies;
    detached(async move { auth.logout_all(&tokens, &caller.origin).await }).await?;
    Ok(logged_out(transport))
}

fn logged_out(transport: Transport) -> Response {
    let mut headers = HeaderMap::new();
    cookie::clear(&mut headers, transport);
    (StatusCode::NO_CONTENT, headers).into_response()
}
