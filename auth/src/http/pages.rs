//! Two small pages. Their one script each is allowed by its digest, nothing else is loaded from anywhere.

use std::sync::LazyLock;

use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_FRAME_OPTIONS};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::token::opaque::hash;

struct Page {
    html: &'static str,
    policy: String,
}

static INDEX: LazyLock<Page> = LazyLock::new(|| Page::of(include_str!("../../assets/index.html")));
static LOGIN: LazyLock<Page> = LazyLock::new(|| Page::of(include_str!("../../assets/login.html")));

impl Page {
    fn of(html: &'static str) -> Self {
        let allowed = |tag: &str| {
            let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
            let text = html.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
            format!("'sha256-{}'", STANDARD.encode(hash(text)))
        };
        let (script, style) = (allowed("script"), allowed("style"));
        let policy = format!(
            "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'"
        );
        Self { html, policy }
    }

    fn answer(&self) -> Response {
        let kind = "text/html; charset=utf-8";
        let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, self.policy.as_str()), (X_FRAME_OPTIONS, "DENY")];
        (headers, self.html).into_response()
    }
}

/// Who am I?
#[utoipa::path(get, path = "/", operation_id = "index_page", responses((status = 200, description = "a page")))]
pub async fn index() -> Response {
    INDEX.answer()
}

/// A form to log in with.
#[utoipa::path(get, path = "/login", operation_id = "login_page", responses((status = 200, description = "a page")))]
pub async fn login() -> Response {
    LOGIN.answer()
}
