//! Small pages for browsers. The one script and the one style of each are allowed by their digests;
//! nothing else is loaded from anywhere.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::token::opaque::hash;

struct Page {
    html: String,
    policy: String,
}

const FORM: &str = include_str!("../../assets/form.js");

static INDEX: LazyLock<Page> = LazyLock::new(|| {
    Page::new(include_str!("../../assets/index.html"), include_str!("../../assets/index.js"))
});
static LOGIN: LazyLock<Page> =
    LazyLock::new(|| Page::new(include_str!("../../assets/login.html"), FORM));
static SIGNUP: LazyLock<Page> =
    LazyLock::new(|| Page::new(include_str!("../../assets/signup.html"), FORM));
static RESET: LazyLock<Page> =
    LazyLock::new(|| Page::new(include_str!("../../assets/reset.html"), FORM));

impl Page {
    fn new(template: &str, script: &str) -> Self {
        let style = include_str!("../../assets/page.css");
        let digest = |text: &str| format!("'sha256-{}'", STANDARD.encode(hash(text)));
        // The forms take passwords and tokens: no foreign script may run here, and no page may
        // frame them.
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; form-action \
             'self'; base-uri 'none'; \
             frame-ancestors 'none'",
            digest(script),
            digest(style)
        );
        Self { html: template.replace("{style}", style).replace("{script}", script), policy }
    }

    fn response(&'static self) -> Response {
        let kind = "text/html; charset=utf-8";
        let headers = [
            (CONTENT_TYPE, kind),
            (CONTENT_SECURITY_POLICY, self.policy.as_str()),
            (X_FRAME_OPTIONS, "DENY"),
        ];
        (headers, self.html.as_str()).into_response()
    }
}

/// Page that shows who is logged in.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "index_page",
    responses((status = 200, description = "a page")),
)]
pub async fn index() -> Response {
    INDEX.response()
}

/// A form to log in with.
#[utoipa::path(
    get,
    path = "/login",
    operation_id = "login_page",
    responses((status = 200, description = "a page")),
)]
pub async fn login() -> Response {
    LOGIN.response()
}

/// A form to sign up with.
#[utoipa::path(
    get,
    path = "/signup",
    operation_id = "signup_page",
    responses((status = 200, description = "a page")),
)]
pub async fn signup() -> Response {
    SIGNUP.response()
}

/// A form to set a new password with a token.
#[utoipa::path(
    get,
    path = "/reset",
    operation_id = "reset_page",
    responses((status = 200, description = "a page")),
)]
pub async fn reset() -> Response {
    RESET.response()
}
