//! Listeners: a socket with its certificates, or one that only redirects to `https`.

use super::{
    listener_tls::tls,
    plan::{ListenerPlan, Remarks},
    redirects::{HttpsRedirect, redirect},
    scalar::quoted,
    sockets::{Socket, redirects_all, sockets, together},
    translation::Translation,
};
use crate::config::directives::Treatment;

/// Plans the listeners, and returns their sockets.
pub fn listeners<'a>(state: &mut Translation<'a>) -> Vec<Socket<'a>> {
    let redirects: Vec<_> = state.servers.iter().map(redirect).collect();
    let mut sockets = sockets(state);
    together(state, &mut sockets, &redirects);
    sockets.retain(|socket| plan(state, socket, &redirects));
    for (index, redirect) in redirects.iter().enumerate() {
        let Some(redirect) = redirect else { continue };
        let is_served = sockets.iter().filter(|socket| socket.servers.contains(&index));
        let mixed = is_served
            .filter(|socket| match socket.is_tls {
                true => !redirect.is_of_plain,
                false => !redirects_all(socket, &redirects),
            })
            .map(|socket| socket.address.as_str())
            .next();
        tell_redirect(state, redirect, mixed);
    }
    // What only redirects has no routes.
    sockets.retain(|socket| !redirects_all(socket, &redirects) || socket.is_tls);
    if state.plan.listeners.is_empty() {
        let mut remarks = Remarks::default();
        remarks.add("no `listen` that weir can serve is in the files: this is an example");
        let address = ":8080".to_owned();
        state.plan.listeners.push(ListenerPlan { address, tls: None, keys: Vec::new(), remarks });
    }
    sockets
}

fn tell_redirect(state: &mut Translation<'_>, redirect: &HttpsRedirect<'_>, mixed: Option<&str>) {
    for directive in &redirect.made_by {
        if let Some(address) = mixed {
            // A route of the server has it.
            if directive.name == "return" && !redirect.is_of_same_host {
                continue;
            }
            let reason = format!(
                "`{address}` serves other requests too, and `redirect` is for a whole listener"
            );
            state.notes.refuse(directive, reason);
            continue;
        }
        match &redirect.change {
            Some(change) => state.notes.tell(directive, Treatment::Noted, format!("308, {change}")),
            None if directive.arg(0) == "404" => {
                state.notes.discard(directive, "every host is redirected");
            }
            None if directive.arg(0) == "308" => state.notes.carry(directive),
            None if matches!(&*directive.name, "return" | "rewrite") => {
                state.notes.tell(directive, Treatment::Noted, "308");
            }
            None => state.notes.carry(directive),
        }
    }
}

fn plan<'a>(
    state: &mut Translation<'a>,
    socket: &Socket<'a>,
    redirects: &[Option<HttpsRedirect<'a>>],
) -> bool {
    let place = socket.listens.first().map(|listen| state.origin(listen)).unwrap_or_default();
    let mut remarks = Remarks::from(place);
    let mut keys = Vec::new();
    if socket.has_proxy_header {
        keys.push(("proxy_protocol", "true".to_owned()));
    }
    let tls = if socket.is_tls {
        let Some(tls) = tls(state, socket) else {
            for listen in &socket.listens {
                state.notes.refuse(listen, "there is no certificate for it in the files");
            }
            return false;
        };
        Some(tls)
    } else {
        None
    };
    if redirects_all(socket, redirects) && !socket.is_tls {
        let all: Vec<_> =
            socket.servers.iter().filter_map(|server| redirects[*server].as_ref()).collect();
        if let Some(redirect) = all.first() {
            keys.push(("redirect", quoted(&redirect.target)));
        }
        for redirect in all {
            redirect.change.iter().for_each(|change| remarks.add(format!("308, {change}")));
        }
    }
    state.plan.listeners.push(ListenerPlan { address: socket.address.clone(), tls, keys, remarks });
    true
}
