//! Notes of an import: one outcome for each directive.

use std::{collections::HashMap, fmt};

use super::{
    files::NginxFiles,
    tree::{Directive, Place, one_line},
};
use crate::config::directives::{self, Context, Treatment};

/// Blocks whose rows are data and no directives.
pub const DATA_BLOCKS: [&str; 6] =
    ["map", "geo", "types", "split_clients", "charset_map", "geoip2"];

/// Outcome of one directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectiveNote {
    /// Name of its file and its line.
    pub origin: String,
    /// Directive on one line.
    pub text: String,
    /// Outcome.
    pub treatment: Treatment,
    /// Difference or reason; may be empty.
    pub reason: String,
}

impl fmt::Display for DirectiveNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: `{}`", self.origin, self.treatment.word(), self.text)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// Outcomes that the translation found, by the id of the directive.
#[derive(Debug, Default)]
pub struct Notes {
    found: HashMap<usize, (Treatment, Vec<String>)>,
}

impl Notes {
    /// Records an outcome. A directive that several routes inherit has the worst one, with every
    /// reason once.
    pub fn tell(&mut self, of: &Directive, treatment: Treatment, reason: impl Into<String>) {
        let (known, reasons) = self.found.entry(of.id).or_insert((treatment, Vec::new()));
        let reason = reason.into();
        if treatment > *known {
            *known = treatment;
            reasons.clear();
        }
        if treatment == *known && !reason.is_empty() && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }

    /// Returns true if an outcome is recorded.
    #[must_use]
    pub fn has(&self, of: &Directive) -> bool {
        self.found.contains_key(&of.id)
    }

    /// Records a directive that was carried over as it is.
    pub fn carry(&mut self, of: &Directive) {
        self.tell(of, Treatment::Carried, "");
    }

    /// Records a directive without counterpart.
    pub fn refuse(&mut self, of: &Directive, reason: impl Into<String>) {
        self.tell(of, Treatment::Unsupported, reason);
    }

    /// Records a directive that nothing is written for.
    pub fn discard(&mut self, of: &Directive, reason: impl Into<String>) {
        self.tell(of, Treatment::Dropped, reason);
    }

    /// Returns the notes of all directives in the order of the files.
    #[must_use]
    pub fn all(&self, files: &NginxFiles) -> Vec<DirectiveNote> {
        let mut lines = Lines { notes: self, files, found: Vec::new() };
        for directive in &files.directives {
            let context = context_at_the_top(directive);
            lines.directive(directive, context, false);
        }
        // Sorted by file: an included one is read in the midst of another.
        lines.found.sort_by_key(|(place, id, _)| (*place, *id));
        lines.found.into_iter().map(|(_, _, note)| note).collect()
    }
}

/// Block that a directive at the top of a file belongs to: a fragment has no `http`.
fn context_at_the_top(directive: &Directive) -> Context {
    let contexts = [Context::Main, Context::Http, Context::Server, Context::Location];
    let stands_in = |context: &Context| directives::find(&directive.name, *context).is_some();
    contexts.into_iter().find(stands_in).unwrap_or(Context::Http)
}

/// Block of a directive's children.
fn context_inside(name: &str, around: Context) -> Option<Context> {
    match (name, around) {
        ("events", _) => Some(Context::Events),
        ("http", _) => Some(Context::Http),
        ("upstream", _) => Some(Context::Upstream),
        ("server", Context::Http) => Some(Context::Server),
        ("location", _) => Some(Context::Location),
        ("if", _) => Some(Context::If),
        ("limit_except", _) => Some(Context::Except),
        _ => None,
    }
}

struct Lines<'a> {
    notes: &'a Notes,
    files: &'a NginxFiles,
    found: Vec<(Place, usize, DirectiveNote)>,
}

impl Lines<'_> {
    fn directive(&mut self, directive: &Directive, context: Context, is_lost: bool) {
        let (treatment, reason) = self.outcome(directive, context, is_lost);
        let file = self.files.names.get(directive.place.file).map_or("", String::as_str);
        let note = DirectiveNote {
            origin: format!("{file}:{}", directive.place.line),
            text: directive.text(),
            treatment,
            // Some reasons repeat a value of the file.
            reason: one_line(&reason),
        };
        self.found.push((directive.place, directive.id, note));
        if DATA_BLOCKS.contains(&&*directive.name) {
            return;
        }
        // Of a block without a counterpart nothing inside is used.
        let is_lost = is_lost || (treatment == Treatment::Unsupported && !is_used(directive));
        let Some(inside) = context_inside(&directive.name, context) else { return };
        for child in directive.children() {
            self.directive(child, inside, is_lost);
        }
    }

    fn outcome(
        &self,
        directive: &Directive,
        context: Context,
        is_lost: bool,
    ) -> (Treatment, String) {
        if let Some((treatment, reasons)) = self.notes.found.get(&directive.id) {
            return (*treatment, reasons.join("; "));
        }
        let row = directives::find(&directive.name, context);
        match row.map(|row| (row.treatment, row.note)) {
            None => (Treatment::Unsupported, "weir does not know this directive".to_owned()),
            Some((Treatment::Dropped, note)) => (Treatment::Dropped, note.to_owned()),
            Some((Treatment::Unsupported, note)) => (Treatment::Unsupported, note.to_owned()),
            Some(_) if is_lost => {
                (Treatment::Unsupported, "its block has no counterpart".to_owned())
            }
            Some(_) => (Treatment::Dropped, "it has no effect here".to_owned()),
        }
    }
}

/// A location or server that is closed is still used: what it says of others is in its own lines.
fn is_used(directive: &Directive) -> bool {
    matches!(&*directive.name, "http" | "server" | "upstream")
}
