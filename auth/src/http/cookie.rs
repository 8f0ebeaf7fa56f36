//! The browser's cookies: out of reach of scripts, the refresh token only on the paths that use it.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::service::login::Tokens;
use crate::token::ACCESS_S;

/// The access token's.
pub const ACCESS: &str = "auth_access";

/// The refresh token's.
pub const REFRESH: &str = "auth_refresh";

/// Name, path and lifetime of each.
const KEPT: [(&str, &str, u64); 2] = [(ACCESS, "/", ACCESS_S), (REFRESH, "/api/v1", 30 * 86_400)];

/// Transports over which a browser may send a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TLS alone: the cookie is `Secure`.
    TlsOnly,
    /// Plain HTTP too.
    Any,
}

/// The value of a cookie.
#[must_use]
pub fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Hands tokens to a browser.
pub fn set(headers: &mut HeaderMap, tokens: &Tokens, transport: Transport) {
    write(headers, [&tokens.access, &tokens.refresh], transport, None);
}

/// Takes them back.
pub fn clear(headers: &mut HeaderMap, transport: Transport) {
    write(headers, ["", ""], transport, Some(0));
}

fn write(headers: &mut HeaderMap, values: [&str; 2], transport: Transport, age_s: Option<u64>) {
    let secure = if transport == Transport::TlsOnly { "; Secure" } else { "" };
    // A browser removes a cookie only by the name and path that it was set with.
    for ((name, path, kept_s), value) in KEPT.into_iter().zip(values) {
        let age_s = age_s.unwrap_or(kept_s);
        let line =
            format!("{name}={value}; Path={path}; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}");
        if let Ok(line) = HeaderValue::from_str(&line) {
            headers.append(axum::http::header::SET_COOKIE, line);
        }
    }
}
