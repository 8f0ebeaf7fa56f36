//! Defaults of routes: keys of `defaults` become those of each route that does not write them.
//!
//! Guarantee: afterwards the tree has no `defaults`, and a route has no `none`. What a route writes
//! stays as it is: lists and maps are replaced and never joined, as nginx inherits directives, but for
//! the keys within `request`, `response` and their `headers`.

use std::{cmp::Reverse, collections::HashSet, path::Path};

use super::{
    problem::{Problems, Span},
    resolve::{collector::Collector, location::Location, pattern::read_host},
    yaml_tree::{MappingEntry, Node, Scalar, Value},
};
use crate::proxy::route::HostPattern;

/// Maps whose keys are inherited one by one.
const NESTED: [&str; 3] = ["request", "response", "headers"];
/// Keys of which a route has one: to write one of them is to have no other.
const ALTERNATIVES: [&str; 2] = ["auth", "basic_auth"];
/// Keys that a route can have `none` of.
const OPTIONAL: [&str; 3] = ["access", "auth", "basic_auth"];
/// Keys of `defaults` that say whose they are.
const OF_HOSTS: [&str; 2] = ["host", "hosts"];

/// Defaults for some hosts, or for all routes.
struct Group {
    /// Hosts as written, with their places; none for all routes.
    hosts: Vec<(HostPattern, Span)>,
    entries: Vec<MappingEntry>,
}

/// Gives each route what it inherits, in a tree whose shape was checked.
pub fn apply(tree: &mut Node, problems: &mut Problems) {
    let Value::Map(top) = &mut tree.value else { return };
    let defaults = top.iter().position(|entry| entry.key == "defaults");
    let groups = defaults.map(|index| groups(top.remove(index), problems)).unwrap_or_default();
    let routes = top.iter_mut().find(|entry| entry.key == "routes");
    let Some(Value::List(routes)) = routes.map(|entry| &mut entry.node.value) else { return };
    let mut used = HashSet::new();
    for route in routes {
        let applying = applying(&groups, route, problems);
        let Value::Map(own) = &mut route.value else { continue };
        // The most specific group comes first: what it gives, a later one cannot give again.
        for index in applying {
            inherit(own, &groups[index].entries, &mut used);
        }
        // After the last group: until here it keeps the others away.
        own.retain(|entry| !is_none(entry));
    }
    unused(&groups, &used, problems);
}

fn groups(defaults: MappingEntry, problems: &mut Problems) -> Vec<Group> {
    let maps = match defaults.node.value {
        Value::List(items) => items,
        value => vec![Node { span: defaults.node.span, value }],
    };
    let mut groups: Vec<Group> = Vec::new();
    for map in maps {
        let span = map.entries().first().map_or(map.span, |entry| entry.key_span);
        // The collector knows not to show a host that came from outside.
        let mut judge = Collector { problems: &mut *problems, base: Path::new("") };
        let hosts: Vec<(HostPattern, Span)> = hosts_of(&map)
            .filter_map(|(node, scalar)| {
                let host = judge.take(Location::root(node), read_host(&scalar.text))?;
                Some((host, node.span))
            })
            .collect();
        // By its keys, and not by its hosts: all of these may be wrong.
        let is_general = OF_HOSTS.iter().all(|key| map.get(key).is_none());
        if is_general && groups.iter().any(|group| group.hosts.is_empty()) {
            let hint = "join them, or write `host` or `hosts`";
            problems.error(span, "defaults for all routes are given twice", hint);
        }
        if !is_general && hosts.is_empty() {
            // Its hosts are wrong: it must not become one for all routes.
            continue;
        }
        for (host, span) in &hosts {
            let is_known = |group: &Group| group.hosts.iter().any(|(known, _)| known == host);
            if groups.iter().any(is_known) {
                let message = "this host has defaults twice";
                problems.error(*span, message, "join them in one place");
            }
        }
        let Value::Map(mut entries) = map.value else { continue };
        // What is left are keys of routes, and can be copied as they are.
        entries.retain(|entry| !OF_HOSTS.contains(&&*entry.key));
        groups.push(Group { hosts, entries });
    }
    groups
}

/// Hosts as written in a route or in defaults.
fn hosts_of(map: &Node) -> impl Iterator<Item = (&Node, &Scalar)> {
    let items = map.get("hosts").into_iter().flat_map(|entry| match &entry.node.value {
        Value::List(items) => &items[..],
        _ => &[],
    });
    let nodes = map.get("host").map(|entry| &entry.node).into_iter().chain(items);
    nodes.filter_map(|node| Some((node, node.scalar()?)))
}

/// Groups that apply to a route, the most specific one first.
fn applying(groups: &[Group], route: &Node, problems: &mut Problems) -> Vec<usize> {
    // A host that is none is reported where the route is resolved.
    let hosts = hosts_of(route).filter_map(|(_, scalar)| read_host(&scalar.text).ok());
    let mut hosts = hosts.map(|host| applying_to(groups, &host));
    // A route for every host is not one of the hosts that `defaults` name.
    let Some(first) = hosts.next() else { return applying_to(groups, &HostPattern::Any) };
    if hosts.any(|other| other != first) {
        let span = route.get("hosts").map_or(route.span, |entry| entry.key_span);
        let hint = "write a route for the hosts of each";
        problems.error(span, "the hosts of this route have different defaults", hint);
    }
    first
}

fn applying_to(groups: &[Group], host: &HostPattern) -> Vec<usize> {
    let mut found: Vec<(usize, &HostPattern)> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let covering = group.hosts.iter().map(|(own, _)| own).filter(|own| own.covers(host));
        // `*.a.test` and `a.test` in one group: the closer name says how specific it is.
        let best = covering.max_by_key(|own| own.weight());
        found.extend(match group.hosts.is_empty() {
            true => Some((index, &HostPattern::Any)),
            false => best.map(|own| (index, own)),
        });
    }
    // A stable sort, and each group has one best host, so no two have equal weight by chance.
    found.sort_by_key(|(_, own)| Reverse(own.weight()));
    found.into_iter().map(|(index, _)| index).collect()
}

fn inherit(own: &mut Vec<MappingEntry>, defaults: &[MappingEntry], used: &mut HashSet<Span>) {
    for default in defaults {
        let is_other = |entry: &MappingEntry| {
            ALTERNATIVES.contains(&&*default.key) && ALTERNATIVES.contains(&&*entry.key)
        };
        match own.iter().position(|entry| entry.key == default.key) {
            // With both, every request would be asked for a password and judged by a service.
            None if own.iter().any(is_other) => {}
            None => {
                used.insert(default.key_span);
                own.push(MappingEntry { is_inherited: true, ..default.clone() });
            }
            Some(index) => {
                let (Value::Map(own), Value::Map(defaults)) =
                    (&mut own[index].node.value, &default.node.value)
                else {
                    continue;
                };
                // Names like those of `set` are one value, as nginx takes all of `add_header` or none.
                if NESTED.contains(&&*default.key) {
                    inherit(own, defaults, used);
                }
            }
        }
    }
}

fn is_none(entry: &MappingEntry) -> bool {
    OPTIONAL.contains(&&*entry.key) && entry.node.scalar().is_some_and(|it| it.text == "none")
}

/// Warns about defaults that no route has: they were not even judged.
fn unused(groups: &[Group], used: &HashSet<Span>, problems: &mut Problems) {
    fn is_used(entry: &MappingEntry, used: &HashSet<Span>) -> bool {
        used.contains(&entry.key_span)
            || NESTED.contains(&&*entry.key)
                && entry.node.entries().iter().any(|entry| is_used(entry, used))
    }
    let entries = groups.iter().flat_map(|group| &group.entries);
    for entry in entries.filter(|entry| !is_used(entry, used) && !is_none(entry)) {
        let message = format!("no route has this default: `{}`", entry.key);
        problems.warn(entry.key_span, message, "remove it, or let a route do without its own");
    }
}
