//! Rules of access: those that weir has too, and the routes that are closed for the others.

use std::rc::Rc;

use ipnet::IpNet;

use super::{
    levels::Level,
    plan::{AuthPlan, EVERY_NETWORK, GuardPlan},
    scalar::quoted,
    translation::{NginxServer, Translation},
    tree::Directive,
    upstreams::{ProxyTarget, upstream},
};
use crate::config::{directives::Treatment, networks};

/// Fields that a location may set for the question of `auth_request`: weir sends them, or needs
/// none of them.
const OF_QUESTIONS: [&str; 16] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
];

/// Plans who may pass: networks, passwords, another service's word.
///
/// # Errors
/// Reason why the route must not be open: a rule that weir does not have, or a path that only nginx itself
/// requests.
pub fn conditions<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    server: &NginxServer<'a>,
) -> Result<GuardPlan, String> {
    // All of them are looked at, so that each directive has its line.
    let networks = networks(state, level);
    let password = password(state, level);
    let service = service(state, level, server);
    let closed = closed(state, level, &server.level);
    let (allow, deny) = networks?;
    let (basic_auth, auth) = (password?, service?);
    closed?;
    if basic_auth.is_some() && auth.is_some() {
        return Err("weir asks for a password or a service, not both".to_owned());
    }
    let mut plan = GuardPlan { allow, deny, basic_auth, auth, is_any: false };
    satisfy(state, level, &mut plan)?;
    Ok(plan)
}

/// `allow` and `deny`: the first rule that matches counts in nginx. In weir `deny` wins, so their
/// order may only say the same.
fn networks<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
) -> Result<(Option<Vec<String>>, Vec<String>), String> {
    let mut rules = level.list(&["allow", "deny"]);
    rules.sort_by_key(|rule| rule.id);
    let (mut allowed, mut denied) = (Vec::<IpNet>::new(), Vec::<IpNet>::new());
    let (mut last, mut fault) = (None, None);
    for rule in &rules {
        let network = networks::network(rule.arg(0)).map(|network| network.trunc());
        match (last, rule.arg(0), network) {
            (Some(_), ..) => state.notes.discard(rule, "a rule for all comes first"),
            (None, "all", _) => last = Some(*rule),
            (None, "unix:", _) => state.notes.discard(rule, "weir listens on no unix socket"),
            (None, _, Some(network)) => {
                let overlaps = |other: &IpNet| other.contains(&network) || network.contains(other);
                if rule.name == "allow" {
                    allowed.push(network);
                } else {
                    if allowed.iter().any(overlaps) {
                        fault.get_or_insert(
                            "`deny` always wins, and nginx allows a part of it first",
                        );
                    }
                    denied.push(network);
                }
            }
            (None, ..) => {
                fault.get_or_insert("not a network");
            }
        }
    }
    if let Some(fault) = fault {
        rules
            .iter()
            .for_each(|rule| state.notes.refuse(rule, format!("{fault}: the route is closed")));
        return Err(fault.to_owned());
    }
    let texts = |networks: Vec<IpNet>| networks.iter().map(ToString::to_string).collect::<Vec<_>>();
    let is_closed = last.is_some_and(|last| last.name == "deny");
    for rule in &rules {
        let is_network = networks::network(rule.arg(0)).is_some();
        match is_network || (is_closed && last.is_some_and(|last| last.id == rule.id)) {
            true if rule.name == "deny" || is_closed => state.notes.carry(rule),
            _ if rule.arg(0) != "unix:" => state.notes.discard(rule, "every network is allowed"),
            _ => {}
        }
    }
    Ok(match (is_closed, allowed.is_empty()) {
        (true, true) => (None, EVERY_NETWORK.map(str::to_owned).to_vec()),
        (true, false) => (Some(texts(allowed)), texts(denied)),
        (false, _) => (None, texts(denied)),
    })
}

fn satisfy<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    plan: &mut GuardPlan,
) -> Result<(), String> {
    let Some(satisfy) = level.one("satisfy") else { return Ok(()) };
    let has_users = plan.basic_auth.is_some() || plan.auth.is_some();
    let has_networks = plan.allow.is_some() || !plan.deny.is_empty();
    match (satisfy.arg(0), has_users && has_networks, plan.allow.is_some()) {
        ("any", true, true) => {
            plan.is_any = true;
            let reason = if plan.deny.is_empty() { "" } else { "a denied network never gets in" };
            state.notes.tell(satisfy, Treatment::Carried, reason);
        }
        ("any", true, false) => {
            let reason = "weir has no networks that need credentials, only some that do not";
            state.notes.refuse(satisfy, format!("{reason}: the route is closed"));
            return Err(reason.to_owned());
        }
        ("any", false, _) => state.notes.discard(satisfy, "there is one condition only"),
        _ => state.notes.discard(satisfy, "the default"),
    }
    Ok(())
}

/// `auth_basic`: the file and the realm.
fn password<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
) -> Result<Option<(String, String)>, String> {
    let Some(directive) = level.one("auth_basic") else { return Ok(None) };
    if directive.arg(0) == "off" {
        state.notes.discard(directive, "the default");
        return Ok(None);
    }
    let file = level.one("auth_basic_user_file");
    let (realm, path) = (directive.arg(0), file.map_or("", |file| file.arg(0)));
    let reason = match (realm.contains('$') || path.contains('$'), path.is_empty()) {
        (true, _) => "the file or the realm is only known with the request",
        (_, true) => "there is no `auth_basic_user_file`",
        _ if realm.is_empty() || !realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) => {
            "a realm is a text of ASCII"
        }
        _ => {
            state.notes.carry(directive);
            let reason = "`weir check` names hashes other than bcrypt, argon2 and `$apr1$`";
            file.iter().for_each(|file| state.notes.tell(file, Treatment::Carried, reason));
            return Ok(Some((path.to_owned(), realm.to_owned())));
        }
    };
    state.notes.refuse(directive, format!("{reason}: the route is closed"));
    Err(reason.to_owned())
}

/// `auth_request`: the upstream and the path of its location.
fn service<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    server: &NginxServer<'a>,
) -> Result<Option<AuthPlan>, String> {
    let Some(directive) = level.one("auth_request") else { return Ok(None) };
    if directive.arg(0) == "off" {
        state.notes.discard(directive, "the default");
        return Ok(None);
    }
    match asked(state, directive, server) {
        Ok(mut plan) => {
            state.notes.carry(directive);
            plan.variables = variables(state, level);
            Ok(Some(plan))
        }
        Err(reason) => {
            state.notes.refuse(directive, format!("{reason}: the route is closed"));
            Err(reason)
        }
    }
}

fn asked<'a>(
    state: &mut Translation<'a>,
    directive: &Directive,
    server: &NginxServer<'a>,
) -> Result<AuthPlan, String> {
    let uri = directive.arg(0);
    let is_it = |location: &&&Directive| match &location.args[..] {
        [text] => text == uri,
        [kind, text] => matches!(&**kind, "=" | "^~") && text == uri,
        _ => false,
    };
    let location = server.locations.iter().find(is_it).copied();
    let location = location.ok_or_else(|| format!("there is no location `{uri}`"))?;
    let inside = Level::of(location.children(), Some(&server.level));
    let pass = inside.own("proxy_pass").first().copied();
    let pass = pass.ok_or_else(|| format!("`{uri}` has no `proxy_pass`"))?;
    let (scheme, rest) = pass.arg(0).split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if !matches!(scheme, "http" | "https") || rest.contains('$') || authority.starts_with("unix:") {
        return Err(format!("`{}` cannot be asked", pass.arg(0)));
    }
    for field in inside.all("proxy_set_header") {
        let name = field.arg(0).to_ascii_lowercase();
        if !OF_QUESTIONS.contains(&&*name) && name != "x-real-ip" {
            return Err(format!("weir does not send `{name}` to the service"));
        }
        state.notes.discard(field, "the question has fields of weir's own");
    }
    for name in ["proxy_pass_request_body", "proxy_pass_request_headers"] {
        let found = inside.own(name).iter();
        found.for_each(|it| {
            state.notes.discard(it, "the question has no body, and fields of weir's own");
        });
    }
    let target = ProxyTarget { scheme, authority, is_grpc: false, place: pass.place };
    let upstream = upstream(state, target, &inside)?;
    state.notes.tell(pass, Treatment::Carried, "only weir asks there");
    let path = if path.is_empty() { uri } else { path };
    Ok(AuthPlan { upstream, path: path.to_owned(), ..AuthPlan::default() })
}

/// Variables with a field of the verdict, and the name of that field.
fn variables<'a>(state: &mut Translation<'a>, level: &Rc<Level<'a>>) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    for set in level.all("auth_request_set") {
        let field = set.arg(1).strip_prefix("$upstream_http_");
        let variable = set.arg(0).strip_prefix('$');
        match variable.zip(field).filter(|(_, field)| !field.is_empty()) {
            Some((variable, field)) => {
                state.notes.carry(set);
                variables.push((variable.to_owned(), field.replace('_', "-")));
            }
            None => state.notes.refuse(set, "only fields of the verdict are forwarded"),
        }
    }
    variables
}

/// Rules for which weir has nothing.
fn closed<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    server: &Level<'_>,
) -> Result<(), String> {
    if let Some(directive) = level.own("internal").first() {
        state.notes.refuse(directive, "weir has no internal requests: the route is closed");
        return Err("weir has no internal requests".to_owned());
    }
    for name in ["auth_jwt", "access_by_lua_block", "access_by_lua_file"] {
        if level.one(name).is_some_and(|directive| directive.arg(0) != "off") {
            return Err(format!("weir has no `{name}`"));
        }
    }
    if lets_clients_choose(server) {
        return Err("weir requires a client certificate or asks for none".to_owned());
    }
    Ok(())
}

/// Keys of the conditions and their values.
#[must_use]
pub fn lines(plan: &GuardPlan) -> Vec<String> {
    let list =
        |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let mut lines = Vec::new();
    let mut keys = Vec::new();
    keys.extend(plan.allow.as_ref().map(|allow| format!("allow: [ {} ]", list(allow))));
    if !plan.deny.is_empty() {
        keys.push(format!("deny: [ {} ]", list(&plan.deny)));
    }
    if plan.is_any {
        keys.push("satisfy: any".to_owned());
    }
    if !keys.is_empty() {
        lines.push(format!("access: {{ {} }}", keys.join(", ")));
    }
    if let Some((file, realm)) = &plan.basic_auth {
        let (file, realm) = (quoted(file), quoted(realm));
        lines.push(format!("basic_auth: {{ file: {file}, realm: {realm} }}"));
    }
    if let Some(auth) = &plan.auth {
        let place = match auth.upstream.contains("://") {
            true => format!("url: {}", quoted(&format!("{}{}", auth.upstream, auth.path))),
            false => format!("upstream: {}, path: {}", quoted(&auth.upstream), quoted(&auth.path)),
        };
        let pass = match auth.pass.is_empty() {
            true => String::new(),
            false => format!(", pass: [ {} ]", list(&auth.pass)),
        };
        lines.push(format!("auth: {{ {place}{pass} }}"));
    }
    lines
}

/// Returns true if clients without a certificate get in, and nginx or the application looks later who
/// they are. Such a listener is none of weir's, and without the question no one is known.
fn lets_clients_choose(server: &Level<'_>) -> bool {
    let verify = server.one("ssl_verify_client").map_or("off", |verify| verify.arg(0));
    let is_required = verify == "on" && server.one("ssl_client_certificate").is_some();
    verify != "off" && !is_required
}
