//! `/oauth/introspect` (RFC 7662) and `/oauth/revoke` (RFC 7009), for clients that know their
//! secret.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use utoipa::ToSchema;

use crate::http::caller::Caller;
use crate::http::extract::{FormBody, FromFields};
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::service::error::ServiceError;
use crate::service::{Auth, detached};

/// A program that proved who it is with HTTP Basic.
#[derive(Debug)]
pub struct OauthClient;

impl FromRequestParts<Arc<Auth>> for OauthClient {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, auth: &Arc<Auth>) -> Result<Self, Refusal> {
        let (id, secret) = basic(parts)
            .ok_or_else(|| Problem::unauthenticated("the client does not say who it is"))?;
        // Clients encode both like values of a form (RFC 6749, section 2.3.1), but many do not.
        let encoded = form_decoded(&id).zip(form_decoded(&secret));
        if let Some((id, secret)) = encoded.filter(|pair| (&pair.0, &pair.1) != (&id, &secret))
            && auth.authenticate_client(&id, &secret).await.is_ok()
        {
            return Ok(Self);
        }
        auth.authenticate_client(&id, &secret).await?;
        Ok(Self)
    }
}

/// A problem in OAuth's words as well: `error` is what its clients look at (RFC 6749, section 5.2;
/// RFC 7662, section 2.3).
#[derive(Debug)]
pub struct Refusal(Problem);

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self(error.into())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let error = match problem.status {
            401 => "invalid_client",
            400 | 413 | 415 => "invalid_request",
            _ => return problem.into_response(),
        };
        let body = serde_json::json!({ "error": error, "error_description": problem.detail });
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        if headers.contains_key(WWW_AUTHENTICATE) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"auth\""));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The length was that of the problem.
        headers.remove(CONTENT_LENGTH);
        *response.body_mut() = Body::from(body.to_string());
        response
    }
}

fn basic(parts: &Parts) -> Option<(String, String)> {
    let (scheme, encoded) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded =
        STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    // PostgreSQL takes no NUL in a text.
    let text = String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))?;
    text.split_once(':').map(|(id, secret)| (id.to_owned(), secret.to_owned()))
}

/// Decodes a value of a form (`%XX`, and `+` for a space); nothing if it is not one.
fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    // PostgreSQL takes no NUL in a text.
    String::from_utf8(decoded).ok().filter(|text| !text.contains('\0'))
}

/// A token, of either kind.
#[derive(Debug, ToSchema)]
pub struct TokenBody {
    token: String,
}

impl FromFields for TokenBody {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { token: fields.text("token")? })
    }
}

/// Tell whether a token is valid, and whose it is.
#[utoipa::path(
    post,
    path = "/oauth/introspect",
    security(("basic" = [])),
    request_body(content = TokenBody, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "active or not"),
        (status = 401, description = "the client is not known"),
    ),
)]
pub async fn introspect(
    State(auth): State<Arc<Auth>>,
    _: OauthClient,
    body: Result<FormBody<TokenBody>, Problem>,
) -> Result<axum::Json<serde_json::Value>, Refusal> {
    // Taken as a `Result`, so that a refusal of the body has OAuth's form too.
    let FormBody(body) = body?;
    Ok(axum::Json(auth.introspect(&body.token).await?))
}

/// End the session of this token.
#[utoipa::path(
    post,
    path = "/oauth/revoke",
    security(("basic" = [])),
    request_body(content = TokenBody, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "it is not good any more"),
        (status = 401, description = "the client is not known"),
    ),
)]
pub async fn revoke(
    State(auth): State<Arc<Auth>>,
    caller: Caller,
    _: OauthClient,
    body: Result<FormBody<TokenBody>, Problem>,
) -> Result<StatusCode, Refusal> {
    let FormBody(body) = body?;
    detached(async move { auth.revoke(&body.token, &caller.origin).await }).await?;
    Ok(StatusCode::OK)
}
