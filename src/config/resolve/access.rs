//! Conditions for passing a route.

use std::{path::Path, sync::Arc};

use http::HeaderValue;

use super::{collector::Collector, location::Location};
use crate::{
    access::{
        networks::{NetworkAccess, Satisfy},
        users::Users,
    },
    config::{
        passwords,
        schema::{AccessSpec, BasicAuthSpec, RouteSpec},
    },
    proxy::basic_auth::BasicAuthSettings,
    runtime::hint::{HintedError, hinted},
};

/// Resolves the networks of a route.
pub fn networks(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
) -> Option<NetworkAccess> {
    let (spot, written) = (spot.key("access"), route.access.as_ref()?);
    check(judge, spot, route, written);
    Some(NetworkAccess {
        allow: written.allow.as_ref().map(|networks| judge.networks(spot.key("allow"), networks)),
        deny: judge.networks(spot.key("deny"), &written.deny),
        satisfy: written.satisfy,
    })
}

fn check(judge: &mut Collector<'_>, spot: Location<'_>, route: &RouteSpec, written: &AccessSpec) {
    match &written.allow {
        None if written.deny.is_empty() => {
            let hint = "write `allow: [ 10.0.0.0/8 ]`, `deny: [ 192.0.2.0/24 ]`, or both";
            judge.refuse(spot, hinted("neither `allow` nor `deny` has a network", hint));
        }
        Some(allow) if allow.is_empty() => {
            let hint = "to refuse everyone write `deny: [ 0.0.0.0/0, \"::/0\" ]`";
            judge.refuse(spot.key("allow"), hinted("no network is allowed", hint));
        }
        _ => {}
    }
    if written.satisfy == Satisfy::Any {
        if written.allow.is_none() {
            let hint = "write the networks that need no credentials under `allow`";
            judge.refuse(spot.key("satisfy"), hinted("`satisfy: any` without `allow`", hint));
        }
        // Otherwise the networks of `allow` would have no effect, and everyone could pass.
        if route.basic_auth.is_none() && route.auth.is_none() {
            let hint = "write `basic_auth` or `auth` beside `access`, or remove `satisfy`";
            let message = "`satisfy: any` on a route without authentication";
            judge.refuse(spot.key("satisfy"), hinted(message, hint));
        }
    }
}

/// Resolves the users of a route.
pub fn basic_auth(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    route: &RouteSpec,
) -> Option<BasicAuthSettings> {
    let (spot, written) = (spot.key("basic_auth"), route.basic_auth.as_ref()?);
    let challenge = judge.take(spot.key("realm"), challenge(&written.realm));
    let file = judge.base.join(&written.file);
    let users = Arc::new(users(judge, spot.key("file"), &file, written));
    // The stand-in is never served: the wrong realm was reported.
    let challenge = challenge.unwrap_or(HeaderValue::from_static("Basic"));
    Some(BasicAuthSettings { challenge, file, users })
}

fn users(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    path: &Path,
    written: &BasicAuthSpec,
) -> Users {
    let users = match passwords::read(path) {
        Ok(users) => users,
        Err(error) => {
            // The text of the line is not shown: it may have a password.
            judge.refuse(spot, hinted(&error, error.hint()));
            return Users::default();
        }
    };
    if users.is_empty() {
        let hint = format!("add one: `htpasswd -B {} USER`", written.file);
        let shown = spot.scalar().is_some_and(|scalar| scalar.filled.is_none());
        let hint = if shown { &hint } else { "" };
        judge.problems.warn(spot.span, "this file has no user: no one may pass", hint);
    }
    users
}

/// Challenge of a realm (RFC 7617, section 2).
fn challenge(realm: &str) -> Result<HeaderValue, HintedError> {
    let mut quoted = String::with_capacity(realm.len());
    for letter in realm.chars() {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    let is_text = !realm.is_empty() && realm.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let text = format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"");
    let value = HeaderValue::from_str(&text).ok().filter(|_| is_text);
    let hint = "use letters, digits, signs and spaces of ASCII";
    value.ok_or_else(|| hinted(format!("`{}` cannot be a realm", realm.escape_debug()), hint))
}
