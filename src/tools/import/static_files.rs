//! Files of a location: `root`, `alias`, `index`, `try_files`, `expires`, and precompressed ones.
//!
//! Guarantee: no file is served that an expression, a script or a condition of its server keeps from
//! clients in nginx, such as the source of a script
//! (`files_beside_scripts_are_closed` in tests/config/import.rs).

use super::{
    amounts::time_ms,
    levels::Level,
    plan::FilesPlan,
    translation::{NginxServer, Translation},
    tree::Directive,
};
use crate::{
    config::directives::{self, Context, Treatment},
    files::name::is_name,
};

/// Directives that keep no file from a client.
const HARMLESS: [&str; 9] = [
    "access_log",
    "add_header",
    "error_log",
    "etag",
    "expires",
    "gzip",
    "gzip_static",
    "log_not_found",
    "tcp_nodelay",
];
/// Directives of a location that does not serve files itself, or not by their path.
const RESPONDS: [&str; 8] = [
    "proxy_pass",
    "grpc_pass",
    "fastcgi_pass",
    "uwsgi_pass",
    "scgi_pass",
    "memcached_pass",
    "return",
    "alias",
];
/// Directives without counterpart whose absence shows no file.
const WITHOUT: [&str; 9] = [
    "add_trailer",
    "autoindex",
    "autoindex_exact_size",
    "autoindex_format",
    "autoindex_localtime",
    "error_page",
    "limit_rate",
    "limit_rate_after",
    "location",
];
/// Age that nginx calls `max`: ten years.
const MAX_AGE: &str = "max-age=315360000";

/// Plans the files of a location; without one of its server.
///
/// # Errors
/// Reason why the location is closed.
pub fn files<'a>(
    state: &mut Translation<'a>,
    level: &Level<'a>,
    server: &NginxServer<'a>,
    location: Option<&'a Directive>,
) -> Result<FilesPlan, String> {
    if let Some(other) = server.locations.iter().find_map(|location| guard(location)) {
        return Err(format!("`{}` could keep files from clients", other.text()));
    }
    if let Some(other) = location.and_then(|location| location.children().iter().find(unknown)) {
        return Err(format!("`{}` may do something else with files", other.text()));
    }
    let mut plan = FilesPlan::default();
    let directive = match (level.own("alias").first(), level.one("alias"), level.one("root")) {
        (Some(alias), _, _) => {
            plan.strip_prefix = stripped(location, alias.arg(0))?;
            *alias
        }
        (None, Some(_), _) => return Err("its `alias` is that of another location".to_owned()),
        (None, None, Some(root)) => root,
        (None, None, None) => return Err("no `root` is in the files".to_owned()),
    };
    plan.root = directory(directive.arg(0))?;
    index(state, level, &mut plan)?;
    if let Some(try_files) = level.one("try_files") {
        plan.fallback = fallback(state, server, location, try_files, &plan)?;
    }
    settings(state, level, &mut plan);
    state.notes.tell(directive, Treatment::Noted, "names that begin with a dot are not found");
    Ok(plan)
}

/// Location with an expression that may do something else with a file than send it.
fn guard(location: &Directive) -> Option<&Directive> {
    let is_expression = location.modifier_and_path().0.starts_with('~');
    let harms = |child: &Directive| !HARMLESS.contains(&&*child.name) && child.name != "location";
    if is_expression && location.children().iter().any(harms) {
        return Some(location);
    }
    location.named("location").find_map(guard)
}

/// Returns true for a directive of a location without counterpart: a script, a condition, a signed
/// link.
fn unknown(directive: &&Directive) -> bool {
    let row = directives::find(&directive.name, Context::Location);
    let is_known = row.is_some_and(|row| row.treatment != Treatment::Unsupported);
    directive.name == "if" || !is_known && !WITHOUT.contains(&&*directive.name)
}

/// Directory as weir opens it.
fn directory(text: &str) -> Result<String, String> {
    match text {
        text if text.contains('$') => Err(format!("`{text}` is only known with the request")),
        text if !text.starts_with('/') => Err(format!("`{text}` is relative to nginx's folder")),
        text => match text.trim_end_matches('/') {
            "" => Err("the root is the whole disk".to_owned()),
            text => Ok(text.to_owned()),
        },
    }
}

/// Prefix in whose place the `alias` of a location is.
fn stripped(location: Option<&Directive>, alias: &str) -> Result<Option<String>, String> {
    let (kind, text) = location.map_or(("", "/"), Directive::modifier_and_path);
    // nginx joins the letters: `/img/` and `alias /srv/a` make `/srv/ax` of `/img/x`.
    if kind == "=" || (text.ends_with('/') && !alias.ends_with('/')) {
        return Err("its `alias` names a file and no directory".to_owned());
    }
    let prefix = text.trim_end_matches('/');
    Ok((!prefix.is_empty()).then(|| prefix.to_owned()))
}

fn index(
    state: &mut Translation<'_>,
    level: &Level<'_>,
    plan: &mut FilesPlan,
) -> Result<(), String> {
    let Some(directive) = level.one("index") else { return Ok(()) };
    let is_plain = |name: &String| is_name(name) && !name.contains(['/', '$']);
    if let Some(other) = directive.args.iter().find(|name| !is_plain(name)) {
        return Err(format!("`index {other}` is not the name of a file"));
    }
    // nginx runs a script. Here its source would be sent.
    if let Some(script) = directive.args.iter().find(|name| name.ends_with(".php")) {
        return Err(format!("`index {script}` is a script"));
    }
    state.notes.carry(directive);
    if directive.args != ["index.html"] {
        plan.index.clone_from(&directive.args);
    }
    Ok(())
}

/// Fallback of a `try_files` that looks for the file of the path first.
fn fallback(
    state: &mut Translation<'_>,
    server: &NginxServer<'_>,
    location: Option<&Directive>,
    try_files: &Directive,
    plan: &FilesPlan,
) -> Result<Option<String>, String> {
    let refused = || format!("`{}` has no counterpart", try_files.text());
    let (last, tried) = try_files.args.split_last().ok_or_else(refused)?;
    let known = ["$uri", "$uri/", "$uri/index.html"];
    if tried.first().is_none_or(|first| first != "$uri")
        || !tried.iter().all(|name| known.contains(&name.as_str()))
    {
        return Err(refused());
    }
    let path = match &**last {
        "=404" => None,
        last => {
            let is_file = last.strip_prefix('/').is_some_and(is_name) && !last.contains(['$', '?']);
            if !is_file || last.ends_with(".php") || !is_below(server, location, last, plan) {
                return Err(refused());
            }
            let prefix = plan.strip_prefix.as_deref().unwrap_or_default();
            Some(last.strip_prefix(prefix).ok_or_else(refused)?.to_owned())
        }
    };
    match tried.len() {
        1 => state.notes.tell(
            try_files,
            Treatment::Noted,
            "a directory is redirected to its path with a slash",
        ),
        _ => state.notes.carry(try_files),
    }
    Ok(path)
}

/// Returns true if nginx, which looks for a location again, finds the fallback in the same
/// directory.
fn is_below(
    server: &NginxServer<'_>,
    location: Option<&Directive>,
    path: &str,
    plan: &FilesPlan,
) -> bool {
    let matches = |other: &&&Directive| match other.modifier_and_path() {
        ("=", exact) => exact == path,
        ("" | "^~", prefix) => path.starts_with(prefix),
        _ => false,
    };
    let weight = |other: &&&Directive| {
        let (kind, text) = other.modifier_and_path();
        (kind == "=", text.len())
    };
    let owner = server.locations.iter().filter(matches).max_by_key(weight);
    if owner.map(|owner| owner.id) == location.map(|location| location.id) {
        return true;
    }
    let children = owner.map_or(&[][..], |owner| owner.children());
    let inside = Level::of(children, Some(&server.level));
    let root = inside.one("root").and_then(|root| directory(root.arg(0)).ok());
    RESPONDS.iter().all(|name| inside.own(name).is_empty())
        && plan.strip_prefix.is_none()
        && root.as_deref() == Some(&plan.root)
}

/// Plans precompressed files and `Cache-Control`.
fn settings(state: &mut Translation<'_>, level: &Level<'_>, plan: &mut FilesPlan) {
    for (name, coding) in [("brotli_static", "br"), ("gzip_static", "gzip")] {
        let Some(directive) = level.one(name) else { continue };
        match directive.arg(0) {
            "off" => state.notes.discard(directive, "the default"),
            _ => {
                plan.precompressed.push(coding);
                state.notes.carry(directive);
            }
        }
    }
    if let Some(directive) = level.one("expires") {
        match expires(directive.arg(0)) {
            Ok(policy) => {
                plan.cache_control = policy;
                state.notes.tell(directive, Treatment::Noted, "without the field `Expires`");
            }
            Err(reason) => state.notes.refuse(directive, reason),
        }
    }
    if let Some(directive) = level.one("autoindex") {
        match directive.arg(0) {
            "off" => state.notes.discard(directive, "the default"),
            _ => state.notes.refuse(directive, "weir lists no directory: it responds with 403"),
        }
    }
}

/// `Cache-Control` of an `expires`.
fn expires(text: &str) -> Result<Option<String>, &'static str> {
    Ok(match text {
        "off" => None,
        "max" => Some(MAX_AGE.to_owned()),
        "epoch" => Some("no-cache".to_owned()),
        "modified" => return Err("an age counts from the response, not from the file's time"),
        text if text.starts_with('-') => Some("no-cache".to_owned()),
        text => Some(format!("max-age={}", time_ms(text).ok_or("not a time")? / 1_000)),
    })
}
