//! Further files of a configuration: `include: conf.d/*.yaml`.
//!
//! Guarantees: at most [`MAX_FILES`] files of at most 1 MiB, and of [`MAX_TOTAL`] together, are read,
//! each once and at most [`MAX_DEPTH`] deep. Names and lists are joined; nothing replaces anything.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use super::{
    interpolate::{self, Outside},
    problem::{Problems, SourceText, Span},
    wildcard,
    yaml_tree::{self, MappingEntry, Node, Scalar, Value},
};

/// Limit on the included files.
pub const MAX_FILES: usize = 256;
/// Limit on the size of all included files together, in bytes.
pub const MAX_TOTAL: usize = 8 * 1024 * 1024;
/// Limit on files that are included by included files.
pub const MAX_DEPTH: usize = 4;
/// Key of the files.
pub const INCLUDE: &str = "include";

/// Keys whose entries have names. Those of all files are joined.
const NAMED: [&str; 3] = ["concurrency", "upstreams", "zones"];
/// Keys with lists. Those of all files follow each other in the order of the files.
const LISTS: [&str; 3] = ["defaults", "listeners", "routes"];

/// Puts the entries of the included files behind those of `tree`, which was read from `path`.
pub fn expand(tree: &mut Node, path: &Path, outside: &dyn Outside, problems: &mut Problems) {
    let this = canonical(path);
    let (open, read) = (vec![this.clone()], HashSet::from([this]));
    let mut reader = Reader { outside, problems, open, read, bytes: 0 };
    reader.includes(tree, path);
}

struct Reader<'a> {
    outside: &'a dyn Outside,
    problems: &'a mut Problems,
    /// Files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    /// All files that were read.
    read: HashSet<PathBuf>,
    /// Size of them.
    bytes: usize,
}

/// File to include, with the place that names it.
struct Included {
    path: PathBuf,
    /// Name in messages, without what came from outside.
    name: String,
    span: Span,
}

impl Reader<'_> {
    fn includes(&mut self, tree: &mut Node, path: &Path) {
        let Value::Map(entries) = &mut tree.value else { return };
        let is_usable = |entry: &MappingEntry| {
            entry.key == INCLUDE && matches!(entry.node.value, Value::Scalar(_) | Value::List(_))
        };
        // Another value stays, and is reported as one of a wrong kind.
        let Some(index) = entries.iter().position(is_usable) else { return };
        let patterns = match entries.remove(index).node {
            Node { value: Value::List(items), .. } => items,
            node => vec![node],
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        for mut pattern in patterns {
            // Filled here, before the rest of the file: only the names of files are needed now.
            interpolate::fill(&mut pattern, self.outside, self.problems);
            for included in self.matching(&pattern, folder) {
                if let Some(mut file) = self.file(&included) {
                    // A relative name in there starts at the folder of that file.
                    self.open.push(canonical(&included.path));
                    self.includes(&mut file, &included.path);
                    self.open.pop();
                    self.join(tree, file);
                }
            }
        }
    }

    /// Files that an entry names, in the order of their names.
    fn matching(&mut self, pattern: &Node, folder: &Path) -> Vec<Included> {
        let span = pattern.span;
        let text = match pattern.scalar() {
            Some(Scalar { broken: true, .. }) => return Vec::new(),
            Some(scalar) if !scalar.text.is_empty() => scalar,
            _ => {
                let hint = "write the name of a file, like `conf.d/*.yaml`";
                self.problems.error(span, "`include` names no file here", hint);
                return Vec::new();
            }
        };
        let path = folder.join(&text.text);
        let shown = |path: &Path| match &text.filled {
            Some(written) => written.clone(),
            None => path.display().to_string(),
        };
        let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name());
        let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_pattern = |text: &str| text.contains(['*', '?']);
        if is_pattern(&folder.to_string_lossy()) {
            let hint = "name the folder, like `conf.d/*.yaml`";
            self.problems.error(span, "`*` and `?` may stand in the last part only", hint);
            return Vec::new();
        }
        // Without a wildcard the file has to be there, so a misspelt name is an error.
        if !is_pattern(&name) {
            return vec![Included { name: shown(&path), path, span }];
        }
        let mut names = match self.outside.names(folder) {
            Ok(names) => names,
            Err(error) => {
                let message = format!("`{}` cannot be listed: {error}", shown(folder));
                self.problems.error(span, message, "a relative path starts at this file's folder");
                return Vec::new();
            }
        };
        // The order of a folder is that of its file system, so it must not count.
        names.retain(|found| wildcard::is_meant(&name, found));
        names.sort_unstable();
        let included = |name: String| {
            let path = folder.join(name);
            Included { name: shown(&path), path, span }
        };
        names.into_iter().map(included).collect()
    }

    /// Reads one file into a tree.
    fn file(&mut self, included: &Included) -> Option<Node> {
        let Included { path, name, span } = included;
        // By its real path: a link to a file is that file again.
        let canonical = canonical(path);
        let refusal = if self.open.contains(&canonical) {
            Some(format!("`{name}` includes itself"))
        } else if !self.read.insert(canonical) {
            Some(format!("`{name}` is included twice"))
        } else if self.open.len() > MAX_DEPTH {
            Some(format!("more than {MAX_DEPTH} files include each other in a row"))
        } else if self.read.len() > MAX_FILES + 1 {
            Some(format!("more than {MAX_FILES} files are included"))
        } else {
            None
        };
        if let Some(message) = refusal {
            self.problems.error(*span, message, "remove it here, or join files");
            return None;
        }
        let text = match self.outside.included(path) {
            Ok(text) => text,
            Err(error) => {
                let hint = "name a readable file of at most 1 MiB; a relative path starts at this \
                    file's folder";
                let message = match error.path() == Path::new(name) {
                    true => error.to_string(),
                    false => format!("`{name}` cannot be read"),
                };
                self.problems.error(*span, message, hint);
                return None;
            }
        };
        // Counted after the read: one file is bounded by itself.
        self.bytes += text.len();
        if self.bytes > MAX_TOTAL {
            let message = format!("all included files are larger than {MAX_TOTAL} bytes");
            self.problems.error(*span, message, "is this the right folder?");
            return None;
        }
        // Some editors write a byte-order mark, as at the beginning of the main file.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
        let source = SourceText { name: name.clone(), text: text.clone() };
        let source = self.problems.add_source(source);
        // Nothing of a file that is empty, or not YAML, which was reported.
        let mut tree = yaml_tree::read(source, &text, 0, self.problems)?;
        if tree.scalar().is_some_and(Scalar::is_null) {
            return None;
        }
        if !matches!(tree.value, Value::Map(_)) {
            let hint = "write `routes:`, or another key of a configuration";
            self.problems.error(tree.span, "an included file must be a map", hint);
            return None;
        }
        tree.remove_extensions();
        Some(tree)
    }

    /// Adds the entries of an included file.
    fn join(&mut self, tree: &mut Node, file: Node) {
        let (Value::Map(whole), Value::Map(entries)) = (&mut tree.value, file.value) else {
            return;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if key == INCLUDE {
                let hint = "write the name of a file, like `conf.d/*.yaml`, or a list of them";
                self.problems.error(entry.key_span, "`include` must be text or a list", hint);
                continue;
            }
            if !NAMED.contains(&key) && !LISTS.contains(&key) {
                let message = format!("an included file has no `{key}`");
                let hint = "it may have concurrency, defaults for hosts, include, listeners, \
                    routes, upstreams and zones; all else belongs in the main file";
                self.problems.error(entry.key_span, message, hint);
                continue;
            }
            // They apply to the routes of all files, whatever file they stand in.
            if key == "defaults" && !self.is_for_hosts(&entry) {
                continue;
            }
            // Keys of a wrong kind are joined too, and reported with all others later.
            match whole.iter_mut().find(|own| own.key == entry.key) {
                None => whole.push(entry),
                Some(own) => self.extend(&mut own.node, entry),
            }
        }
    }

    /// Defaults for all routes would count for other files too, so they belong in the main one.
    fn is_for_hosts(&mut self, entry: &MappingEntry) -> bool {
        let has_host = |node: &Node| node.get("host").is_some() || node.get("hosts").is_some();
        let is_for_hosts = match &entry.node.value {
            Value::List(items) => items.iter().all(has_host),
            _ => has_host(&entry.node),
        };
        if !is_for_hosts {
            let hint = "add `host` here, or write them in the main file";
            let message = "an included file has defaults for all routes";
            self.problems.error(entry.key_span, message, hint);
        }
        is_for_hosts
    }

    /// Joins two values of one key.
    fn extend(&mut self, own: &mut Node, entry: MappingEntry) {
        // One map of defaults is a list of one.
        if entry.key == "defaults" && matches!(own.value, Value::Map(_)) {
            let first = own.clone();
            own.value = Value::List(vec![first]);
        }
        match (&mut own.value, entry.node.value) {
            (Value::List(items), Value::List(more)) => items.extend(more),
            (Value::List(items), value @ Value::Map(_)) if entry.key == "defaults" => {
                items.push(Node { span: entry.node.span, value });
            }
            (Value::Map(names), Value::Map(more)) => {
                for entry in more {
                    self.name(names, entry);
                }
            }
            // A key without entries, as all are commented out.
            (_, Value::Scalar(scalar)) if scalar.is_null() => {}
            // The same on this side.
            (Value::Scalar(scalar), value) if scalar.is_null() => own.value = value,
            // The other one may be right. Both are reported together, at the place of this one.
            _ => {
                let kind = if NAMED.contains(&&*entry.key) { "map" } else { "list" };
                let message = format!("`{}` must be a {kind} in each file", entry.key);
                self.problems.error(entry.key_span, message, "");
            }
        }
    }

    fn name(&mut self, names: &mut Vec<MappingEntry>, entry: MappingEntry) {
        // The first one stays, so that what is below it is still checked.
        let Some(first) = names.iter().find(|own| own.key == entry.key) else {
            return names.push(entry);
        };
        let (file, line, _) = self.problems.place_of(first.key_span);
        let hint = format!("keep one of them; the first one is in `{file}`, line {line}");
        let message = format!("`{}` is given twice", entry.key);
        self.problems.error(entry.key_span, message, hint);
    }
}

/// Path by which a file is recognised, through links and `..`.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
