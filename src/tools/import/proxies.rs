//! Trusted proxies: `set_real_ip_from` and the directives beside it.

use super::{everywhere::Everywhere, plan::Remarks, translation::Translation};
use crate::config::{directives::Treatment, networks};

/// Plans `client_ip`.
pub fn proxies(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    for (depth, directive) in all.named("set_real_ip_from") {
        let network = directive.arg(0);
        if networks::network(network).is_none() {
            state.notes.refuse(directive, "it is no network");
            continue;
        }
        let origin = state.origin(directive);
        if !state.plan.trusted_proxies.iter().any(|(known, _)| known == network) {
            state.plan.trusted_proxies.push((network.to_owned(), origin));
        }
        match depth > 0 && state.servers.len() > 1 {
            true => state.notes.tell(directive, Treatment::Noted, "for all servers"),
            false => state.notes.carry(directive),
        }
    }
    let has_proxies = !state.plan.trusted_proxies.is_empty();
    headers(state, all, has_proxies);
    for (_, directive) in all.named("real_ip_recursive") {
        match directive.arg(0) {
            "on" => state.notes.discard(directive, "the default"),
            _ if !has_proxies => state.notes.discard(directive, "no proxy is trusted"),
            _ => {
                state.notes.carry(directive);
                state.plan.last_hop = Some(state.origin(directive));
            }
        }
    }
    if has_proxies && all.named("real_ip_header").is_empty() {
        let mut remarks = Remarks::default();
        remarks.add("`X-Real-IP` is the default of nginx");
        state.plan.forwarding = Some(("x-real-ip".to_owned(), remarks));
    }
    if !has_proxies {
        without_proxy_header(state, all);
    }
}

/// The field in which proxies name the client.
fn headers(state: &mut Translation<'_>, all: &Everywhere<'_>, has_proxies: bool) {
    for (_, directive) in all.named("real_ip_header") {
        if !has_proxies {
            state.notes.discard(directive, "no proxy is trusted");
            continue;
        }
        match &*directive.arg(0).to_ascii_lowercase() {
            "x-forwarded-for" => state.notes.tell(directive, Treatment::Carried, "the default"),
            "proxy_protocol" => state.notes.tell(
                directive,
                Treatment::Carried,
                "by `proxy_protocol` of the listener",
            ),
            name => {
                state.notes.carry(directive);
                let mut remarks = Remarks::from(state.origin(directive));
                if name != "forwarded" {
                    remarks.add("one address: a request with a list gets 400");
                }
                state.plan.forwarding = Some((name.to_owned(), remarks));
            }
        }
    }
}

/// A PROXY header is only taken from trusted proxies, so a listener that has none cannot ask for it.
fn without_proxy_header(state: &mut Translation<'_>, all: &Everywhere<'_>) {
    const REASON: &str = "a PROXY header needs `client_ip.trusted_proxies`: name the proxies there, and set `proxy_protocol: true`";
    for listener in &mut state.plan.listeners {
        let keys = listener.keys.len();
        listener.keys.retain(|(key, _)| *key != "proxy_protocol");
        if listener.keys.len() < keys {
            listener.remarks.add(REASON);
        }
    }
    for (_, listen) in all.named("listen") {
        if listen.args.iter().any(|word| word == "proxy_protocol") {
            state.notes.refuse(listen, REASON);
        }
    }
}
