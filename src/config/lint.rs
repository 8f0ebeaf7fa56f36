//! What can be used and is probably not what was meant.

use super::{Config, file::File, problem::Problems, resolve::spot::Spot, tree::Node};
use crate::{
    limit::{Millis, Mode},
    route::{PathPattern, Table},
};

/// The longest wait that does not look like a mistake: browsers and clients give up about then.
const LONG_WAIT: Millis = Millis(30_000);

/// Looks over a configuration without errors.
pub fn lint(config: &Config, file: &File, tree: &Node, problems: &mut Problems) {
    let root = Spot::root(tree);
    unreachable_routes(config, root, problems);
    unused(config, file, root, problems);
    limits(config, root, problems);
    trust(config, root, problems);
}

fn unreachable_routes(config: &Config, root: Spot<'_>, problems: &mut Problems) {
    let entries = config.routes.iter().enumerate().map(|(index, route)| (route.pattern.clone(), index)).collect();
    let order: Vec<usize> = Table::new(entries).iter().copied().collect();
    for (place, index) in order.iter().enumerate() {
        let pattern = &config.routes[*index].pattern;
        let Some(first) = order[..place].iter().find(|earlier| config.routes[**earlier].pattern.covers(pattern)) else {
            continue;
        };
        let spot = root.key("routes").item(*index);
        let spot = [spot.key("path"), spot.key("path_exact")].into_iter().find(|spot| spot.scalar().is_some());
        let message = "no request ever takes this route";
        let hint = format!("entry {first} of `routes`, counted from 0, takes them all before it");
        problems.warn(spot.unwrap_or(root).span, message, hint);
    }
}

fn unused(config: &Config, file: &File, root: Spot<'_>, problems: &mut Problems) {
    for (index, name) in file.zones.keys().enumerate() {
        if !config.routes.iter().any(|route| route.limits.iter().any(|(zone, _)| *zone == index)) {
            let hint = "apply it: limits: [ { zone: NAME, burst: N } ] on a route, or take it out";
            problems.warn(root.key("zones").name(name).span, format!("the zone `{name}` is not used"), hint);
        }
    }
    for (index, name) in file.upstreams.keys().enumerate() {
        if !config.routes.iter().any(|route| route.upstream == index) {
            let span = root.key("upstreams").name(name).span;
            problems.warn(span, format!("the upstream `{name}` is not used"), "name it on a route, or take it out");
        }
    }
}

fn limits(config: &Config, root: Spot<'_>, problems: &mut Problems) {
    for (index, route) in config.routes.iter().enumerate() {
        let spot = root.key("routes").item(index).key("limits");
        let page = matches!(&route.pattern.path, PathPattern::Prefix(path) if path == "/");
        for (number, (_, rule)) in route.limits.iter().enumerate() {
            let spot = spot.item(number);
            if page && rule.burst == 0 && rule.mode == Mode::Enforce {
                let hint = "a page and its assets arrive together: give it a burst, like `burst: 20`";
                problems.warn(spot.key("burst").span, "no burst on a route that takes every path", hint);
            }
            if rule.max_wait.is_some_and(|wait| wait > LONG_WAIT) {
                let message = "waits longer than most clients do";
                problems.warn(spot.key("max_wait").span, message, "keep `max_wait` at 30s or below");
            }
        }
    }
}

fn trust(config: &Config, root: Spot<'_>, problems: &mut Problems) {
    for (index, network) in config.client_ip.proxies.iter().enumerate() {
        if network.prefix_len() == 0 {
            let spot = root.key("client_ip").key("trusted_proxies").item(index);
            let hint = "name the networks your own proxies are in";
            problems.warn(spot.span, "everybody is believed: any client can choose its address", hint);
        }
    }
}
