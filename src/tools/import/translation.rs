//! State of a translation: what the files declare, and what is planned so far.

use std::{collections::HashMap, rc::Rc};

use super::{
    files::NginxFiles,
    levels::Level,
    loads::Loads,
    notes::Notes,
    plan::ImportPlan,
    tree::{Directive, Place},
};

/// State of a translation.
#[derive(Debug)]
pub struct Translation<'a> {
    /// Files as read.
    pub files: &'a NginxFiles,
    /// Level of `http`.
    pub http: Rc<Level<'a>>,
    /// Servers, those of fragments included.
    pub servers: Vec<NginxServer<'a>>,
    /// `map` and `geo` blocks by the name of their variable.
    pub maps: HashMap<&'a str, &'a Directive>,
    /// `upstream` blocks by name.
    pub groups: HashMap<&'a str, &'a Directive>,
    /// Zones by their name in nginx: the name here, or the reason why there is none.
    pub zones: HashMap<&'a str, Result<String, String>>,
    /// Zones of concurrency by their name in nginx, in the same way.
    pub concurrency: HashMap<&'a str, Result<String, String>>,
    /// Outcomes.
    pub notes: Notes,
    /// Plan.
    pub plan: ImportPlan,
    /// Judge of what is written.
    pub loads: Loads,
}

/// Server of nginx.
#[derive(Clone, Debug)]
pub struct NginxServer<'a> {
    /// Its `server`; none for a fragment without one.
    pub block: Option<&'a Directive>,
    /// Its directives.
    pub level: Rc<Level<'a>>,
    /// Its locations, in order.
    pub locations: Vec<&'a Directive>,
    /// Level of a fragment that belongs into a location.
    pub is_location: bool,
}

impl<'a> NginxServer<'a> {
    /// Place of the server in the files.
    #[must_use]
    pub fn place(&self) -> Place {
        let first = || self.locations.first().map(|location| location.place);
        self.block.map(|block| block.place).or_else(first).unwrap_or_default()
    }

    /// Names of the server as written, in lower case.
    pub fn names(&self) -> impl Iterator<Item = (&'a Directive, String)> {
        let all = self.level.own("server_name").iter();
        all.flat_map(|directive| {
            directive.args.iter().map(|name| (*directive, name.to_ascii_lowercase()))
        })
    }
}

impl<'a> Translation<'a> {
    /// Begins with what the files declare.
    #[must_use]
    pub fn of(files: &'a NginxFiles) -> Self {
        let parts = parts(&files.directives);
        let http = Level::of(parts.http.iter().copied(), None);
        let mut servers: Vec<_> = http
            .own("server")
            .iter()
            .map(|block| server(Some(block), block.children(), &http))
            .collect();
        // A fragment without `server`, or without anything that serves.
        if !parts.loose.is_empty() || servers.is_empty() {
            servers.push(server(None, parts.loose.iter().copied(), &http));
        }
        let named = |names: &[&str], word: usize| {
            let all = names.iter().flat_map(|name| http.own(name).iter().copied());
            all.filter_map(|one| {
                Some((one.args.get(word.min(one.args.len().checked_sub(1)?))?, one))
            })
            .map(|(name, one)| (name.trim_start_matches('$'), one))
            .collect()
        };
        Self {
            files,
            // The last word: `map $source $name`, `geo $name` or `geo $source $name`.
            maps: named(&["map", "geo"], 1),
            groups: named(&["upstream"], 0),
            zones: HashMap::new(),
            concurrency: HashMap::new(),
            notes: Notes::default(),
            plan: ImportPlan::default(),
            loads: Loads::default(),
            servers,
            http,
        }
    }

    /// File and line of a directive.
    #[must_use]
    pub fn origin(&self, of: &Directive) -> String {
        self.origin_of(of.place)
    }

    /// File and line of a place; empty where it is in no file.
    #[must_use]
    pub fn origin_of(&self, place: Place) -> String {
        let file = self.files.names.get(place.file).filter(|_| place.line > 0);
        file.map_or_else(String::new, |file| {
            // The name alone: the folder is that of the file that was named.
            let name = file.rsplit('/').next().unwrap_or(file);
            format!("{name}:{}", place.line)
        })
    }
}

fn server<'a>(
    block: Option<&'a Directive>,
    directives: impl IntoIterator<Item = &'a Directive>,
    http: &Rc<Level<'a>>,
) -> NginxServer<'a> {
    let directives: Vec<&Directive> = directives.into_iter().collect();
    let locations = directives.iter().copied().filter(|one| one.name == "location").collect();
    let is_location = block.is_none()
        && directives.iter().any(|one| matches!(&*one.name, "proxy_pass" | "grpc_pass"));
    NginxServer { block, level: Level::of(directives, Some(http)), locations, is_location }
}

/// Directives at the top of the files by the block they belong to.
#[derive(Default)]
struct Parts<'a> {
    http: Vec<&'a Directive>,
    loose: Vec<&'a Directive>,
}

fn parts(directives: &[Directive]) -> Parts<'_> {
    let mut parts = Parts::default();
    let has_location = directives.iter().any(|one| belongs_to_a_server(&one.name));
    for directive in directives {
        match &*directive.name {
            "http" => parts.http.extend(directive.children()),
            // With a location beside it, a limit is rather the server's than of all servers.
            name if belongs_to_a_server(name) || (has_location && !belongs_to_http(name)) => {
                parts.loose.push(directive);
            }
            _ => parts.http.push(directive),
        }
    }
    parts
}

fn belongs_to_a_server(name: &str) -> bool {
    ["location", "listen", "server_name", "proxy_pass", "grpc_pass", "return"].contains(&name)
}

fn belongs_to_http(name: &str) -> bool {
    [
        "server",
        "upstream",
        "map",
        "geo",
        "limit_req_zone",
        "limit_conn_zone",
        "log_format",
        "include",
    ]
    .contains(&name)
        || super::notes::DATA_BLOCKS.contains(&name)
        || ["events", "user", "pid", "worker_processes", "load_module"].contains(&name)
}
