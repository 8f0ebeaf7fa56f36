//! Keys of zones: variables of nginx, and `map` and `geo` that make a key empty for some networks.

use ipnet::IpNet;

use super::{
    key_conditions,
    translation::Translation,
    tree::Directive,
    values::{ValuePiece, pieces},
};
use crate::{config::networks::network, limit::Part};

/// Limit on maps of maps.
const MAX_MAPS: usize = 4;
/// Variables that are the client address.
const CLIENT: [&str; 3] = ["binary_remote_addr", "remote_addr", "realip_remote_addr"];
/// Variables that are the same for all requests of a server.
const CONSTANTS: [&str; 6] =
    ["server_port", "server_addr", "hostname", "document_root", "nginx_version", "pid"];

/// Key of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPlan {
    /// Parts.
    pub parts: Vec<String>,
    /// Networks that are not counted.
    pub exempt: Vec<String>,
    /// Differences.
    pub changes: Vec<String>,
    /// Maps that were read, by the name of their variable.
    pub maps: Vec<String>,
    /// Condition on the requests that are counted, as a key of a rule.
    pub condition: Option<String>,
}

/// Translates the first argument of `limit_req_zone`.
///
/// # Errors
/// The reason why weir has no such key.
pub fn key(state: &Translation<'_>, text: &str) -> Result<KeyPlan, String> {
    let mut plan = KeyPlan::default();
    add(state, text, MAX_MAPS, &mut plan)?;
    if plan.parts.is_empty() {
        plan.parts.push("global".to_owned());
    }
    Ok(plan)
}

fn add(
    state: &Translation<'_>,
    text: &str,
    maps_left: usize,
    plan: &mut KeyPlan,
) -> Result<(), String> {
    for piece in pieces(text) {
        // A constant beside a variable makes no other key.
        let ValuePiece::Variable(name) = piece else { continue };
        if let Some(map) = state.maps.get(&*name) {
            if maps_left == 0 {
                return Err(format!("`${name}` is a map of too many maps"));
            }
            let networks =
                cases(state, map, MAX_MAPS).and_then(|cases| Ok((exempt(&name, &cases)?, cases)));
            let value = match networks {
                Ok((exempt, cases)) => {
                    plan.exempt.extend(exempt);
                    cases.default
                }
                Err(reason) => {
                    let found = key_conditions::of_map(map).ok_or(reason)?;
                    if plan.condition.replace(found.condition).is_some() {
                        return Err("two maps decide about it".to_owned());
                    }
                    found.value
                }
            };
            plan.maps.push(name);
            add(state, &value, maps_left - 1, plan)?;
            continue;
        }
        let Some(part) = part(state, &name, plan) else {
            return Err(format!("weir counts by no `${name}`"));
        };
        if !part.is_empty() && !plan.parts.contains(&part) {
            plan.parts.push(part);
        }
    }
    Ok(())
}

/// Part of a key for a variable; empty for a constant.
fn part(state: &Translation<'_>, name: &str, plan: &mut KeyPlan) -> Option<String> {
    let mut changed = |text: &str| plan.changes.push(text.to_owned());
    let part = match name {
        name if CLIENT.contains(&name) => "client_ip".to_owned(),
        name if CONSTANTS.contains(&name) => String::new(),
        "remote_user" => "basic_user".to_owned(),
        "host" | "http_host" => "host".to_owned(),
        "server_name" if state.servers.len() == 1 => String::new(),
        "server_name" => {
            changed("each host counts for itself, in nginx all names of a server together");
            "host".to_owned()
        }
        "uri" | "document_uri" => "path".to_owned(),
        "request_uri" => {
            changed("the query is not part of the key");
            "path".to_owned()
        }
        "request_method" => "method".to_owned(),
        name => {
            let header = name.strip_prefix("http_").map(|name| ("header", name.replace('_', "-")));
            let cookie = name.strip_prefix("cookie_").map(|name| ("cookie", name.to_owned()));
            let query = name.strip_prefix("arg_").map(|name| ("query", name.to_owned()));
            let (kind, name) = header.or(cookie).or(query)?;
            if name == "x-forwarded-for" || name == "x-real-ip" {
                changed(
                    "any client can write this field: count by `client_ip`, and name the proxies in `client_ip.trusted_proxies`",
                );
            }
            let part = format!("{kind}:{name}");
            part.parse::<Part>().ok()?;
            part
        }
    };
    Some(part)
}

/// Values of a variable by the network of the client.
struct Cases {
    default: String,
    by_network: Vec<(String, String)>,
}

fn cases(state: &Translation<'_>, map: &Directive, maps_left: usize) -> Result<Cases, String> {
    let source = match (map.name.as_str(), map.args.len()) {
        ("geo", 1) => "remote_addr",
        _ => map.arg(0).trim_start_matches('$'),
    };
    if CLIENT.contains(&source) {
        return by_address(map);
    }
    match state.maps.get(source) {
        Some(inner) if maps_left > 0 => {
            let inner = cases(state, inner, maps_left - 1)?;
            let value = |of: &str| mapped(map, of);
            let by_network = inner.by_network.iter();
            Ok(Cases {
                default: value(&inner.default)?,
                by_network: by_network
                    .map(|(network, of)| Ok((network.clone(), value(of)?)))
                    .collect::<Result<_, String>>()?,
            })
        }
        _ => Err(format!("its key depends on `${source}`, and keys depend on networks only")),
    }
}

/// Cases of a `geo`, or of a `map` of the client address.
fn by_address(map: &Directive) -> Result<Cases, String> {
    let mut cases = Cases { default: String::new(), by_network: Vec::new() };
    for row in map.children() {
        match &*row.name {
            "default" => cases.default = row.arg(0).to_owned(),
            "volatile" | "hostnames" | "proxy_recursive" | "include" => {}
            "ranges" | "proxy" | "delete" => return Err(format!("`geo` with `{}`", row.name)),
            name if network(name).is_some() => {
                cases.by_network.push((name.to_owned(), row.arg(0).to_owned()));
            }
            name => return Err(format!("`{name}` is not a network")),
        }
    }
    Ok(cases)
}

/// Value of a `map` for a value of its source.
fn mapped(map: &Directive, of: &str) -> Result<String, String> {
    let mut default = "";
    for row in map.children() {
        match &*row.name {
            "default" => default = row.arg(0),
            name if name.starts_with('~') => {
                return Err("its map has regular expressions".to_owned());
            }
            // nginx compares these without case.
            name if name.eq_ignore_ascii_case(of) => return Ok(row.arg(0).to_owned()),
            _ => {}
        }
    }
    Ok(default.to_owned())
}

/// Networks for which the key is empty.
fn exempt(name: &str, cases: &Cases) -> Result<Vec<String>, String> {
    if cases.default.is_empty() {
        return Err(format!(
            "`${name}` limits some networks only, and `exempt` is a list of the others"
        ));
    }
    let (free, counted): (Vec<_>, Vec<_>) =
        cases.by_network.iter().partition(|(_, value)| value.is_empty());
    if let Some((network, _)) = counted.iter().find(|(_, value)| *value != cases.default) {
        return Err(format!("`${name}` counts `{network}` by another key"));
    }
    let parsed = |text: &str| network(text).map(|network| network.trunc());
    let free_networks: Vec<IpNet> = free.iter().filter_map(|(text, _)| parsed(text)).collect();
    for (text, _) in &counted {
        let inside = parsed(text)
            .is_some_and(|network| free_networks.iter().any(|free| free.contains(&network)));
        if inside {
            return Err(format!("`{text}` is counted within a network that is not"));
        }
    }
    Ok(free.iter().map(|(text, _)| text.clone()).collect())
}
