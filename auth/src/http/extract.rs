//! Bodies: of the right type, at most 16 KiB, every field named and taken by its own type.

use axum::Form;
use axum::body::Bytes;
use axum::extract::rejection::FormRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;

use crate::http::fields::Fields;
use crate::http::problem::Problem;

/// No body is longer.
pub const BODY_MAX: usize = 16 * 1024;

/// A type that is made of the fields of a request.
pub trait FromFields: Sized {
    /// Takes the fields it knows; what is left is refused afterwards.
    ///
    /// # Errors
    /// Names the field.
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem>;
}

/// A JSON body.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

/// A form; what it does not know it ignores, as OAuth asks.
#[derive(Debug)]
pub struct FormBody<T>(pub T);

/// The query string.
#[derive(Debug)]
pub struct QueryFields<T>(pub T);

/// The query string, of which other parameters are somebody else's.
#[derive(Debug)]
pub struct LenientQuery<T>(pub T);

impl<T: FromFields, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        // A form of a foreign page can send JSON as `text/plain`, which needs no preflight.
        if !kind.eq_ignore_ascii_case("application/json") {
            return Err(Problem::media_type("application/json"));
        }
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| refused(rejection.status().as_u16()))?;
        taken(Fields::json(&body)?).map(Self)
    }
}

impl<T: FromFields, S: Send + Sync> FromRequest<S> for FormBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let form = Form::<Vec<(String, String)>>::from_request(request, state).await;
        let Form(pairs) = form.map_err(|rejection| match rejection {
            FormRejection::InvalidFormContentType(_) => {
                Problem::media_type("application/x-www-form-urlencoded")
            }
            other => refused(other.status().as_u16()),
        })?;
        T::from_fields(&mut Fields::form(pairs)).map(Self)
    }
}

impl<T: FromFields, S: Send + Sync> FromRequestParts<S> for QueryFields<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = query.map_err(|_| Problem::malformed("the query cannot be read"))?;
        taken(Fields::form(pairs)).map(Self)
    }
}

impl<T: FromFields, S: Send + Sync> FromRequestParts<S> for LenientQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let Query(pairs) = query.map_err(|_| Problem::malformed("the query cannot be read"))?;
        T::from_fields(&mut Fields::form(pairs)).map(Self)
    }
}

/// One segment of the path. What no segment can be is nothing there.
#[derive(Debug)]
pub struct PathSegment(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathSegment {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let nothing = || Problem::not_found("no such name");
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|_| nothing())?;
        if text.contains('\0') { Err(nothing()) } else { Ok(Self(text)) }
    }
}

fn taken<T: FromFields>(mut fields: Fields) -> Result<T, Problem> {
    let value = T::from_fields(&mut fields)?;
    fields.done()?;
    Ok(value)
}

fn refused(status: u16) -> Problem {
    if status == 413 {
        Problem::too_large(BODY_MAX)
    } else {
        Problem::malformed("the body cannot be read")
    }
}
