//! Files of Kubernetes objects: YAML with several documents in a file.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::config::{
    problem::{Problems, SourceText},
    yaml_tree::{self, Node},
};

/// Limit on a file, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Limit on the documents of all files together.
const MAX_DOCUMENTS: usize = 4_096;

/// Files as read.
#[derive(Debug, Default)]
pub struct IngressFiles {
    sources: Vec<SourceText>,
    /// Documents of all files, in order.
    pub documents: Vec<Document>,
}

/// Document of a file.
#[derive(Debug)]
pub struct Document {
    /// Its tree.
    pub tree: Node,
    /// Index of the file.
    source: usize,
}

/// Place in the files: the index of a file and a byte of it, as one number.
const FILE: usize = 1 << 32;

impl Document {
    /// Place of a node of the document, for [`IngressFiles::origin`].
    #[must_use]
    pub fn place(&self, start: usize) -> usize {
        self.source * FILE + start
    }
}

impl IngressFiles {
    /// Name of the file and the line of a place.
    #[must_use]
    pub fn origin(&self, place: usize) -> String {
        let Some(source) = self.sources.get(place / FILE) else { return String::new() };
        // Counted when a line is printed: there are few.
        let before = source.text.get(..place % FILE).unwrap_or_default();
        format!("{}:{}", source.name, before.matches('\n').count() + 1)
    }

    /// The same without the folder of the file.
    #[must_use]
    pub fn short_origin(&self, place: usize) -> String {
        let origin = self.origin(place);
        origin.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

/// Reads files.
///
/// # Errors
/// All problems of the files.
pub fn read(paths: &[PathBuf]) -> Result<IngressFiles, Problems> {
    let mut files = IngressFiles::default();
    for path in paths {
        let name = path.display().to_string();
        let text = text(path).map_err(|reason| {
            let hint = "name a file with Ingress objects that this user may read";
            Problems::with_file(&name, format!("cannot be read: {reason}"), hint)
        })?;
        files.sources.push(SourceText { name, text });
    }
    // Problems own their texts, to show the lines.
    let sources = files.sources.iter();
    let sources = sources.map(|one| SourceText { name: one.name.clone(), text: one.text.clone() });
    // All problems of all files in one run, as `weir check` has them.
    let mut problems = Problems::new(sources.collect());
    for (source, file) in files.sources.iter().enumerate() {
        for (start, text) in parts(&file.text) {
            if files.documents.len() == MAX_DOCUMENTS {
                let message = format!("more than {MAX_DOCUMENTS} documents");
                return Err(Problems::with_file(&file.name, message, "import fewer files"));
            }
            let tree = yaml_tree::read(source, text, start, &mut problems);
            files.documents.extend(tree.map(|tree| Document { tree, source }));
        }
    }
    if problems.has_errors() { Err(problems) } else { Ok(files) }
}

fn text(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    match text.len() as u64 > MAX_BYTES {
        true => Err(format!("it is larger than {MAX_BYTES} bytes")),
        false => Ok(text),
    }
}

/// Documents of a text and the bytes they begin at: a line of `---` divides them.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        // At the first column also within a text of several lines, which then ends.
        let is_divider = line
            .strip_prefix("---")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\n', '\r', '\t']));
        if is_divider {
            parts.push((start, &text[start..at]));
            start = at + "---".len();
        }
        at += line.len();
    }
    parts.push((start, &text[start..]));
    // `kubectl` ends files with a divider.
    parts.retain(|(_, text)| text.lines().any(|line| !is_empty(line)));
    parts
}

/// Returns true for a line without a value.
fn is_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#') || line == "..."
}

#[cfg(test)]
mod tests {
    use crate::tools::ingress::documents::*;

    #[test]
    fn documents_are_divided_by_lines() {
        let text = "# a\n---\na: 1\n--- # x\nb: |\n  ---\n---\n\n";
        let found: Vec<&str> = parts(text).into_iter().map(|(_, text)| text).collect();
        assert_eq!(found, ["\na: 1\n", " # x\nb: |\n  ---\n"]);
        assert!(parts("").is_empty());
    }
}
