//! The plan as YAML with comments.

use std::collections::BTreeMap;

use super::{
    plan::{
        EndpointPlan, FilesPlan, ImportPlan, ListenerPlan, PathKind, Remarks, RoutePlan,
        UpstreamPlan, ZonePlan,
    },
    scalar::{quoted, quoted_always, single_quoted},
    tree::one_line,
};

/// Writes the whole file.
#[must_use]
pub fn write(plan: &ImportPlan) -> String {
    let mut out = Sheet::default();
    for line in &plan.head {
        out.comment(0, line);
    }
    out.section("listeners");
    plan.listeners.iter().for_each(|listener| out.listener(listener));
    out.client_ip(plan);
    if !plan.zones.is_empty() {
        out.section("zones");
        if plan.zones.values().any(|zone| zone.key.iter().any(|part| part == "client_ip")) {
            out.comment(1, "An IPv6 client is its /64; `ipv6_prefix: 128` counts as nginx does.");
        }
        plan.zones.iter().for_each(|(name, zone)| out.zone(name, zone));
    }
    if !plan.concurrency.is_empty() {
        out.section("concurrency");
        for (name, zone) in &plan.concurrency {
            out.changes(1, &zone.remarks);
            let text = format!("{}: {{ {} }}", quoted(name), zone.keys());
            out.line(1, &text, &zone.remarks.origin);
        }
    }
    if !plan.upstreams.is_empty() {
        out.section("upstreams");
        plan.upstreams.iter().for_each(|upstream| out.upstream(upstream));
    }
    out.section("routes");
    // A route of several hosts is written once.
    let shares = |one: &RoutePlan, other: &RoutePlan| {
        let has_hosts = one.host.is_some() && other.host.is_some();
        has_hosts && *one == RoutePlan { host: one.host.clone(), ..other.clone() }
    };
    for routes in plan.routes.chunk_by(shares) {
        let hosts: Vec<&str> = routes.iter().filter_map(|route| route.host.as_deref()).collect();
        out.route(&routes[0], &hosts, plan.reject_status);
    }
    if !plan.settings.is_empty() {
        out.text.push('\n');
    }
    for (setting, remarks) in &plan.settings {
        out.changes(0, remarks);
        out.line(0, setting, &remarks.origin);
    }
    out.text
}

#[derive(Default)]
struct Sheet {
    text: String,
}

impl Sheet {
    fn line(&mut self, depth: usize, text: &str, comment: &str) {
        let indent = "  ".repeat(depth);
        let comment = match comment {
            "" => String::new(),
            comment => format!("  # {}", one_line(comment)),
        };
        self.text += &format!("{indent}{text}{comment}\n");
    }

    fn comment(&mut self, depth: usize, text: &str) {
        self.line(depth, &format!("# {}", one_line(text)), "");
    }

    fn changes(&mut self, depth: usize, remarks: &Remarks) {
        for change in &remarks.changes {
            self.comment(depth, change);
        }
    }

    fn section(&mut self, name: &str) {
        let blank = if self.text.is_empty() { "" } else { "\n" };
        self.text += &format!("{blank}{name}:\n");
    }

    fn listener(&mut self, listener: &ListenerPlan) {
        let ListenerPlan { address, tls, keys, remarks } = listener;
        self.changes(1, remarks);
        let address = quoted_always(address);
        let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        let Some(tls) = tls else {
            let text = match keys.is_empty() {
                true => format!("- {address}"),
                false => format!("- {{ address: {address}, {} }}", keys.join(", ")),
            };
            return self.line(1, &text, &remarks.origin);
        };
        self.line(1, &format!("- address: {address}"), &remarks.origin);
        keys.iter().for_each(|key| self.line(2, key, ""));
        self.line(2, "tls:", "");
        self.line(3, "certificates:", "");
        for (cert, key, origin) in &tls.certificates {
            let pair = format!("- {{ cert: {}, key: {} }}", quoted(cert), quoted(key));
            self.line(4, &pair, origin);
        }
        for (key, value) in &tls.keys {
            self.line(3, &format!("{key}: {value}"), "");
        }
    }

    fn client_ip(&mut self, plan: &ImportPlan) {
        if plan.trusted_proxies.is_empty() {
            return;
        }
        self.section("client_ip");
        self.line(1, "trusted_proxies:", "");
        for (network, origin) in &plan.trusted_proxies {
            self.line(2, &format!("- {}", quoted(network)), origin);
        }
        if let Some((header, remarks)) = &plan.forwarding {
            self.changes(1, remarks);
            self.line(1, &format!("header: {header}"), &remarks.origin);
        }
        if let Some(origin) = &plan.last_hop {
            self.line(1, "recursive: false", origin);
        }
    }

    fn zone(&mut self, name: &str, zone: &ZonePlan) {
        self.changes(1, &zone.remarks);
        let mut text = format!("{}: {{ {}", quoted(name), zone.key_and_rate());
        if let Some(capacity) = &zone.capacity {
            text += &format!(", capacity: {capacity}");
        }
        if !zone.exempt.is_empty() {
            let networks: Vec<_> = zone.exempt.iter().map(|network| quoted(network)).collect();
            text += &format!(", exempt: [ {} ]", networks.join(", "));
        }
        self.line(1, &format!("{text} }}"), &zone.remarks.origin);
    }

    fn upstream(&mut self, upstream: &UpstreamPlan) {
        self.changes(1, &upstream.remarks);
        self.line(1, &format!("{}:", quoted(&upstream.name)), &upstream.remarks.origin);
        let endpoint = |endpoint: &EndpointPlan| {
            let EndpointPlan { url, weight, is_backup } = endpoint;
            let weight = if *weight == 1 { String::new() } else { format!(", weight: {weight}") };
            let backup = if *is_backup { ", backup: true" } else { "" };
            match (&*weight, backup) {
                ("", "") => quoted_always(url),
                _ => format!("{{ address: {}{weight}{backup} }}", quoted_always(url)),
            }
        };
        let endpoints: Vec<_> = upstream.endpoints.iter().map(endpoint).collect();
        match &endpoints[..] {
            [one] => self.line(2, &format!("endpoints: [ {one} ]"), ""),
            all => {
                self.line(2, "endpoints:", "");
                all.iter().for_each(|one| self.line(3, &format!("- {one}"), ""));
            }
        }
        upstream.lines.iter().for_each(|line| self.line(2, line, ""));
    }

    fn route(&mut self, route: &RoutePlan, hosts: &[&str], general_status: u16) {
        self.changes(1, &route.remarks);
        let path = match route.kind {
            PathKind::Regex => single_quoted(&route.path),
            _ => quoted(&route.path),
        };
        self.line(1, &format!("- {}: {path}", route.kind.key()), &route.remarks.origin);
        if route.kind == PathKind::OverRegex {
            self.line(2, "over_regex: true", "");
        }
        match hosts {
            [] => {}
            [host] => self.line(2, &format!("host: {}", quoted(host)), ""),
            hosts => {
                let hosts: Vec<_> = hosts.iter().map(|host| quoted(host)).collect();
                self.line(2, &format!("hosts: [ {} ]", hosts.join(", ")), "");
            }
        }
        if !route.methods.is_empty() {
            let methods: Vec<_> = route.methods.iter().map(|method| quoted(method)).collect();
            self.line(2, &format!("methods: [ {} ]", methods.join(", ")), "");
        }
        match (&route.action, &route.files) {
            (Some(line), _) => self.line(2, line, ""),
            (None, Some(files)) => self.files(files),
            (None, None) => self.line(2, &format!("upstream: {}", quoted(&route.upstream)), ""),
        }
        if let Some(rewrite) = &route.rewrite {
            self.line(2, &format!("rewrite: {rewrite}"), "");
        }
        super::access::lines(&route.guard).iter().for_each(|line| self.line(2, line, ""));
        if !route.limits.is_empty() {
            self.line(2, "limits:", "");
            for rule in &route.limits {
                self.line(3, &format!("- {{ {} }}", rule.text), &rule.origin);
            }
        }
        if !route.concurrency.is_empty() {
            self.line(2, "concurrency:", "");
            let usual = route.reject_status.unwrap_or(general_status);
            for rule in &route.concurrency {
                let status = match rule.status {
                    status if status == usual => String::new(),
                    status => format!(", status: {status}"),
                };
                self.line(3, &format!("- {{ {}{status} }}", rule.text), &rule.origin);
            }
        }
        for rule in &route.lost_limits {
            self.comment(2, &format!("limits: [ {{ {rule} }} ]   (add the zone first)"));
        }
        if let Some(status) = route.reject_status {
            self.line(2, &format!("reject: {{ status: {status} }}"), "");
        }
        let max_body = route.max_body.as_ref().map(|size| format!("max_body: {size}"));
        self.message("request", max_body, &route.set_request, &route.remove_request);
        let codings = &route.compress;
        let compress =
            (!codings.is_empty()).then(|| format!("compress: [ {} ]", codings.join(", ")));
        self.message("response", compress, &route.set_response, &route.remove_response);
    }

    fn files(&mut self, files: &FilesPlan) {
        if let Some(prefix) = &files.strip_prefix {
            self.line(2, &format!("rewrite: {{ strip_prefix: {} }}", quoted(prefix)), "");
        }
        self.line(2, "files:", "");
        self.line(3, &format!("root: {}", quoted(&files.root)), "");
        if !files.index.is_empty() {
            let names: Vec<_> = files.index.iter().map(|name| quoted(name)).collect();
            self.line(3, &format!("index: [ {} ]", names.join(", ")), "");
        }
        if let Some(fallback) = &files.fallback {
            self.line(3, &format!("fallback: {}", quoted(fallback)), "");
        }
        if !files.precompressed.is_empty() {
            self.line(3, &format!("precompressed: [ {} ]", files.precompressed.join(", ")), "");
        }
        if let Some(policy) = &files.cache_control {
            self.line(3, &format!("cache_control: {}", quoted_always(policy)), "");
        }
    }

    fn message(
        &mut self,
        name: &str,
        first: Option<String>,
        set: &BTreeMap<String, String>,
        remove: &[String],
    ) {
        let has_edits = !set.is_empty() || !remove.is_empty();
        match (first, has_edits) {
            (None, false) => return,
            (Some(first), false) => return self.line(2, &format!("{name}: {{ {first} }}"), ""),
            (first, true) => {
                self.line(2, &format!("{name}:"), "");
                first.iter().for_each(|first| self.line(3, first, ""));
            }
        }
        self.line(3, "headers:", "");
        if !set.is_empty() {
            self.line(4, "set:", "");
            for (name, value) in set {
                self.line(5, &format!("{}: {}", quoted(name), quoted_always(value)), "");
            }
        }
        if !remove.is_empty() {
            let names: Vec<_> = remove.iter().map(|name| quoted(name)).collect();
            self.line(4, &format!("remove: [ {} ]", names.join(", ")), "");
        }
    }
}
