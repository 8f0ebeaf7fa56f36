//! `GET /verify`: a proxy asks whether a request may pass (forward-auth). 204, 401 or 403, with who
//! it is.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::http::caller::Bearer;
use crate::http::extract::{FromFields, LenientQuery};
use crate::http::fields::Fields;
use crate::http::problem::Problem;

/// Role and scope that the bearer must have.
#[derive(Debug)]
pub struct Needs {
    role: Option<String>,
    scope: Option<String>,
}

impl FromFields for Needs {
    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        Ok(Self { role: fields.optional_text("role")?, scope: fields.optional_text("scope")? })
    }
}

/// May this request pass?
#[utoipa::path(
    get,
    path = "/verify",
    security(("bearer" = [])),
    params(("role" = Option<String>, Query), ("scope" = Option<String>, Query)),
    responses(
        (
            status = 204,
            description = "yes",
            headers(("Remote-User" = String), ("Remote-Roles" = String)),
        ),
        (status = 401, description = "nobody is logged in"),
        (status = 403, description = "the role or the scope is missing"),
    ),
)]
pub async fn verify(
    Bearer(identity): Bearer,
    LenientQuery(needs): LenientQuery<Needs>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let user = identity.user.clone();
    if let Some(role) = needs.role.filter(|role| !user.roles.contains(role)) {
        return Err(Problem::forbidden(format!("this needs the role `{role}`")));
    }
    needs.scope.map_or(Ok(()), |scope| identity.may(&scope))?;
    let mut headers = HeaderMap::new();
    for (name, value) in [("remote-user", user.username), ("remote-roles", user.roles.join(","))] {
        let value = HeaderValue::from_str(&value).map_err(|_| Problem::internal())?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok((StatusCode::NO_CONTENT, headers))
}
