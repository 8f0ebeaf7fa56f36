//! The paths. Each file below is one resource; what is true of every request is in
//! `request_layer.rs`.

pub mod admin;
pub mod caller;
pub mod cookie;
pub mod extract;
pub mod fields;
pub mod health;
pub mod login;
pub mod me;
pub mod oauth;
pub mod pages;
pub mod password;
pub mod problem;
pub mod refresh;
pub mod request_layer;
pub mod signup;
pub mod users;
pub mod verify;
pub mod wellknown;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router, middleware};
use utoipa::openapi::security::{Http, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::extract::BODY_MAX;
use crate::http::problem::Problem;
use crate::http::request_layer::RequestLayer;
use crate::service::Auth;

#[derive(OpenApi)]
#[openapi(
    info(title = "auth", description = "Sign-up, login and tokens"),
    components(schemas(Problem)),
    modifiers(&Schemes)
)]
struct Document;

/// Security schemes of the description.
struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components
            .add_security_scheme("basic", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    }
}

/// Describes what any operation may respond besides: a problem.
fn describe_refusals(document: &mut utoipa::openapi::OpenApi) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let refusal = ResponseBuilder::new()
        .description("a refusal")
        .content("application/problem+json", problem)
        .build();
    for path in document.paths.paths.values_mut() {
        let operations = [&mut path.get, &mut path.post, &mut path.patch, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refusal.clone()));
        }
    }
}

/// Every path of the service, described where it is defined.
pub fn router(auth: &Arc<Auth>) -> Router {
    let paths = OpenApiRouter::with_openapi(Document::openapi()).merge(people()).merge(programs());
    let (router, mut document) = paths.split_for_parts();
    describe_refusals(&mut document);
    let description = wellknown::Description(document.to_json().unwrap_or_default().into());
    let layer = Arc::new(RequestLayer::new(Arc::clone(auth)));
    // The request layer is added last and is therefore the outermost: it also counts and logs what
    // the fallbacks refuse.
    router
        .fallback(async || Problem::not_found("see /openapi.json for the paths there are"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(Extension(description))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(layer, request_layer::serve))
        .with_state(Arc::clone(auth))
}

/// Paths for people.
fn people() -> OpenApiRouter<Arc<Auth>> {
    OpenApiRouter::new()
        .routes(routes!(pages::index))
        .routes(routes!(pages::login))
        .routes(routes!(pages::signup))
        .routes(routes!(pages::reset))
        .routes(routes!(signup::signup))
        .routes(routes!(login::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(login::logout_all))
        .routes(routes!(me::read, me::change))
        .routes(routes!(me::sessions))
        .routes(routes!(me::end_session))
        .routes(routes!(password::change))
        .routes(routes!(password::forgot))
        .routes(routes!(password::reset))
}

/// Paths for programs and administrators.
fn programs() -> OpenApiRouter<Arc<Auth>> {
    OpenApiRouter::new()
        .routes(routes!(users::read))
        .routes(routes!(admin::list))
        .routes(routes!(admin::change))
        .routes(routes!(verify::verify))
        .routes(routes!(wellknown::jwks))
        .routes(routes!(wellknown::openapi))
        .routes(routes!(oauth::introspect))
        .routes(routes!(oauth::revoke))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

/// Paths on the internal port.
pub fn metrics_router(auth: &Arc<Auth>) -> Router {
    Router::new()
        .route("/metrics", axum::routing::get(health::metrics))
        .with_state(Arc::clone(auth))
}
