//! Rules of access and responses that weir cannot give: the routes they are for are closed.

use std::rc::Rc;

use super::{
    levels::Level,
    translation::{NginxServer, Translation},
};

/// Returns why a route must not be open: networks, passwords, another service's word, or a path
/// that only nginx itself requests.
pub fn protection<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    server: &Rc<Level<'a>>,
) -> Option<String> {
    let mut reasons = Vec::new();
    let networks = level.list(&["allow", "deny"]);
    if networks.iter().any(|rule| rule.name == "deny") {
        for rule in &networks {
            state.notes.refuse(rule, "weir cannot refuse networks: the route is closed");
        }
        reasons.push("weir cannot refuse networks");
    } else {
        // `allow all` alone lets everyone in.
        networks.iter().for_each(|rule| state.notes.discard(rule, "every network is allowed"));
    }
    for name in ["auth_basic", "auth_request"] {
        let Some(directive) = level.one(name) else { continue };
        if directive.arg(0) == "off" {
            state.notes.discard(directive, "the default");
            continue;
        }
        state.notes.refuse(directive, "weir does not authenticate: the route is closed");
        reasons.push("weir does not authenticate");
    }
    if let Some(directive) = level.own("internal").first() {
        state.notes.refuse(directive, "weir has no internal requests: the route is closed");
        reasons.push("weir has no internal requests");
    }
    for name in ["auth_jwt", "access_by_lua_block", "access_by_lua_file"] {
        if level.one(name).is_some_and(|directive| directive.arg(0) != "off") {
            reasons.push("weir does not authenticate");
        }
    }
    if lets_clients_choose(server) {
        reasons.push("weir requires a client certificate or asks for none");
    }
    reasons.first().map(|reason| (*reason).to_owned())
}

/// Returns true if clients without a certificate get in, and nginx or the application looks later who
/// they are. Such a listener is none of weir's, and without the question no one is known.
fn lets_clients_choose(server: &Level<'_>) -> bool {
    let verify = server.one("ssl_verify_client").map_or("off", |verify| verify.arg(0));
    let is_required = verify == "on" && server.one("ssl_client_certificate").is_some();
    verify != "off" && !is_required
}

/// Returns why a server gives the same response to all requests.
pub fn action_of_server(state: &mut Translation<'_>, server: &NginxServer<'_>) -> Option<String> {
    let response = server.level.own("return").first().copied()?;
    let reason = format!("the server responds with `{}`", response.text());
    state.notes.refuse(
        response,
        "`redirect: https` on a listener is the only response that is configured",
    );
    for location in &server.locations {
        state.notes.refuse(location, "the `return` of its server comes first");
    }
    Some(reason)
}
