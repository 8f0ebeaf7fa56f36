//! Lints: warnings about configurations that can be used but probably do not mean what they say.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::{
    networks,
    problem::Problems,
    resolve::location::Location,
    schema::{File, Listener},
    settings::{Config, RouteConfig, RuleConfig},
    yaml_tree::Node,
};
use crate::{
    downstream::listen_socket::UNIX_PEER,
    limit::{Key, Millis, Missing, Mode, Part, Rate, RuleSettings},
    proxy::route::{HostPattern, PathPattern, Pattern},
};

mod conditions;
mod routes;

/// Longest wait that does not look like a mistake: browsers and clients give up at about that time.
const LONG_WAIT: Millis = Millis(30_000);

/// Checks a configuration without errors.
pub fn lint(config: &Config, file: &File, tree: &Node, problems: &mut Problems) {
    let root = Location::root(tree);
    routes::lint(config, root, problems);
    chosen_buckets(config, root, problems);
    unused(config, file, root, problems);
    for (name, zone) in file.zones.keys().zip(&config.zones) {
        self::zone(&zone.key, &zone.exempt, root.key("zones").key(name), problems);
    }
    for (name, zone) in file.concurrency.keys().zip(&config.concurrency) {
        self::zone(&zone.key, &zone.exempt, root.key("concurrency").key(name), problems);
    }
    limits(config, root, problems);
    guesses(config, root, problems);
    trust(config, file, root, problems);
    lone_ipv6(config, file, root, problems);
    one_client(config, file, root, problems);
}

/// nginx and weir take only IPv6 at `[::]`; with a server that takes both there, IPv4 clients
/// worked, and are lost now.
fn lone_ipv6(config: &Config, file: &File, root: Location<'_>, problems: &mut Problems) {
    let every =
        |address: SocketAddr, ipv6| address.ip().is_unspecified() && address.is_ipv6() == ipv6;
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(address) = listener.address.tcp() else { continue };
        let port = address.port();
        let beside = config
            .listeners
            .iter()
            .filter_map(|other| other.address.tcp())
            .any(|other| every(other, false) && other.port() == port);
        // Port 0 becomes another port on each listener, so such a pair is not one.
        if !every(address, true) || (beside && port != 0) {
            continue;
        }
        let spot = address_of(file, index, root);
        let message =
            format!("`{}` accepts IPv6 only: IPv4 clients cannot connect", listener.address);
        problems.warn(spot.span, message, format!("write `:{port}` for both"));
    }
}

/// A unix socket without a trusted peer, beside limits by client address: all its clients are one.
fn one_client(config: &Config, file: &File, root: Location<'_>, problems: &mut Problems) {
    let counts = |key: &Key| key.parts.contains(&Part::ClientIp);
    let is_counted = config.zones.iter().any(|zone| counts(&zone.key))
        || config.concurrency.iter().any(|zone| counts(&zone.key));
    if !is_counted || config.client_ip.is_trusted(UNIX_PEER.ip()) {
        return;
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        if listener.address.path().is_some() {
            let message = format!("all clients of `{}` count as one client", listener.address);
            let hint = "add \"unix:\" to `client_ip.trusted_proxies` if the proxy in front sets its \
                header";
            problems.warn(address_of(file, index, root).span, message, hint);
        }
    }
}

/// Place of the address of a listener.
fn address_of<'a>(file: &File, index: usize, root: Location<'a>) -> Location<'a> {
    let spot = root.key("listeners").item(index);
    if matches!(file.listeners[index], Listener::Short(_)) { spot } else { spot.key("address") }
}

/// A route whose limits all count by what a client can choose: a client that makes up another value
/// for each request is not limited.
fn chosen_buckets(config: &Config, root: Location<'_>, problems: &mut Problems) {
    for (index, route) in config.routes.iter().enumerate() {
        let any = |is: fn(&Pattern) -> bool| route.patterns.iter().any(is);
        let is_chosen = |part: &Part| match part {
            part if is_of_client(part) => true,
            Part::Path => any(|pattern| !matches!(pattern.path, PathPattern::Exact(_))),
            Part::Host => any(|pattern| !matches!(pattern.host, HostPattern::Exact(_))),
            Part::Method => any(|pattern| pattern.methods.is_empty()),
            _ => false,
        };
        // Another path is at least another page; another value of a field is the same page again.
        let is_evaded = |rule: &&RuleConfig| {
            let parts = &config.zones[rule.zone].key.parts;
            parts.iter().any(is_of_client) || parts.iter().all(is_chosen)
        };
        // A rule with a condition is not meant for every client.
        let general = || route.limits.iter().filter(|rule| rule.scope.is_none());
        if general().next().is_some() && general().all(|rule| is_evaded(&rule)) {
            let message = "a client that sends a new value with each request is not limited";
            let hint = "add a limit that counts by `client_ip` alone, or by `global`";
            problems.warn(root.key("routes").item(index).key("limits").span, message, hint);
        }
    }
}

/// Returns true for a part that a client may leave out or make up.
fn is_of_client(part: &Part) -> bool {
    matches!(part, Part::Header(_) | Part::Cookie(_) | Part::Query(_) | Part::BasicUser)
}

/// Warns about a zone that limits fewer clients than it seems to, or more.
fn zone(key: &Key, exempt: &[IpNet], spot: Location<'_>, problems: &mut Problems) {
    let parts = &key.parts;
    if matches!(key.missing, Missing::Exempt | Missing::Empty)
        && parts.iter().all(is_of_client)
        && !spot.has("missing")
    {
        let message = "a client that omits this value is not limited";
        let hint =
            "write `missing: share` or `missing: reject`, or `missing: exempt` if that is meant";
        problems.warn(spot.key("key").span, message, hint);
    }
    for (index, part) in parts.iter().enumerate() {
        if matches!(part, Part::Header(name) if conditions::NAMES_THE_CLIENT.contains(&name.as_str()))
        {
            let at = spot.key("key");
            // A key of one part is a scalar, a list has an entry for each.
            let at = if at.scalar().is_some() { at } else { at.item(index) };
            let hint = "count by `client_ip`, and name the proxies in `client_ip.trusted_proxies`";
            problems.warn(at.span, format!("any client can send any value there: `{part}`"), hint);
        }
    }
    for every in everybody(exempt) {
        let hint = "list only the networks to exempt";
        problems.warn(
            spot.key("exempt").span,
            format!("this zone limits no client: `{every}` is every address"),
            hint,
        );
    }
    let counts_addresses = parts.contains(&Part::ClientIp);
    for (field, bits) in [("ipv4_prefix", key.ipv4_prefix), ("ipv6_prefix", key.ipv6_prefix)] {
        if counts_addresses && bits == 0 {
            let hint = "for one bucket shared by all clients use `key: global`";
            problems.warn(spot.key(field).span, "all addresses count as one client", hint);
        }
    }
}

/// Networks among these, merged, that contain all addresses of a family.
fn everybody(networks: &[IpNet]) -> impl Iterator<Item = IpNet> {
    // Merged first: `0.0.0.0/1` and `128.0.0.0/1` together are every address too.
    IpNet::aggregate(&networks.to_vec()).into_iter().filter(|network| network.prefix_len() == 0)
}

fn unused(config: &Config, file: &File, root: Location<'_>, problems: &mut Problems) {
    for (index, name) in file.zones.keys().enumerate() {
        if !config.routes.iter().any(|route| route.limits.iter().any(|rule| rule.zone == index)) {
            let hint = "apply it: limits: [ { zone: NAME, burst: N } ] on a route, or remove it";
            problems.warn(
                root.key("zones").name(name).span,
                format!("the zone `{name}` is not used"),
                hint,
            );
        }
    }
    for (index, name) in file.concurrency.keys().enumerate() {
        let uses = |route: &RouteConfig| route.concurrency.iter().any(|rule| rule.zone == index);
        if !config.routes.iter().any(uses) {
            let hint = "apply it: concurrency: [ { zone: NAME, max: N } ] on a route, or remove it";
            let message = format!("the zone of concurrency `{name}` is not used");
            problems.warn(root.key("concurrency").name(name).span, message, hint);
        }
    }
    for (index, name) in file.upstreams.keys().enumerate() {
        let asks = |route: &RouteConfig| route.auth.as_ref().is_some_and(|it| it.upstream == index);
        let uses = |route: &RouteConfig| route.action.upstream() == Some(&index) || asks(route);
        if !config.routes.iter().any(uses) {
            let span = root.key("upstreams").name(name).span;
            problems.warn(
                span,
                format!("the upstream `{name}` is not used"),
                "use it on a route, or remove it",
            );
        }
    }
}

/// A password can be guessed as often as the service behind it could be asked.
fn guesses(config: &Config, root: Location<'_>, problems: &mut Problems) {
    for (index, route) in config.routes.iter().enumerate() {
        let has_limit = route.limits.iter().any(|rule| rule.settings.mode == Mode::Enforce);
        if route.basic_auth.is_some() && !has_limit {
            let hint = "add a rule on a zone with `key: client_ip`, like `rate: 10r/m` with \
                `burst: 20, nodelay: true`";
            let spot = root.key("routes").item(index).name("basic_auth");
            problems.warn(spot.span, "passwords can be guessed without a limit", hint);
        }
    }
}

fn limits(config: &Config, root: Location<'_>, problems: &mut Problems) {
    for (index, route) in config.routes.iter().enumerate() {
        let spot = root.key("routes").item(index);
        route.condition.iter().for_each(|own| conditions::claims(own, spot.key("match"), problems));
        let spot = spot.key("limits");
        // Below `/api` a client decides itself when it calls. A browser loads a page's parts
        // together.
        let is_page =
            |pattern: &Pattern| matches!(&pattern.path, PathPattern::Prefix(path) if path == "/");
        let page = route.patterns.iter().any(is_page);
        for (number, limit) in route.limits.iter().enumerate() {
            let (spot, rule) = (spot.item(number), limit.settings);
            unreachable_burst(config, limit.zone, rule, spot, problems);
            limit.scope.iter().for_each(|scope| conditions::scope(scope, spot, problems));
            let is_general = limit.scope.is_none() && rule.mode == Mode::Enforce;
            if page && rule.burst == 0 && is_general {
                let hint =
                    "a page and its assets arrive together: give it a burst, like `burst: 20`";
                problems.warn(
                    spot.key("burst").span,
                    "no burst on a route that matches every path",
                    hint,
                );
            }
            if rule.max_wait.is_some_and(|wait| wait > LONG_WAIT) {
                long_wait(spot, problems);
            }
        }
        let spot = root.key("routes").item(index).key("concurrency");
        for rule in &route.concurrency {
            let (spot, settings) = (spot.item(rule.written), &rule.settings);
            settings.scope.iter().for_each(|scope| conditions::scope(scope, spot, problems));
            if settings.limit.queue > 0 && Millis::cut(settings.max_wait) > LONG_WAIT {
                long_wait(spot, problems);
            }
        }
    }
}

fn long_wait(spot: Location<'_>, problems: &mut Problems) {
    let message = "this wait is longer than most clients wait";
    problems.warn(spot.key("max_wait").span, message, "keep `max_wait` at 30s or below");
}

/// Warns about the last places of a burst that no request can get, because the wait for them is too
/// long or too many requests would wait.
fn unreachable_burst(
    config: &Config,
    zone: usize,
    rule: RuleSettings,
    spot: Location<'_>,
    problems: &mut Problems,
) {
    let (burst, held) = (u64::from(rule.burst), u64::from(rule.burst.saturating_sub(rule.delay)));
    let rate = config.zones[zone].rate;
    let within_wait = rule.max_wait.map_or(u128::MAX, |wait| places_within(wait, rate));
    // Half of the room is split among the zones: the share of another zone is never available to
    // this one.
    let others =
        (config.queue_max / 2 / config.zones.len().max(1)) * config.zones.len().saturating_sub(1);
    let room = (config.queue_max - others) as u128;
    // A request that would wait less than a millisecond passes and takes no room.
    let waiting = u128::from(held).saturating_sub(places_within(Millis::ZERO, rate));
    let mut tell = |reached: u128, why: String| {
        let message = format!("a burst of `{burst}` is never reached: {why}");
        let reached = u128::from(u64::from(rule.delay)) + reached;
        let hint = format!(
            "`burst: {reached}` does the same; to pass more without delay write `nodelay: true` \
            or `delay: N`"
        );
        problems.warn(spot.key("burst").span, message, hint);
    };
    if within_wait < u128::from(held) {
        let wait = rule.max_wait.unwrap_or(Millis::ZERO).0;
        tell(
            within_wait,
            format!("a request that would wait longer than `max_wait`, {wait} ms, is rejected"),
        );
    } else if room < waiting && rule.mode == Mode::Enforce {
        tell(
            room + places_within(Millis::ZERO, rate),
            format!("a request is rejected while {room} wait, the zone's share of `queue.max`"),
        );
    }
}

/// Places behind those without delay whose wait, as the engine counts it, is at most `longest`.
fn places_within(longest: Millis, rate: Rate) -> u128 {
    // In 128 bits, so that no product of these overflows.
    let (ticks, interval) = (u128::from(rate.ticks_per_ms()), u128::from(rate.interval_ticks()));
    // Waits are cut to the millisecond, so the longest one ends a tick before the next. At `3r/s`
    // the first place is 1000 ticks away, which is 333 ms and a third, and waits 333 ms.
    ((u128::from(longest.0) + 1) * ticks - 1) / interval
}

fn trust(config: &Config, file: &File, root: Location<'_>, problems: &mut Problems) {
    let spot = root.key("client_ip").key("trusted_proxies");
    for every in everybody(&config.client_ip.proxies) {
        let texts = &file.client_ip.trusted_proxies;
        let written = texts.iter().position(|text| {
            networks::network(text).is_some_and(|network| network.trunc() == every)
        });
        let spot = written.map_or(spot, |index| spot.item(index));
        let hint = "list the networks of your own proxies";
        problems.warn(
            spot.span,
            "every address is a trusted proxy: any client can choose its address",
            hint,
        );
    }
}
