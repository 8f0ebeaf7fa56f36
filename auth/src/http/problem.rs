//! A request that is refused: status, whose fault, which field, and when to try again, as
//! `application/problem+json` (RFC 9457). The only place that makes responses of errors.

use std::error::Error;
use std::fmt::Display;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::service::error::ServiceError;
use crate::store::StoreError;

/// A response that is not a success. Says nothing a stranger may not know: causes go to the log,
/// not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// A name for programs: `urn:problem:auth:<kind>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for people; one text per kind.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Cause of this one refusal.
    pub detail: String,
    /// The field of the request at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whole seconds after which another try makes sense; also the `Retry-After` header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    fn new(status: u16, kind: &str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("urn:problem:auth:{kind}");
        Self { kind, title, status, detail: detail.into(), field: None, retry_after: None }
    }

    fn at(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }

    /// 400: one field is missing, unknown or not acceptable. `rule` reads on from the field's name,
    /// as in "is missing".
    #[must_use]
    pub fn field(field: &str, rule: impl Display) -> Self {
        Self::new(400, "invalid-field", "a field is not acceptable", format!("`{field}` {rule}"))
            .at(field)
    }

    /// 400: the request as a whole cannot be read.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(400, "malformed", "the request cannot be read", detail)
    }

    /// 401: no token, or one that is not valid (any more).
    #[must_use]
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(401, "unauthenticated", "not logged in", detail)
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", "not allowed", detail)
    }

    /// 404: there is nothing here.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(404, "not-found", "nothing here", detail)
    }

    /// 405: the path exists, the method does not.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "method-not-allowed",
            "the path does not take this method",
            "see /openapi.json",
        )
    }

    /// 409: somebody else has it.
    #[must_use]
    pub fn taken(field: &str) -> Self {
        Self::new(409, "taken", "somebody has this already", format!("`{field}` is taken"))
            .at(field)
    }

    /// 413: the body is longer than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "too-large",
            "the body is too large",
            format!("a body may have {limit} bytes"),
        )
    }

    /// 415: the body is not of the type this path reads.
    #[must_use]
    pub fn media_type(expected: &str) -> Self {
        Self::new(
            415,
            "media-type",
            "the body has another type",
            format!("send `content-type: {expected}`"),
        )
    }

    /// 429: too many failed attempts; free again after `seconds`.
    #[must_use]
    pub fn too_many_failures(seconds: u64) -> Self {
        Self::new(
            429,
            "too-many-failures",
            "too many failed attempts",
            "this account had too many failed attempts",
        )
        .after(seconds)
    }

    /// 503: everything is fine but busy.
    #[must_use]
    pub fn busy(seconds: u64) -> Self {
        Self::new(
            503,
            "busy",
            "too much at the same time",
            "the service is at its limit; try again",
        )
        .after(seconds)
    }

    /// 503: something this service stands on is away; it recovers by itself.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            503,
            "unavailable",
            "not available now",
            "the database cannot be reached; try again",
        )
        .after(2)
    }

    /// 500: our fault; the log has the cause under the request's id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(500, "internal", "our fault", "the log has the cause under this request's id")
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::WrongCredentials => {
                Self::new(401, "wrong-credentials", "not logged in", detail)
            }
            ServiceError::InvalidToken | ServiceError::WrongClient => Self::unauthenticated(detail),
            ServiceError::InvalidResetToken => {
                Self::field("token", "is not valid, or not any more")
            }
            ServiceError::Password(rule) => Self::field("password", rule),
            ServiceError::TooManyFailures { retry_after_s } => {
                Self::too_many_failures(retry_after_s)
            }
            ServiceError::Busy { retry_after_s } => Self::busy(retry_after_s),
            ServiceError::MissingScope(_) | ServiceError::OwnAccount => Self::forbidden(detail),
            ServiceError::NoSuchUser(_)
            | ServiceError::NoSuchRole { .. }
            | ServiceError::NoSuchClient(_) => Self::not_found(detail),
            ServiceError::ClientExists(_) => Self::taken("id"),
            ServiceError::Store(StoreError::Taken(field)) => Self::taken(field),
            ServiceError::Store(StoreError::Unavailable(cause)) => {
                tracing::warn!(%cause, "{detail}");
                Self::unavailable()
            }
            ServiceError::Store(StoreError::Broken(_)) | ServiceError::Internal { .. } => {
                tracing::error!(cause = error.source(), "{detail}");
                Self::internal()
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        ServiceError::from(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        // A 401 must name a scheme (RFC 9110, section 15.5.2).
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::Problem;

    #[test]
    fn problem_names_the_field_and_leaves_absent_members_out() {
        let problem = serde_json::to_value(Problem::taken("email")).unwrap();
        assert_eq!(
            problem,
            serde_json::json!({"type": "urn:problem:auth:taken", "title": "somebody has this \
                already", "status": 409,
                "detail": "`email` is taken", "field": "email"})
        );
    }

    #[test]
    fn retry_after_is_never_zero() {
        assert_eq!(Problem::too_many_failures(0).retry_after, Some(1));
    }
}
