//! Interpolation of `${VAR}`, `${VAR:-default}` and `${file:/path}` in values; `$$` is a `$`.
//!
//! Guarantee: a value from outside the text is marked as such, and no message made here contains
//! it.

use std::{io::Read, path::Path};

use super::{
    problem::{Problems, Span},
    small_file::{self, SmallFileError},
    yaml_tree::{Node, Scalar, Value},
};

/// Limit on a file that fills a value, in bytes.
const MAX_VALUE: u64 = 64 * 1024;

/// Source of values that the text does not contain.
pub trait Outside {
    /// Environment variable; `None` when it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// Content of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is not UTF-8, or too large.
    fn file(&self, path: &Path) -> std::io::Result<String>;

    /// Text of a further file of the configuration.
    ///
    /// # Errors
    /// When it cannot be read, or is not UTF-8, or too large; always, unless the source has files.
    fn included(&self, path: &Path) -> Result<String, SmallFileError> {
        let cause = std::io::ErrorKind::NotFound.into();
        Err(SmallFileError::Unreadable(path.to_owned(), cause))
    }

    /// Names of the files in a folder, in no order; none unless the source has files.
    ///
    /// # Errors
    /// When the folder cannot be read.
    fn names(&self, _folder: &Path) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Limit on the entries of a folder that are looked at.
const MAX_ENTRIES: usize = 65_536;

/// Environment of this process and the file system.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Outside for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> std::io::Result<String> {
        let mut text = String::new();
        // One byte more than allowed shows that a file is too large, also where it has no length,
        // as in /proc.
        std::fs::File::open(path)?.take(MAX_VALUE + 1).read_to_string(&mut text)?;
        match text.len() as u64 > MAX_VALUE {
            true => Err(std::io::ErrorKind::FileTooLarge.into()),
            false => Ok(text),
        }
    }

    fn included(&self, path: &Path) -> Result<String, SmallFileError> {
        small_file::read_text(path)
    }

    fn names(&self, folder: &Path) -> std::io::Result<Vec<String>> {
        // The folder of a name alone is empty, and means the working directory.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)?.take(MAX_ENTRIES) {
            // A name that is not UTF-8 cannot be written in a configuration.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }
}

/// Fills every value of a tree; a value that cannot be filled is reported and marked as broken.
pub fn fill(node: &mut Node, outside: &dyn Outside, problems: &mut Problems) {
    match &mut node.value {
        Value::Scalar(scalar) if scalar.text.contains('$') => {
            fill_scalar(scalar, node.span, outside, problems);
        }
        Value::Scalar(_) => {}
        Value::List(items) => items.iter_mut().for_each(|item| fill(item, outside, problems)),
        Value::Map(entries) => {
            entries.iter_mut().for_each(|entry| fill(&mut entry.node, outside, problems));
        }
    }
}

fn fill_scalar(scalar: &mut Scalar, span: Span, outside: &dyn Outside, problems: &mut Problems) {
    match filled(&scalar.text, outside) {
        Ok((text, origin)) => {
            let written = std::mem::replace(&mut scalar.text, text);
            // A default in the text is no secret, so only values from outside are hidden in
            // messages.
            scalar.substituted = origin > Origin::Text;
            scalar.filled = (origin == Origin::Outside).then_some(written);
        }
        Err((message, hint)) => {
            problems.error(span, message, hint);
            // A broken value has been reported: later checks must not report it again.
            *scalar = Scalar { broken: true, ..Scalar::default() };
        }
    }
}

/// Most private origin of any part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// The text, nothing filled in.
    Text,
    /// A default written in the text.
    Default,
    /// The environment or a file.
    Outside,
}

/// Message with its hint.
type Refusal = (String, &'static str);

fn filled(text: &str, outside: &dyn Outside) -> Result<(String, Origin), Refusal> {
    let (mut whole, mut origin, mut rest) = (String::new(), Origin::Text, text);
    while let Some((before, after)) = rest.split_once('$') {
        whole.push_str(before);
        rest = match after.strip_prefix('{') {
            Some(inside) => {
                let unclosed = || {
                    ("`${` is not closed".to_owned(), "write `${NAME}`, or `$$` for a dollar sign")
                };
                let (name, behind) = inside.split_once('}').ok_or_else(unclosed)?;
                let (value, from) = look_up(name, outside)?;
                whole.push_str(&value);
                origin = origin.max(from);
                behind
            }
            // A single `$` stands for itself, so that most texts with one need no escape.
            None => {
                whole.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    whole.push_str(rest);
    Ok((whole, origin))
}

fn look_up(inside: &str, outside: &dyn Outside) -> Result<(String, Origin), Refusal> {
    if let Some(path) = inside.strip_prefix("file:") {
        return read(path, outside).map(|text| (text, Origin::Outside));
    }
    // `${A:-${B}}` ends at the first brace: without this the rest would be taken for text.
    if inside.contains("${") {
        let message = format!("`${{{inside}}}` contains another `${{`");
        return Err((message, "a default is plain text, like `${NAME:-default}`"));
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !letters || name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        let hint = "write `${NAME}`, `${NAME:-default}` or `${file:/path}`";
        return Err((format!("`${{{inside}}}` does not name a variable"), hint));
    }
    match (outside.variable(name), default) {
        (Some(value), None) => Ok((value, Origin::Outside)),
        // As in a shell, `:-` replaces an empty value too.
        (Some(value), Some(_)) if !value.is_empty() => Ok((value, Origin::Outside)),
        (_, Some(default)) => Ok((default.to_owned(), Origin::Default)),
        (None, None) => {
            let message = format!("the environment variable `{name}` is not set");
            Err((message, "set it, or give a default: `${NAME:-default}`"))
        }
    }
}

/// Text of a file without the newline at its end.
fn read(path: &str, outside: &dyn Outside) -> Result<String, Refusal> {
    if !path.starts_with('/') {
        let message = format!("`{path}` is not an absolute path");
        return Err((message, "begin it with a slash, like `${file:/run/secrets/name}`"));
    }
    let refused = |error: std::io::Error| {
        (format!("`{path}` cannot be read: {error}"), "it must be readable here and small")
    };
    let text = outside.file(Path::new(path)).map_err(refused)?;
    // Secret files usually end in a newline that is not part of the secret.
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

#[cfg(test)]
mod tests {
    use crate::config::interpolate::*;

    struct Fake;

    impl Outside for Fake {
        fn variable(&self, name: &str) -> Option<String> {
            [("RATE", "10r/s"), ("EMPTY", "")]
                .into_iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        }

        fn file(&self, path: &Path) -> std::io::Result<String> {
            match path == Path::new("/run/secrets/key") {
                true => Ok("hush\n".to_owned()),
                false => Err(std::io::Error::from_raw_os_error(2)),
            }
        }
    }

    fn of(text: &str) -> Result<(String, Origin), String> {
        filled(text, &Fake).map_err(|(message, _)| message)
    }

    #[test]
    fn values_are_filled_and_remember_where_from() {
        for (text, value, origin) in [
            ("plain", "plain", Origin::Text),
            ("${RATE}", "10r/s", Origin::Outside),
            ("${RATE:-1r/s}", "10r/s", Origin::Outside),
            ("${NONE:-1r/s}", "1r/s", Origin::Default),
            ("${EMPTY:-1r/s}", "1r/s", Origin::Default),
            ("${EMPTY}", "", Origin::Outside),
            ("${file:/run/secrets/key}", "hush", Origin::Outside),
            ("a${NONE:-1}-${file:/run/secrets/key}b", "a1-hushb", Origin::Outside),
            ("$${RATE} costs $5 and $", "${RATE} costs $5 and $", Origin::Text),
        ] {
            assert_eq!(of(text), Ok((value.to_owned(), origin)), "{text}");
        }
    }

    #[test]
    fn interpolation_error_says_why() {
        for (text, message) in [
            ("${NONE}", "the environment variable `NONE` is not set"),
            ("${RATE", "`${` is not closed"),
            ("${NONE:-${RATE}}", "`${NONE:-${RATE}` contains another `${`"),
            ("${}", "`${}` does not name a variable"),
            ("${1A}", "`${1A}` does not name a variable"),
            ("${file:key}", "`key` is not an absolute path"),
            ("${file:/no}", "`/no` cannot be read: No such file or directory (os error 2)"),
        ] {
            assert_eq!(of(text), Err(message.to_owned()), "{text}");
        }
    }
}
