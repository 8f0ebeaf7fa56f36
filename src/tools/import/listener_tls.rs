//! TLS of a listener: `ssl_certificate` and the directives beside it.

use std::collections::BTreeMap;

use super::{
    levels::Level, plan::TlsPlan, scalar::quoted, sockets::Socket, translation::Translation,
    tree::Directive,
};
use crate::config::directives::Treatment;

/// TLS of a socket: the certificates of all its servers, those of the default one first.
pub fn tls(state: &mut Translation<'_>, socket: &Socket<'_>) -> Option<TlsPlan> {
    let mut plan = TlsPlan::default();
    let mut lowest = BTreeMap::new();
    for (order, server) in socket.servers.iter().enumerate() {
        let level = state.servers[*server].level.clone();
        let keys = level.all("ssl_certificate_key");
        for (index, cert) in level.all("ssl_certificate").iter().enumerate() {
            let Some(key) = keys.get(index) else { continue };
            if cert.arg(0).contains('$')
                || cert.arg(0).starts_with("data:")
                || key.arg(0).contains(':')
            {
                state.notes.refuse(cert, "a certificate is a file");
                continue;
            }
            let pair = (cert.arg(0).to_owned(), key.arg(0).to_owned(), state.origin(cert));
            if !plan.certificates.iter().any(|(known, ..)| *known == pair.0) {
                plan.certificates.push(pair);
            }
            state.notes.carry(cert);
            state.notes.carry(key);
        }
        if let Some(directive) = level.one("ssl_protocols") {
            lowest.insert(order, protocols(state, directive));
        }
        client_ca(state, &level, &mut plan);
        if socket.servers.len() > 1
            && let Some(verify) = level.one("ssl_verify_client")
        {
            let reason = "for all servers of the listener";
            state.notes.tell(verify, Treatment::Noted, reason);
        }
    }
    // The first server's: it decides in nginx too, before the name is known.
    if lowest.into_values().next() == Some(true) {
        plan.keys.push(("min_version", "\"1.3\"".to_owned()));
    }
    (!plan.certificates.is_empty()).then_some(plan)
}

/// Returns true if TLS 1.3 is the only version.
fn protocols(state: &mut Translation<'_>, directive: &Directive) -> bool {
    let has = |version: &str| directive.args.iter().any(|word| word == version);
    if has("SSLv3") || has("TLSv1") || has("TLSv1.1") {
        state.notes.tell(directive, Treatment::Noted, "TLS 1.2 and 1.3 only (RFC 8996)");
    } else if has("TLSv1.2") {
        state.notes.discard(directive, "the default");
    } else {
        state.notes.carry(directive);
    }
    has("TLSv1.3") && directive.args.len() == 1
}

fn client_ca(state: &mut Translation<'_>, level: &Level<'_>, plan: &mut TlsPlan) {
    let Some(verify) = level.one("ssl_verify_client") else { return };
    let authority = level.one("ssl_client_certificate");
    match (verify.arg(0), authority) {
        ("on", Some(authority)) => {
            if !plan.keys.iter().any(|(key, _)| *key == "client_ca") {
                plan.keys.push(("client_ca", quoted(authority.arg(0))));
            }
            state.notes.carry(authority);
            state.notes.carry(verify);
        }
        ("off", _) => state.notes.discard(verify, "the default"),
        _ => state.notes.refuse(verify, "a client certificate is required or not asked for"),
    }
}
