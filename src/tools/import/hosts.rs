//! Hosts of servers: which routes have a host, and which server takes every other one.

use super::{sockets::Socket, translation::Translation, tree::Directive};
use crate::config::directives::Treatment;

/// Hosts of each server, by index; none is every host.
#[derive(Debug)]
pub struct Hosts {
    of_servers: Vec<Option<Vec<Option<String>>>>,
}

impl Hosts {
    /// Finds the hosts of all servers.
    ///
    /// In nginx the default server of a socket takes the hosts that no other one names. weir's
    /// routes are for all listeners, so one server takes them: the default one of a socket, if
    /// possible one without a name.
    #[must_use]
    pub fn of(state: &mut Translation<'_>, sockets: &[Socket<'_>]) -> Self {
        let servers = state.servers.clone();
        let named: Vec<Vec<String>> = (0..servers.len()).map(|index| names(state, index)).collect();
        let is_served = |index: usize| {
            // A fragment has no `listen`.
            servers[index].block.is_none()
                || sockets.iter().any(|socket| socket.servers.contains(&index))
        };
        let forwards = |index: usize| servers[index].level.own("return").is_empty();
        let mut defaults: Vec<usize> =
            sockets.iter().filter_map(|socket| socket.servers.first().copied()).collect();
        defaults.extend((0..servers.len()).filter(|index| servers[*index].block.is_none()));
        // One that only responds is for every other host where no default one does more.
        let (first, others): (Vec<usize>, Vec<usize>) =
            defaults.iter().partition(|index| forwards(**index));
        let mut chosen = [first, others].into_iter().filter(|indexes| !indexes.is_empty());
        let every = chosen.next().and_then(|indexes| {
            let nameless = indexes.iter().find(|index| named[**index].is_empty());
            nameless.or(indexes.first()).copied()
        });
        let mut of_servers = Vec::new();
        for (index, names) in named.iter().enumerate() {
            let hosts = if is_served(index) { hosts(index, every, &named) } else { None };
            if hosts.as_ref().is_some_and(Vec::is_empty) {
                lost(state, index, every);
            } else if every != Some(index) && defaults.contains(&index) && !names.is_empty() {
                tell_default(state, index);
            }
            of_servers.push(hosts);
        }
        Self { of_servers }
    }

    /// Returns true if a server has routes.
    #[must_use]
    pub fn is_served(&self, server: usize) -> bool {
        !self.of_server(server).is_empty()
    }

    /// Hosts of the routes of a server.
    #[must_use]
    pub fn of_server(&self, server: usize) -> &[Option<String>] {
        self.of_servers.get(server).and_then(Option::as_deref).unwrap_or_default()
    }
}

fn hosts(index: usize, every: Option<usize>, named: &[Vec<String>]) -> Option<Vec<Option<String>>> {
    let names = &named[index];
    if every != Some(index) {
        return Some(names.iter().cloned().map(Some).collect());
    }
    // A name of its own needs a route where another server's wildcard has it.
    let others: Vec<&str> = named
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index)
        .flat_map(|(_, names)| names.iter().filter_map(|name| name.strip_prefix('*')))
        .collect();
    let contested = names.iter().filter(|name| others.iter().any(|suffix| name.ends_with(suffix)));
    Some(contested.cloned().map(Some).chain([None]).collect())
}

fn names(state: &mut Translation<'_>, server: usize) -> Vec<String> {
    let server = state.servers[server].clone();
    let mut found: Vec<String> = Vec::new();
    for (directive, name) in server.names() {
        for name in spellings(state, directive, &name) {
            if !found.contains(&name) {
                found.push(name);
            }
        }
    }
    found
}

/// Hosts of one name: `.example.com` is two.
fn spellings(state: &mut Translation<'_>, directive: &Directive, name: &str) -> Vec<String> {
    state.notes.carry(directive);
    let hosts = match name {
        // Names that no request has, for a server that takes every host.
        "" | "_" | "__" | "-" | "--" | "!@#" => return Vec::new(),
        name if name.starts_with('~') => Err("a host is no expression"),
        name if name.contains('$') => Err("a host is no variable"),
        name if name.ends_with(".*") => Err("a wildcard is at the beginning of a host"),
        name => Ok(match name.strip_prefix('.') {
            Some(below) => vec![below.to_owned(), format!("*.{below}")],
            None => vec![name.to_owned()],
        }),
    };
    match hosts {
        Ok(hosts) => match hosts.iter().find_map(|host| state.loads.host(host)) {
            Some(reason) => {
                state.notes.refuse(directive, reason);
                Vec::new()
            }
            None => hosts,
        },
        Err(reason) => {
            state.notes.refuse(directive, format!("{reason}: without `{name}`"));
            Vec::new()
        }
    }
}

fn lost(state: &mut Translation<'_>, index: usize, every: Option<usize>) {
    let server = state.servers[index].clone();
    let other = every.map(|every| state.origin_of(state.servers[every].place()));
    let responds = server.level.own("return").first().copied();
    if let (Some(response), Some(block), None) = (responds, server.block, other.as_ref()) {
        let reason = "a host without a server gets 404";
        state.notes.tell(response, Treatment::Noted, reason);
        return state.notes.tell(block, Treatment::Noted, reason);
    }
    let reason = match other {
        Some(other) => {
            format!("routes do not see the port, and every host goes to the server of {other}")
        }
        None => "it has no host that a route can have".to_owned(),
    };
    if let Some(block) = server.block {
        state.notes.refuse(block, reason.clone());
    }
    for location in &server.locations {
        state.notes.refuse(location, reason.clone());
    }
}

fn tell_default(state: &mut Translation<'_>, index: usize) {
    if let Some(block) = state.servers[index].block {
        let reason = "for its names only: hosts without a server go to another one";
        state.notes.tell(block, Treatment::Noted, reason);
    }
}
