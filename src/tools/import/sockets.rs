//! Sockets of nginx: `listen` with its parameters, and which of them one weir can serve.
//!
//! Guarantee: a server is not reached at a socket that is wider than its own
//! (`server_of_another_socket_is_left_out` in tests/config/import.rs).

use super::{
    redirects::{HttpsRedirect, is_proxied},
    translation::Translation,
    tree::Directive,
};
use crate::config::directives::Treatment;

/// Parameters of `listen` that tune a socket, or that weir does anyway.
const TUNING: [&str; 15] = [
    "default_server",
    "default",
    "http2",
    "spdy",
    "reuseport",
    "deferred",
    "bind",
    "backlog=",
    "rcvbuf=",
    "sndbuf=",
    "fastopen=",
    "accept_filter=",
    "setfib=",
    "so_keepalive=",
    "ipv6only=",
];

/// Socket of nginx, by its address.
#[derive(Debug)]
pub struct Socket<'a> {
    /// Address as weir writes it.
    pub address: String,
    /// Servers on it, by index; the default one first.
    pub servers: Vec<usize>,
    /// Its `listen` directives.
    pub listens: Vec<&'a Directive>,
    /// One of them says `ssl`.
    pub is_tls: bool,
    /// One of them says `proxy_protocol`.
    pub has_proxy_header: bool,
}

/// Returns true if all servers of a socket only redirect.
#[must_use]
pub fn redirects_all(socket: &Socket<'_>, redirects: &[Option<HttpsRedirect<'_>>]) -> bool {
    socket.servers.iter().all(|server| redirects[*server].is_some())
}

/// Finds the sockets of all servers.
#[must_use]
pub fn sockets<'a>(state: &mut Translation<'a>) -> Vec<Socket<'a>> {
    let mut sockets: Vec<Socket<'a>> = Vec::new();
    for (index, server) in state.servers.clone().iter().enumerate() {
        let listens = server.level.own("listen");
        let is_tls_by_flag = server.level.is_on("ssl");
        if listens.is_empty() && server.block.is_some() {
            // nginx's default, for the user root.
            add(&mut sockets, "0.0.0.0:80".to_owned(), index, None);
        }
        for directive in listens {
            if directive.args.iter().any(|word| word == "quic") {
                state.notes.refuse(directive, "HTTP/3 is not served");
                continue;
            }
            let Some(address) = address(directive.arg(0)) else {
                state.notes.refuse(directive, "weir listens on an IP address and a port");
                continue;
            };
            if let Some(reason) = state.loads.listener(&address) {
                state.notes.refuse(directive, reason);
                continue;
            }
            let socket = add(&mut sockets, address, index, Some(directive));
            let has = |name: &str| directive.args.iter().any(|word| word == name);
            socket.is_tls |= has("ssl") || is_tls_by_flag;
            socket.has_proxy_header |= has("proxy_protocol");
            if has("ipv6only=off") {
                socket.address = socket.address.replace("[::]", "");
            }
            if has("default_server") || has("default") {
                socket.servers.retain(|other| *other != index);
                socket.servers.insert(0, index);
            }
            tell_parameters(state, directive);
        }
    }
    join_families(&mut sockets);
    sockets
}

fn tell_parameters(state: &mut Translation<'_>, directive: &Directive) {
    state.notes.carry(directive);
    for word in directive.args.iter().skip(1) {
        let is_known = TUNING.iter().any(|known| match known.strip_suffix('=') {
            Some(name) => word.split('=').next() == Some(name),
            None => word == known,
        });
        if !is_known && word != "ssl" && word != "proxy_protocol" {
            state.notes.tell(directive, Treatment::Noted, format!("without `{word}`"));
        }
    }
}

fn add<'a, 's>(
    sockets: &'s mut Vec<Socket<'a>>,
    address: String,
    server: usize,
    listen: Option<&'a Directive>,
) -> &'s mut Socket<'a> {
    let at = sockets.iter().position(|socket| socket.address == address).unwrap_or_else(|| {
        let (servers, listens) = (Vec::new(), Vec::new());
        sockets.push(Socket { address, servers, listens, is_tls: false, has_proxy_header: false });
        sockets.len() - 1
    });
    let socket = &mut sockets[at];
    socket.listens.extend(listen);
    if !socket.servers.contains(&server) {
        socket.servers.push(server);
    }
    socket
}

/// Address of a `listen` as weir writes it; a port alone is every IPv4 address.
fn address(text: &str) -> Option<String> {
    if text.parse::<u16>().is_ok() {
        return Some(format!("0.0.0.0:{text}"));
    }
    if text.starts_with("unix:") {
        return None;
    }
    let text = text.replace("*:", "0.0.0.0:");
    let has_port = text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match text.starts_with('[') && text.ends_with(']') || !has_port {
        true => Some(format!("{text}:80")),
        false => Some(text),
    }
}

/// `listen 80; listen [::]:80;` is `:80`, every address of both families.
fn join_families(sockets: &mut Vec<Socket<'_>>) {
    let ports: Vec<String> = sockets
        .iter()
        .filter_map(|socket| socket.address.strip_prefix("0.0.0.0:"))
        .map(str::to_owned)
        .collect();
    for port in ports {
        let at = |address: &str| sockets.iter().position(|socket| socket.address == address);
        let Some(first) = at(&format!("0.0.0.0:{port}")) else { continue };
        let others = [format!("[::]:{port}"), format!(":{port}")];
        let Some(second) = others.iter().find_map(|other| at(other)) else { continue };
        let other = sockets.remove(second);
        let first = if second < first { first - 1 } else { first };
        let socket = &mut sockets[first];
        socket.address = format!(":{port}");
        socket.is_tls |= other.is_tls;
        socket.has_proxy_header |= other.has_proxy_header;
        socket.listens.extend(other.listens);
        let new: Vec<usize> =
            other.servers.into_iter().filter(|server| !socket.servers.contains(server)).collect();
        socket.servers.extend(new);
    }
}

/// Keeps the sockets that one table of routes can serve. In nginx a server is reached at its own
/// sockets only; here every listener has all routes. So a server of a loopback address, of a port
/// of its own, or behind client certificates must not share the routes of another socket, where
/// everyone would reach it by its name.
pub fn together<'a>(
    state: &mut Translation<'a>,
    sockets: &mut Vec<Socket<'a>>,
    redirects: &[Option<HttpsRedirect<'a>>],
) {
    let mut kept: Vec<(usize, Socket<'a>)> = Vec::new();
    let mut all: Vec<(usize, Socket<'a>)> = sockets.drain(..).enumerate().collect();
    // The one that forwards most decides which others can be served beside it.
    all.sort_by_key(|(_, socket)| std::cmp::Reverse(forwards(state, socket)));
    for (order, socket) in all {
        let is_redirect = !socket.is_tls && redirects_all(&socket, redirects);
        let others = kept.iter().map(|(_, other)| other);
        let mut served = others.filter(|other| other.is_tls || !redirects_all(other, redirects));
        if is_redirect || served.all(|other| share_routes(state, other, &socket)) {
            kept.push((order, socket));
            continue;
        }
        let reason = format!(
            "every listener has all routes, and those of `{}` are others: run a second weir for it",
            socket.address
        );
        for listen in &socket.listens {
            state.notes.refuse(listen, reason.clone());
        }
    }
    kept.sort_by_key(|(order, _)| *order);
    sockets.extend(kept.into_iter().map(|(_, socket)| socket));
    for (index, server) in state.servers.clone().iter().enumerate() {
        let is_served = sockets.iter().any(|socket| socket.servers.contains(&index));
        if let Some(block) = server.block.filter(|_| !is_served) {
            let reason = "none of its sockets is served";
            state.notes.refuse(block, reason);
            server.locations.iter().for_each(|location| state.notes.refuse(location, reason));
        }
    }
}

/// Number of locations of a socket that forward.
fn forwards(state: &Translation<'_>, socket: &Socket<'_>) -> usize {
    let of_server = |index: &usize| {
        let locations = state.servers[*index].locations.iter();
        locations.filter(|location| is_proxied(location)).count()
    };
    socket.servers.iter().map(of_server).sum()
}

/// Returns true if each server of both may be reached at either.
fn share_routes(state: &Translation<'_>, one: &Socket<'_>, other: &Socket<'_>) -> bool {
    let same = |servers: &[usize], others: &[usize]| servers.iter().all(|one| others.contains(one));
    let (here, there) = (&one.servers, &other.servers);
    if same(here, there) && same(there, here) {
        return true;
    }
    let is_usual =
        |socket: &Socket<'_>| socket.address.ends_with(":80") || socket.address.ends_with(":443");
    let host =
        |socket: &Socket<'_>| match socket.address.rsplit_once(':').map_or("", |(host, _)| host) {
            "" | "0.0.0.0" | "[::]" => String::new(),
            host => host.to_owned(),
        };
    let asks = |index: &usize| state.servers[*index].level.is_on("ssl_verify_client");
    let has_clients = here.iter().chain(there).any(asks);
    is_usual(one) && is_usual(other) && host(one) == host(other) && !has_clients
}
