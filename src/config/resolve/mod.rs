//! Resolution of the file as written: every text parsed, every name a reference.
//!
//! Guarantee: all problems are found in one run, each at its text; no error is left to be found
//! while serving.

use std::{net::SocketAddr, path::Path, thread::available_parallelism};

use http::HeaderName;

use self::{collector::Collector, location::Location, names::Names, upstream::HEAD_BYTES};
use super::{
    nearest,
    networks::NetworkLists,
    problem::Problems,
    schema::{Amount, ClientIp, File},
    settings::{Config, StateSettings},
    yaml_tree::{Node, Value},
};
use crate::{
    downstream::settings::{ClientTimeouts, HeaderLimits},
    http::known_name::KnownName,
    limit::client_ip::{Forwarding, Trust},
    runtime::hint::hinted,
};

pub mod access;
pub mod action;
pub mod address;
pub mod auth;
pub mod codings;
pub mod collector;
pub mod concurrency;
pub mod condition;
pub mod edits;
pub mod files;
pub mod listener;
pub mod location;
pub mod log;
pub mod names;
pub mod path;
pub mod pattern;
pub mod reject;
pub mod rewrite;
pub mod route;
mod socket_file;
pub mod upstream;
pub mod zone;

/// Limit on parked requests: each holds a connection.
const MAX_QUEUE: usize = 10_000_000;
/// Limit on threads.
const MAX_WORKERS: usize = 1_024;

/// Resolves a whole file; `None` after any error, so that no stand-in for a wrong value is ever
/// used.
///
/// `base` is the directory that relative paths of networks start from.
pub fn resolve(
    file: &File,
    tree: &Node,
    written: &Node,
    base: &Path,
    problems: &mut Problems,
) -> Option<Config> {
    let (judge, root) = (&mut Collector { problems, base }, Location::root(tree));
    at_least_one(judge, root, written);
    if file.version != 1 {
        let message = format!("unknown version `{}`", file.version);
        judge.refuse(root.key("version"), hinted(message, "write `version: 1`"));
    }
    let zones = file.zones.iter();
    let zones = zones
        .map(|(name, zone)| zone::zone(judge, root.key("zones").key(name), name, zone))
        .collect();
    let concurrency = file.concurrency.iter();
    let concurrency = concurrency
        .map(|(name, zone)| concurrency::zone(judge, root.key("concurrency").key(name), name, zone))
        .collect();
    let upstreams = file.upstreams.iter();
    let upstreams = upstreams
        .map(|(name, one)| upstream::upstream(judge, root.key("upstreams").key(name), name, one))
        .collect();
    // Before the routes, which refer to zones and upstreams by name.
    let mut names = Names { file, written, zones, upstreams };
    let routes = file.routes.iter().zip(pattern::names(&file.routes)).enumerate();
    let routes = routes
        .map(|(index, (route, name))| {
            route::route(judge, &mut names, root.key("routes").item(index), route, name)
        })
        .collect();
    let config = Config {
        listeners: listener::listeners(judge, root.key("listeners"), file),
        client_ip: trust(judge, root.key("client_ip"), &file.client_ip),
        networks: NetworkLists::of(file, base),
        zones: names.zones,
        concurrency,
        upstreams: names.upstreams,
        routes,
        path_matching: file.path_matching,
        queue_max: judge.count(root.key("queue").key("max"), &file.queue.max, 0..=MAX_QUEUE),
        timeouts: timeouts(judge, root.key("timeouts"), file),
        header_limits: header_limits(judge, root.key("header_limits"), file),
        access_log: log::access(judge, root, &file.access_log, &file.error_log),
        log_level: log::level(judge, root.key("log").key("level"), &file.log.level),
        admin: admin(judge, root.key("admin").key("address"), file),
        state: state(judge, root.key("state"), file),
        workers: workers(judge, root.key("workers"), &file.workers),
        drain: judge.duration(root.key("drain"), &file.drain),
    };
    // After all of it, not at the first error: one run reports every problem.
    (!problems.has_errors()).then_some(config)
}

fn at_least_one(judge: &mut Collector<'_>, root: Location<'_>, written: &Node) {
    for (section, message, hint) in [
        ("listeners", "no listener: nothing would be served", "listeners: [ \"0.0.0.0:8080\" ]"),
        (
            "routes",
            "no route: every request would be refused",
            "routes: [ { path: /, upstream: \"http://host:port\" } ]",
        ),
    ] {
        let error = hinted(message, hint);
        // A misspelt key is reported once, not also as missing.
        let misspelt = || written.keys().any(|key| nearest::nearest(key, &[section]).is_some());
        match written.get(section).map(|entry| &entry.node.value) {
            None if misspelt() => {}
            None => judge.refuse(root, error),
            Some(Value::List(items)) if items.is_empty() => {
                judge.refuse(root.key(section), error);
            }
            Some(_) => {}
        }
    }
}

fn trust(judge: &mut Collector<'_>, spot: Location<'_>, client_ip: &ClientIp) -> Trust {
    Trust {
        proxies: judge.networks(spot.key("trusted_proxies"), &client_ip.trusted_proxies),
        header: forwarding(judge, spot.key("header"), &client_ip.header),
        recursive: client_ip.recursive,
    }
}

/// Header with the client address.
fn forwarding(judge: &mut Collector<'_>, spot: Location<'_>, text: &str) -> Forwarding {
    let known = [KnownName::XForwardedFor, KnownName::Forwarded, KnownName::XRealIp];
    // Names that weir knows otherwise have a meaning of their own, and so never an address.
    let may_carry = |name: &HeaderName| {
        KnownName::of(name.as_str().as_bytes()).is_none_or(|name| known.contains(&name))
    };
    let header = text.parse().ok().filter(|header: &Forwarding| may_carry(&header.name()));
    let hint = "write `x-forwarded-for`, `forwarded` or a name like `cf-connecting-ip`";
    let error = || hinted(format!("`{text}` is not a header with a client address"), hint);
    judge.take(spot, header.ok_or_else(error)).unwrap_or_default()
}

fn timeouts(judge: &mut Collector<'_>, spot: Location<'_>, file: &File) -> ClientTimeouts {
    ClientTimeouts {
        header: judge.positive(spot.key("header"), &file.timeouts.header),
        body: judge.positive(spot.key("body"), &file.timeouts.body),
        keepalive: judge.duration(spot.key("keepalive"), &file.timeouts.keepalive),
        write: judge.positive(spot.key("write"), &file.timeouts.write),
        connection: judge.positive(spot.key("connection"), &file.timeouts.connection),
    }
}

fn admin(judge: &mut Collector<'_>, spot: Location<'_>, file: &File) -> Option<SocketAddr> {
    let text = file.admin.address.as_deref()?;
    let address = judge.take(spot, address::listener(text))?;
    // Commands on the admin listener have no password.
    if !address.ip().is_loopback() {
        let hint = format!("use a loopback address, like `127.0.0.1:{}`", address.port());
        judge.refuse(spot, hinted(format!("`{text}` is reachable from other machines"), hint));
    }
    Some(address)
}

fn state(judge: &mut Collector<'_>, spot: Location<'_>, file: &File) -> StateSettings {
    let path = file.state.file.as_deref();
    if path.is_some_and(|path| path.is_empty() || path.ends_with('/')) {
        let hint = "write a path, like `/var/lib/weir/zones.bin`";
        judge.refuse(spot.key("file"), hinted("not a file", hint));
    }
    StateSettings {
        file: path.map(Into::into),
        interval: judge.positive(spot.key("interval"), &file.state.interval),
    }
}

fn header_limits(judge: &mut Collector<'_>, spot: Location<'_>, file: &File) -> HeaderLimits {
    HeaderLimits {
        // A head smaller than this could not hold a usual request, and a larger one is memory per
        // client.
        size: judge.size(spot.key("size"), &file.header_limits.size, HEAD_BYTES),
        count: file.header_limits.count as usize,
    }
}

fn workers(judge: &mut Collector<'_>, spot: Location<'_>, amount: &Amount) -> usize {
    match amount.0.as_str() {
        "auto" => available_parallelism().map_or(1, usize::from),
        // Digits only, or `1k` would be a valid number of workers.
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            judge.count(spot, amount, 1..=MAX_WORKERS)
        }
        text => {
            let hint = "write a whole number, or `auto`";
            judge.refuse(spot, hinted(format!("`{text}` is not a number of workers"), hint));
            1
        }
    }
}
