//! The configuration loader as the judge of what the importer writes.
//!
//! Guarantee: a path, a host, a zone, an endpoint or a field is only written when weir loads it, so
//! that the whole file loads (`imported_file_loads` in tests/config/import.rs).

use std::{collections::HashMap, io, path::Path};

use super::scalar::{quoted, single_quoted};
use crate::config::{interpolate::Outside, load::parse_with};

/// Reasons that were found, by the text that was judged: most routes of a file differ little.
#[derive(Debug, Default)]
pub struct Loads {
    known: HashMap<String, Option<String>>,
}

/// An importer fills in nothing: `$` is escaped in all that it writes.
struct Nothing;

impl Outside for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Loads {
    /// Returns why weir refuses a path, written as `path`, `path_exact` or `path_regex`.
    pub fn path(&mut self, key: &str, path: &str) -> Option<String> {
        let text = if key == "path_regex" { single_quoted(path) } else { quoted(path) };
        self.route(&format!("{key}: {text}"))
    }

    /// Returns why weir refuses an action of a route.
    pub fn action(&mut self, action: &str) -> Option<String> {
        self.whole(&format!("listeners: [ ':1' ]\nroutes:\n- path: /\n  {action}\n"))
    }

    /// Returns why weir refuses a line of a route beside its path and upstream.
    pub fn keys(&mut self, line: &str) -> Option<String> {
        self.route(&format!("path: /, {line}"))
    }

    /// Returns why weir refuses a rewriting of paths.
    pub fn rewrite(&mut self, path: &str, rewrite: &str) -> Option<String> {
        self.route(&format!("path: {}, rewrite: {rewrite}", quoted(path)))
    }

    /// Returns why weir refuses a host.
    pub fn host(&mut self, host: &str) -> Option<String> {
        self.route(&format!("path: /, host: {}", quoted(host)))
    }

    /// Returns why weir refuses an edit of a field of `message`, which is `request` or `response`.
    pub fn edit(&mut self, message: &str, name: &str, value: Option<&str>) -> Option<String> {
        let name = quoted(name);
        let edit = match value {
            Some(value) => format!("set: {{ {name}: {} }}", quoted(value)),
            None => format!("remove: [ {name} ]"),
        };
        self.route(&format!("path: /, {message}: {{ headers: {{ {edit} }} }}"))
    }

    /// Returns why weir refuses a rule on a zone of this key and rate.
    pub fn rule(&mut self, zone: &str, rule: &str) -> Option<String> {
        self.whole(&format!(
            "listeners: [ ':1' ]\nzones: {{ z: {{ {zone} }} }}\n\
             routes: [ {{ path: /, upstream: 'http://a:1', limits: [ {{ zone: z{rule} }} ] }} ]\n"
        ))
    }

    /// Returns why weir refuses a rule on a zone of concurrency with these keys.
    pub fn concurrency(&mut self, zone: &str, rule: &str) -> Option<String> {
        self.whole(&format!(
            "listeners: [ ':1' ]\nconcurrency: {{ z: {{ {zone} }} }}\nroutes:\n\
             - {{ path: /, upstream: 'http://a:1', concurrency: [ {{ zone: z, {rule} }} ] }}\n"
        ))
    }

    /// Returns why weir refuses an endpoint.
    pub fn endpoint(&mut self, endpoint: &str) -> Option<String> {
        let endpoint = quoted(endpoint);
        self.whole(&format!(
            "listeners: [ ':1' ]\nupstreams: {{ u: {{ endpoints: [ {endpoint} ] }} }}\n\
             routes: [ {{ path: /, upstream: u }} ]\n"
        ))
    }

    /// Returns why weir refuses a listener.
    pub fn listener(&mut self, address: &str) -> Option<String> {
        let address = quoted(address);
        self.whole(&format!(
            "listeners: [ {address} ]\nroutes: [ {{ path: /, upstream: 'http://a:1' }} ]\n"
        ))
    }

    fn route(&mut self, keys: &str) -> Option<String> {
        self.whole(&format!(
            "listeners: [ ':1' ]\nroutes: [ {{ {keys}, upstream: 'http://a:1' }} ]\n"
        ))
    }

    fn whole(&mut self, text: &str) -> Option<String> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        let problems = parse_with("import", text, &[], &Nothing).err();
        let reason = problems.map(|problems| {
            let first = problems.iter().next();
            first.map_or_else(|| "weir refuses it".to_owned(), |first| first.message.clone())
        });
        self.known.insert(text.to_owned(), reason.clone());
        reason
    }
}
