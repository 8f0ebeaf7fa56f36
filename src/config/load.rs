//! Loading a configuration: read, apply `--set`, fill, check the shape, decode, resolve, lint.

use std::{io::Read, path::Path};

use super::{
    defaults, directives, include,
    interpolate::{self, Outside, Process},
    lint::lint,
    problem::{Problems, SourceText, Span},
    resolve::{pattern, resolve},
    schema::File,
    set,
    settings::Config,
    shape::Shape,
    small_file, validate,
    yaml_tree::{self, Node, Value},
};

/// Limit on the configuration file, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// Configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Resolved configuration.
    pub config: Config,
    /// Configuration as written, with every default.
    pub file: File,
    /// Warnings about it.
    pub warnings: Problems,
    /// Paths of the values that were filled in from outside, with the text as written.
    pub(super) as_written: Vec<(Vec<String>, String)>,
}

impl Loaded {
    /// Name of a route in messages: its host and path, as written if they were filled in from
    /// outside.
    #[must_use]
    pub fn route_as_written(&self, index: usize) -> String {
        let Some(mut route) = self.file.routes.get(index).cloned() else { return String::new() };
        let place = index.to_string();
        for (path, written) in &self.as_written {
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            let (key, item) = match words[..] {
                ["routes", route, key] if route == place => (key, 0),
                ["routes", route, key, item] if route == place => (key, item.parse().unwrap_or(0)),
                _ => continue,
            };
            let item = |list: &mut Option<Vec<String>>| {
                list.as_mut()
                    .and_then(|list| list.get_mut(item))
                    .map(|item| item.clone_from(written))
            };
            let one =
                |text: &mut Option<String>| text.as_mut().map(|text| text.clone_from(written));
            let _ = match key {
                "host" => one(&mut route.host),
                "path" => one(&mut route.path),
                "path_exact" => one(&mut route.path_exact),
                "path_regex" => one(&mut route.path_regex),
                "hosts" => item(&mut route.hosts),
                "paths" => item(&mut route.paths),
                "path_suffix" => item(&mut route.path_suffix),
                _ => None,
            };
        }
        pattern::name(&route)
    }
}

/// Loads a file, with `path=value` settings applied over it.
///
/// # Errors
/// All problems, each with its place.
pub fn load(path: &Path, sets: &[String]) -> Result<Loaded, Problems> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a file that is too large is noticed without being read
    // whole.
    let read =
        std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let hint = if error.kind() == std::io::ErrorKind::PermissionDenied {
            let user = rustix::process::geteuid().as_raw();
            format!("make it readable for the user with the id {user}, who runs this command")
        } else {
            "name another file with `-c FILE`; without it `./weir.yaml` is read, or else \
             `/etc/weir/weir.yaml`"
                .to_owned()
        };
        let message = format!("`{name}` cannot be read: {error}");
        return Err(Problems::with_file(&name, message, &hint));
    }
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("`{name}` is larger than {MAX_BYTES} bytes");
        return Err(Problems::with_file(&name, message, "is this the right file?"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&name, &text, sets),
        Err(error) => {
            let message =
                format!("`{name}` is not UTF-8: byte {}", error.utf8_error().valid_up_to());
            Err(Problems::with_file(&name, message, "save it as UTF-8"))
        }
    }
}

/// Loads a text that is called `name` in messages.
///
/// # Errors
/// All problems, each with its place.
pub fn parse(name: &str, text: &str, sets: &[String]) -> Result<Loaded, Problems> {
    parse_with(name, text, sets, &Process)
}

/// Loads a text, filled from the given source of values.
///
/// # Errors
/// All problems, each with its place.
pub fn parse_with(
    name: &str,
    text: &str,
    sets: &[String],
    outside: &dyn Outside,
) -> Result<Loaded, Problems> {
    // Some editors write a byte-order mark, which belongs to no key.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let file = SourceText { name: name.to_owned(), text: text.to_owned() };
    let sources = sets.iter().map(|set| SourceText { name: "--set".to_owned(), text: set.clone() });
    let mut problems = Problems::new([file].into_iter().chain(sources).collect());
    let result = judge(text, Path::new(name), sets, outside, &mut problems);
    // Sorted at the end: the steps below find problems in their own order, not in that of the text.
    problems.sort();
    match result {
        Some((config, file, as_written)) => {
            Ok(Loaded { config, file, warnings: problems, as_written })
        }
        None => Err(problems),
    }
}

/// Place of the first line that is no comment, if it is a directive or a block of nginx. Such a line
/// is no key of a map: no colon follows its word.
fn nginx_directive(text: &str) -> Option<(usize, usize)> {
    let line =
        text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let (code, _comment) = line.split_once(" #").unwrap_or((line, ""));
    let (word, _) = code.split_once(|letter: char| letter.is_whitespace() || letter == '{')?;
    if !code.trim_end().ends_with([';', '{', '}']) || !directives::is_of_nginx(word) {
        return None;
    }
    let start = text.find(line)?;
    Some((start, start + line.len()))
}

type Judged = (Config, File, Vec<(Vec<String>, String)>);

/// Returns `None` after reporting an error.
fn judge(
    text: &str,
    path: &Path,
    sets: &[String],
    outside: &dyn Outside,
    problems: &mut Problems,
) -> Option<Judged> {
    if let Some((start, end)) = nginx_directive(text) {
        let message = "this looks like a configuration of nginx";
        let hint = "weir's is YAML: `weir import nginx FILE` translates it";
        let place = Span { source: 0, start, end };
        problems.error(place, message, hint);
        return None;
    }
    let mut tree = match yaml_tree::read(0, text, 0, problems) {
        Some(tree) => tree,
        // An empty file is allowed where `--set` gives everything. A broken one is not.
        None if problems.has_errors() => return None,
        None if sets.is_empty() => {
            let hint = "write at least `listeners`, and `routes` with an upstream";
            problems.error(Span::default(), "the configuration is empty", hint);
            return None;
        }
        None => Node { span: Span::default(), value: Value::Map(Vec::new()) },
    };
    tree.remove_extensions();
    include::expand(&mut tree, path, outside, problems);
    // Before the fill, so that `--set` may use `${NAME}` as the file does.
    for (index, argument) in sets.iter().enumerate() {
        set::apply(&mut tree, index + 1, argument, problems);
    }
    refuse_late_include(&tree, problems);
    interpolate::fill(&mut tree, outside, problems);
    // Kept from before wrong parts are removed: a name whose value is wrong is still declared.
    let written = tree.clone();
    if !validate::check(&mut tree, &Shape::of::<File>(), problems) {
        return None;
    }
    defaults::apply(&mut tree, problems);
    // The checks above guarantee this step. An error here would be a fault of weir.
    let file = match File::decode(&tree) {
        Ok(file) => file,
        Err(_) => {
            problems.error(tree.span, "the configuration cannot be decoded", "");
            return None;
        }
    };
    let base = path.parent().unwrap_or(Path::new(""));
    let config = resolve(&file, &tree, &written, base, problems)?;
    lint(&config, &file, &tree, problems);
    let mut as_written = Vec::new();
    gather_filled(&tree, &mut Vec::new(), &mut as_written);
    Some((config, file, as_written))
}

/// Files are included before `--set` is applied, which may change what they have.
fn refuse_late_include(tree: &Node, problems: &mut Problems) {
    if let Some(entry) = tree.get(include::INCLUDE).filter(|entry| entry.key_span.source > 0) {
        let hint = "name the files in the configuration";
        problems.error(entry.key_span, "`include` cannot be set here", hint);
    }
}

/// Texts of a configuration file and of all files that it includes, each with its path, as they are
/// now; none if the file cannot be read.
#[must_use]
pub fn source_texts(path: &Path) -> Option<Vec<SourceText>> {
    let text = small_file::read_text(path).ok()?;
    let first = SourceText { name: path.display().to_string(), text };
    let mut problems = Problems::new(vec![first.clone()]);
    // Nothing else of the text is of interest: what is wrong is reported by the reload.
    // Most files include nothing, and are not parsed every second.
    if first.text.contains(include::INCLUDE)
        && let Some(mut tree) = yaml_tree::read(0, &first.text, 0, &mut problems)
    {
        include::expand(&mut tree, path, &Process, &mut problems);
    }
    Some(problems.sources().to_vec())
}

fn gather_filled(node: &Node, path: &mut Vec<String>, filled: &mut Vec<(Vec<String>, String)>) {
    match &node.value {
        Value::Scalar(scalar) => {
            filled.extend(scalar.filled.iter().map(|written| (path.clone(), written.clone())));
        }
        Value::List(items) => items.iter().enumerate().for_each(|(index, item)| {
            path.push(index.to_string());
            gather_filled(item, path, filled);
            path.pop();
        }),
        Value::Map(entries) => entries.iter().for_each(|entry| {
            path.push(entry.key.clone());
            gather_filled(&entry.node, path, filled);
            path.pop();
        }),
    }
}
