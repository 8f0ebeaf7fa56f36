//! Target of a location: the upstream of its `proxy_pass`, or the reason why it has none.

use std::rc::Rc;

use super::{
    expressions::path_expression,
    levels::Level,
    patterns::is_expression,
    plan::{FilesPlan, RoutePlan},
    scalar::{quoted, quoted_always, single_quoted},
    static_files,
    translation::{NginxServer, Translation},
    tree::Directive,
    upstreams::ProxyTarget,
    urls::groups,
    values::{ValuePiece, pieces, with_set},
    ways_back::WayBack,
};
use crate::config::directives::Treatment;

/// Endings of a `proxy_pass` that forward the target of the request as it is.
const AS_RECEIVED: [&str; 4] = [
    "${request_uri}",
    "${uri}${is_args}${args}",
    "${document_uri}${is_args}${args}",
    "${uri}${is_args}${query_string}",
];

/// What a location does with a request.
#[derive(Debug)]
pub enum LocationAction<'a> {
    /// It forwards.
    Forward {
        /// To this upstream.
        target: ForwardTarget<'a>,
        /// With these directives: those of a named location where `try_files` ends in one.
        level: Rc<Level<'a>>,
    },
    /// It serves files.
    Files(FilesPlan),
    /// Something that weir cannot do.
    None(String),
}

/// Target of a `proxy_pass`, read.
#[derive(Debug)]
pub struct ForwardTarget<'a> {
    /// The `proxy_pass` or `grpc_pass`.
    pub directive: &'a Directive,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port, or the name of an `upstream` block.
    pub authority: String,
    /// Endpoints speak gRPC.
    pub is_grpc: bool,
    /// Differences.
    pub changes: Vec<String>,
    /// Value of `rewrite`, if the path changes.
    pub rewrite: Option<String>,
    /// Prefixes of the change, if it has any.
    pub back: Option<WayBack>,
    is_group: bool,
}

impl ForwardTarget<'_> {
    /// The same for the upstream.
    #[must_use]
    pub fn as_ref(&self) -> ProxyTarget<'_> {
        ProxyTarget {
            scheme: &self.scheme,
            authority: &self.authority,
            is_grpc: self.is_grpc,
            place: self.directive.place,
        }
    }

    /// Difference of the `Host` that the upstream gets. nginx sends the authority of the
    /// `proxy_pass` unless the file sets another. A public server behind `https` has many hosts, so
    /// it keeps nginx's.
    pub fn host(&self, level: &Level<'_>, kind: &str, route: &mut RoutePlan) -> Option<String> {
        if level.all(&format!("{kind}_set_header")).iter().any(|field| sets_host(field)) {
            return None;
        }
        if self.scheme == "https" && !self.is_group {
            route.set_request.insert("host".to_owned(), self.authority.clone());
            return None;
        }
        Some(format!("`Host` is forwarded as received, nginx sends `{}`", self.authority))
    }
}

fn sets_host(field: &Directive) -> bool {
    field.arg(0).eq_ignore_ascii_case("host")
}

/// Returns what a location does.
pub fn action<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    server: &NginxServer<'a>,
    location: Option<&'a Directive>,
) -> LocationAction<'a> {
    let passes = ["proxy_pass", "grpc_pass"];
    if let Some(pass) = passes.iter().find_map(|name| level.own(name).first().copied()) {
        return match target(state, pass, level, location) {
            Ok(target) => LocationAction::Forward { target, level: Rc::clone(level) },
            Err(reason) => {
                state.notes.refuse(pass, reason.clone());
                LocationAction::None(reason)
            }
        };
    }
    for name in ["fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"] {
        if !level.own(name).is_empty() {
            return LocationAction::None(format!("weir speaks HTTP, and no `{name}`"));
        }
    }
    if let Some(action) = named(state, level, server) {
        return action;
    }
    match static_files::files(state, level, server, location) {
        Ok(files) => LocationAction::Files(files),
        Err(reason) => LocationAction::None(reason),
    }
}

/// LocationAction of the named location in which `try_files` ends: the files before it are not there, so
/// all requests go to it.
fn named<'a>(
    state: &mut Translation<'a>,
    level: &Rc<Level<'a>>,
    server: &NginxServer<'a>,
) -> Option<LocationAction<'a>> {
    let try_files = level.one("try_files")?;
    let name = try_files.args.last().filter(|name| name.starts_with('@'))?;
    let location = server.locations.iter().copied().find(|location| location.arg(0) == name)?;
    let inside = Level::of(location.children(), Some(&server.level));
    let passes = ["proxy_pass", "grpc_pass"];
    let pass = passes.iter().find_map(|name| inside.own(name).first().copied())?;
    let mut target = target(state, pass, &inside, None).ok()?;
    let change = format!("every request goes to `{name}`, without a look for a file");
    state.notes.refuse(try_files, change.clone());
    state.notes.tell(location, Treatment::Noted, "its upstream gets every request");
    target.changes.push(change);
    Some(LocationAction::Forward { target, level: inside })
}

/// Reason why a target with variables has no upstream. In capitals they are rather those of the
/// environment, which the entry point of nginx's image replaces before nginx reads the file.
fn unknown(text: &str) -> String {
    let is_of_environment = |piece: &ValuePiece| match piece {
        ValuePiece::Text(_) => true,
        ValuePiece::Variable(name) => !name.bytes().any(|byte| byte.is_ascii_lowercase()),
    };
    match pieces(text).iter().all(is_of_environment) {
        true => format!("`{text}` is of the environment: import what envsubst makes of the file"),
        false => format!("`{text}` is only known with the request"),
    }
}

fn target<'a>(
    state: &mut Translation<'a>,
    pass: &'a Directive,
    level: &Level<'a>,
    location: Option<&Directive>,
) -> Result<ForwardTarget<'a>, String> {
    let is_grpc = pass.name == "grpc_pass";
    let written = pass.arg(0);
    let text = with_set(written, level);
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None if is_grpc => ("http".to_owned(), &*text),
        None => return Err(unknown(written)),
    };
    let scheme = match &*scheme {
        "http" | "grpc" => "http",
        "https" | "grpcs" => "https",
        other => return Err(format!("weir speaks no `{other}`")),
    };
    let rest = AS_RECEIVED.iter().find_map(|ending| rest.strip_suffix(ending)).unwrap_or(rest);
    if rest.starts_with("unix:") {
        return Err("unix sockets are not supported".to_owned());
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains('$') {
        return Err(unknown(authority));
    }
    let (mut changes, mut rewrite) = (Vec::new(), None);
    state.notes.carry(pass);
    if written.contains('$') {
        level.all("set").iter().for_each(|set| state.notes.carry(set));
    }
    let prefix = location.map_or("/", |location| location.modifier_and_path().1);
    let expression = location.filter(|location| is_expression(location));
    let mut back = None;
    // With a variable nginx takes the path as the whole of what it sends.
    if let Some(location) = expression.filter(|_| !path.is_empty()) {
        rewrite = Some(of_groups(state, location, path)?);
    } else if !path.is_empty() && (path != prefix || written.contains('$')) {
        let planned = self::rewrite(prefix, path).filter(|_| !written.contains('$'));
        let planned = planned.filter(|text| state.loads.rewrite(prefix, text).is_none());
        if planned.is_none() {
            let change =
                format!("the path is forwarded as received, nginx sends `{path}` for `{prefix}`");
            state.notes.refuse(pass, change.clone());
            changes.push(change);
        } else {
            back = Some(WayBack::of(prefix, path));
            if prefix.ends_with('/') != path.ends_with('/') {
                let change =
                    format!("whole segments change, nginx puts `{path}` in place of `{prefix}`");
                state.notes.tell(pass, Treatment::Noted, change.clone());
                changes.push(change);
            }
        }
        rewrite = planned;
    }
    Ok(ForwardTarget {
        directive: pass,
        scheme: scheme.to_owned(),
        authority: authority.to_owned(),
        is_grpc,
        changes,
        rewrite,
        back,
        is_group: state.groups.contains_key(authority),
    })
}

/// Value of `rewrite` for a path with groups of the expression of its location.
fn of_groups(
    state: &mut Translation<'_>,
    location: &Directive,
    path: &str,
) -> Result<String, String> {
    let (kind, text) = location.modifier_and_path();
    let expression = path_expression(text, kind == "~*");
    let refused = || format!("`{path}` is only known with the request");
    let with_query = path.strip_suffix("${is_args}${args}");
    let to = groups(with_query.unwrap_or(path), &expression.text).ok_or_else(refused)?;
    // nginx sends the text alone, and weir appends the query unless `to` ends in a `?`.
    let end = if with_query.is_some() { "" } else { "?" };
    let (regex, to) = (single_quoted(&expression.text), quoted_always(&(to + end)));
    let rewrite = format!("{{ regex: {regex}, to: {to} }}");
    match state.loads.rewrite("/", &rewrite) {
        Some(_) => Err(refused()),
        None => Ok(rewrite),
    }
}

/// Value of `rewrite` that puts `path` in place of the beginning `prefix`; none if nothing changes
/// for whole segments.
fn rewrite(prefix: &str, path: &str) -> Option<String> {
    let keys = [("strip_prefix", prefix), ("add_prefix", path)];
    let keys = keys.map(|(key, path)| (key, path.trim_end_matches('/')));
    let written: Vec<_> = keys
        .iter()
        .filter(|(_, path)| !path.is_empty())
        .map(|(key, path)| format!("{key}: {}", quoted(path)))
        .collect();
    let is_change = !written.is_empty() && keys[0].1 != keys[1].1;
    is_change.then(|| format!("{{ {} }}", written.join(", ")))
}
