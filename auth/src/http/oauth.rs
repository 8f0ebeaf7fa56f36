//! `/oauth/introspect` (RFC 7662) and `/oauth/revoke` (RFC 7009), for clients that know their secret.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use utoipa::ToSchema;

use crate::field::Fields;
use crate::http::body::{Pairs, Take};
use crate::http::caller::Caller;
use crate::problem::Problem;
use crate::service::{Auth, to_the_end};

/// A program that proved who it is with HTTP Basic.
#[derive(Debug)]
pub struct Client;

impl FromRequestParts<Arc<Auth>> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<Auth>) -> Result<Self, Problem> {
        let (id, secret) = basic(parts).ok_or_else(|| Problem::unauthenticated("the client does not say who it is"))?;
        auth.authenticate_client(&id, &secret).await?;
        Ok(Self)
    }
}

fn basic(parts: &Parts) -> Option<(String, String)> {
    let (scheme, encoded) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let text = String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))?;
    text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// A token, of either kind.
#[derive(Debug, ToSchema)]
pub struct Token {
    token: String,
}

impl Take for Token {
    fn take(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { token: fields.text("token")? })
    }
}

/// What is this token?
#[utoipa::path(post, path = "/oauth/introspect", request_body(content = Token, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "active or not"), (status = 401, description = "the client is not known")))]
pub async fn introspect(
    State(auth): State<Arc<Auth>>,
    _: Client,
    Pairs(body): Pairs<Token>,
) -> Result<axum::Json<serde_json::Value>, Problem> {
    Ok(axum::Json(auth.introspect(&body.token).await?))
}

/// End the session of this token.
#[utoipa::path(post, path = "/oauth/revoke", request_body(content = Token, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "it is not good any more"), (status = 401, description = "the client is not known")))]
pub async fn revoke(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    _: Client,
    Pairs(body): Pairs<Token>,
) -> Result<StatusCode, Problem> {
    to_the_end(async move { auth.revoke(&body.token, &caller.origin).await }).await?;
    Ok(StatusCode::OK)
}
