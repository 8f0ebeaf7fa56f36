//! Files of a location: `root`, `alias`, `index`, `try_files`, `expires`, and precompressed ones.
//!
//! Guarantee: no file is served that a script or a condition of its server keeps from clients in
//! nginx, such as the source of a script (`files_beside_scripts_are_closed` in
//! tests/config/import.rs). Expressions are routes of their own, which come first. But nginx looks
//! for a location again for the `index` of a directory and for a fallback, and weir does not.

use super::{
    amounts::time_ms,
    expressions::path_expression,
    index_names::{may_match_directory, may_match_name},
    levels::Level,
    plan::FilesPlan,
    refusals::is_of_methods,
    translation::{NginxServer, Translation},
    tree::Directive,
};
use crate::{
    config::directives::{self, Context, Treatment},
    files::name::is_name,
    runtime::expression::Expression,
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
    beside_index(server, location, &mut plan)?;
    if let Some(try_files) = level.one("try_files") {
        plan.fallback = fallback(state, server, location, try_files, &plan)?;
    }
    error_page(state, server, location, level, &mut plan);
    settings(state, level, &mut plan);
    state.notes.tell(directive, Treatment::Noted, "names that begin with a dot are not found");
    Ok(plan)
}

/// Looks for locations that nginx chooses for the file of a directory.
fn beside_index(
    server: &NginxServer<'_>,
    location: Option<&Directive>,
    plan: &mut FilesPlan,
) -> Result<(), String> {
    // Without `index` both servers look for this name.
    let default = ["index.html".to_owned()];
    let names = if plan.index.is_empty() { &default[..] } else { &plan.index[..] };
    let own = location.map(|location| location.id);
    if location.is_some_and(|location| !may_take_directory(location)) {
        return Ok(());
    }
    let others = all_locations(&server.locations);
    let takes = |other: &&&Directive| {
        Some(other.id) != own && names.iter().any(|name| may_take_in_directory(other, name))
    };
    for other in others.iter().filter(takes) {
        let is_harmless = |child: &Directive| HARMLESS.contains(&&*child.name);
        // One that only sets fields keeps no file from a client.
        if !other.children().iter().all(is_harmless) {
            return Err(format!("nginx asks `{}` for the file of a directory", other.text()));
        }
        let change = format!("the file of a directory is without what `{}` sets", other.text());
        plan.changes.push(change);
    }
    Ok(())
}

fn all_locations<'a>(locations: &[&'a Directive]) -> Vec<&'a Directive> {
    let inner = |one: &&'a Directive| {
        let inside: Vec<&Directive> = one.named("location").collect();
        [vec![*one], all_locations(&inside)].concat()
    };
    locations.iter().flat_map(inner).collect()
}

/// Returns true if a location may take the path of a directory, which ends in a slash.
fn may_take_directory(location: &Directive) -> bool {
    match location.modifier_and_path() {
        ("=", path) => path.ends_with('/'),
        ("~" | "~*", text) => may_match_directory(&path_expression(text, false).text),
        _ => true,
    }
}

/// Returns true if a location may take a file of this name and not the directory that it is in.
fn may_take_in_directory(location: &Directive, name: &str) -> bool {
    match location.modifier_and_path() {
        ("@", _) => false,
        ("=", path) => path.ends_with(&format!("/{name}")),
        ("~" | "~*", text) => {
            let expression = path_expression(text, false).text;
            may_match_name(&expression, name)
        }
        (_, path) => {
            let end = path.rsplit('/').next().unwrap_or_default();
            !end.is_empty() && name.starts_with(end)
        }
    }
}

/// Fallback of an `error_page` for paths without a file, where the response is a 200 in nginx.
fn error_page(
    state: &mut Translation<'_>,
    server: &NginxServer<'_>,
    location: Option<&Directive>,
    level: &Level<'_>,
    plan: &mut FilesPlan,
) {
    for directive in level.all("error_page") {
        let words: Vec<&str> = directive.args.iter().map(String::as_str).collect();
        // Without `=` the response stays a 404, which a fallback is not.
        let ["404", "=" | "=200", page] = words[..] else { continue };
        let prefix = plan.strip_prefix.clone().unwrap_or_default();
        let is_file = page.strip_prefix('/').is_some_and(is_name) && !page.contains(['$', '?']);
        let below = page.strip_prefix(&prefix).map(str::to_owned);
        if plan.fallback.is_none() && is_file && is_below(server, location, page, plan) {
            plan.fallback = below;
            state.notes.carry(directive);
        }
    }
}

/// Returns true for a directive of a location without counterpart: a script, a condition, a signed
/// link.
fn unknown(directive: &&Directive) -> bool {
    let row = directives::find(&directive.name, Context::Location);
    let is_known = row.is_some_and(|row| row.treatment != Treatment::Unsupported);
    let is_condition = directive.name == "if" && !is_of_methods(directive);
    is_condition || directive.name != "if" && !is_known && !WITHOUT.contains(&&*directive.name)
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
    if kind == "=" || kind.starts_with('~') || (text.ends_with('/') && !alias.ends_with('/')) {
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
    // An expression comes before the prefix that owns the page.
    let is_taken = all_locations(&server.locations).iter().any(|other| {
        let (kind, text) = other.modifier_and_path();
        let is_own = location.is_some_and(|location| location.id == other.id);
        kind.starts_with('~') && !is_own && {
            let expression = path_expression(text, kind == "~*").text;
            let regex = Expression::new(&expression, false);
            regex.is_ok_and(|regex| regex.regex().is_match(path.as_bytes()))
        }
    });
    if is_taken {
        return false;
    }
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
