//! YAML text as a tree in which every key and value has its place.
//!
//! Guarantees: no key occurs twice in a map, and nesting is bounded. An alias is replaced by what its
//! anchor names, and `<<` by the entries of its maps, of at most [`MAX_COPIED`] values in all, so that
//! a small text cannot become a huge tree. There are no tags.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span as Marks, StrInput};

use super::problem::{Problem, Problems, Severity, Span};

/// Limit on the nesting of lists and maps; weir's format needs five levels.
const MAX_DEPTH: usize = 32;

/// Limit on the values that are copied for anchors and aliases. Ten aliases of ten aliases, ten levels
/// deep, are ten billion values in a text of a few lines.
pub const MAX_COPIED: usize = 65_536;
/// Key under which maps stand whose entries are taken over (YAML 1.1, merge key).
const MERGE: &str = "<<";

/// Value with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Place of the value; of a list or map its start.
    pub span: Span,
    /// Value itself.
    pub value: Value,
}

/// Kind of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, a number, a flag or nothing, as written.
    Scalar(Scalar),
    /// `[ a, b ]`.
    List(Vec<Node>),
    /// `{ key: value }`, in the order written.
    Map(Vec<MappingEntry>),
}

/// Scalar with its style.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scalar {
    /// Text without quotation marks.
    pub text: String,
    /// True if it was written without quotation marks, so it may be a number, a flag or empty.
    pub plain: bool,
    /// True if part of it was filled in, so it may be a number or a flag even within quotation
    /// marks.
    pub substituted: bool,
    /// Text as written, if part of it came from outside: such a value is never shown.
    pub filled: Option<String>,
    /// True if it replaces a wrong value that was reported.
    pub broken: bool,
}

/// Key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingEntry {
    /// Name of the key.
    pub key: String,
    /// Place of the key.
    pub key_span: Span,
    /// Value of the key.
    pub node: Node,
    /// True if it stands in the defaults of routes, and not in the route itself.
    pub is_inherited: bool,
}

impl Node {
    /// Number of its values, itself included.
    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.size()).sum(),
        }
    }

    /// Levels of lists and maps below it.
    fn height(&self) -> usize {
        match &self.value {
            Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(|item| item.height() + 1).max().unwrap_or(0),
            Value::Map(entries) => {
                entries.iter().map(|entry| entry.node.height() + 1).max().unwrap_or(0)
            }
        }
    }

    /// Removes keys that begin with `x-`: they are there for their anchors.
    pub fn remove_extensions(&mut self) {
        if let Value::Map(entries) = &mut self.value {
            entries.retain(|entry| !entry.key.starts_with("x-"));
        }
    }

    /// Value of a key, if this is a map with it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&MappingEntry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// Keys, if this is a map.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().map(|entry| entry.key.as_str())
    }

    /// Entries, if this is a map.
    #[must_use]
    pub fn entries(&self) -> &[MappingEntry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// Value at an index, if this is a list with it.
    #[must_use]
    pub fn item(&self, index: usize) -> Option<&Self> {
        match &self.value {
            Value::List(items) => items.get(index),
            _ => None,
        }
    }

    /// Scalar, if this is one.
    #[must_use]
    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }
}

impl Scalar {
    /// Returns true for an empty value, `~` or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        // A value from outside is text, even where the environment has `null` or nothing.
        self.plain
            && self.filled.is_none()
            && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// Returns true if it may be more than text.
    fn is_typed(&self) -> bool {
        self.plain || self.substituted
    }

    /// Makes it text, whatever it looks like.
    pub fn make_text(&mut self) {
        self.plain = false;
        self.substituted = false;
    }

    /// `true` or `false`.
    #[must_use]
    pub fn flag(&self) -> Option<bool> {
        match self.text.as_str() {
            "true" | "True" | "TRUE" if self.is_typed() => Some(true),
            "false" | "False" | "FALSE" if self.is_typed() => Some(false),
            _ => None,
        }
    }

    /// A whole number that is not negative.
    #[must_use]
    pub fn whole(&self) -> Option<u64> {
        // Digits only: `u64::from_str` would accept `+5` too.
        let digits = self.is_typed() && self.text.bytes().all(|byte| byte.is_ascii_digit());
        self.text.parse().ok().filter(|_| digits)
    }
}

/// Reads `text`, which belongs to the source with index `source` from its byte `offset` on. `None`
/// when it is not YAML at all.
pub fn read(source: usize, text: &str, offset: usize, problems: &mut Problems) -> Option<Node> {
    // Collected once: searching a character from the start each time would be quadratic.
    let positions = text.char_indices().map(|(position, _)| position).chain([text.len()]).collect();
    let parser = Parser::new_from_str(text);
    let (anchors, copied) = (HashMap::new(), 0);
    let mut reader = Reader { parser, source, text, offset, positions, problems, anchors, copied };
    match reader.document() {
        Ok(node) => node,
        Err(stop) => {
            if let Stop::Syntax(error) = stop {
                reader.syntax_error(&error);
            }
            None
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    source: usize,
    text: &'a str,
    offset: usize,
    /// Byte offset of each character: the parser counts characters.
    positions: Vec<usize>,
    problems: &'a mut Problems,
    /// Values by the number of their anchor.
    anchors: HashMap<usize, Node>,
    /// Number of copied values.
    copied: usize,
}

/// Reason why reading ended early.
enum Stop {
    /// The text is not YAML.
    Syntax(ScanError),
    /// It is nested too deeply or has too many copies, which was reported.
    Reported,
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        Self::Syntax(error)
    }
}

impl<'a> Reader<'a> {
    /// Reads the one document of the text.
    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut node = None;
        while let Some((event, marks)) = self.next()? {
            match event {
                Event::DocumentStart(_) if node.is_some() => {
                    let (message, hint) =
                        ("a second document begins here", "keep one document per file");
                    self.problems.error(self.span(marks), message, hint);
                    return Ok(node);
                }
                Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd => {}
                event => node = self.node(event, marks, 0)?,
            }
        }
        Ok(node)
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Marks)>, ScanError> {
        self.parser.next_event().transpose()
    }

    /// Reads the node that an event starts; `None` for an alias of nothing, which is reported.
    fn node(&mut self, event: Event<'a>, marks: Marks, depth: usize) -> Result<Option<Node>, Stop> {
        let span = self.span(marks);
        // The reader recurses: a deeply nested file would overflow its stack.
        if depth > MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        // Reported, and reading goes on, so that one run finds the other problems too.
        let anchor = self.anchor_of(&event, span);
        let value = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, depth),
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                Value::Scalar(Scalar { text: text.into_owned(), plain, ..Scalar::default() })
            }
            Event::SequenceStart(..) => Value::List(self.list(depth)?),
            Event::MappingStart(..) => Value::Map(self.map(depth)?),
            _ => return Ok(None),
        };
        // A map without braces starts with its first key.
        let first_key = match &value {
            Value::Map(entries) => {
                entries.first().map(|entry| entry.key_span).filter(|key| key.start == span.start)
            }
            _ => None,
        };
        let node = Node { span: first_key.unwrap_or(span), value };
        if let Some(anchor) = anchor {
            // The kept value is a copy too: anchors within anchors would otherwise cost nothing.
            self.count_copies(&node, span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(Some(node))
    }

    /// Value that an alias stands for. Problems with the value as a whole are at the alias, those
    /// within it at their text.
    fn alias(&mut self, anchor: usize, span: Span, depth: usize) -> Result<Option<Node>, Stop> {
        // The parser knows the name as soon as its value begins.
        let Some(node) = self.anchors.get(&anchor).cloned() else {
            let hint = "write the value out where it is used";
            self.problems.error(span, "this alias stands within its own anchor", hint);
            return Ok(None);
        };
        if depth + node.height() > MAX_DEPTH {
            return Err(self.too_deep(span));
        }
        self.count_copies(&node, span)?;
        Ok(Some(Node { span, ..node }))
    }

    /// Counts a copy of a node.
    fn count_copies(&mut self, node: &Node, span: Span) -> Result<(), Stop> {
        self.copied += node.size();
        if self.copied <= MAX_COPIED {
            return Ok(());
        }
        let message = format!("anchors and aliases stand for more than {MAX_COPIED} values");
        self.problems.error(span, message, "write fewer aliases of large values");
        Err(Stop::Reported)
    }

    fn too_deep(&mut self, span: Span) -> Stop {
        self.problems.error(span, format!("nested more than {MAX_DEPTH} levels deep"), "");
        Stop::Reported
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        let mut items = Vec::new();
        while let Some((event, marks)) = self.next()? {
            if event == Event::SequenceEnd {
                break;
            }
            items.extend(self.node(event, marks, depth + 1)?);
        }
        Ok(items)
    }

    fn map(&mut self, depth: usize) -> Result<Vec<MappingEntry>, Stop> {
        let (mut entries, mut first_given) = (Vec::new(), HashMap::new());
        let mut merged = Vec::new();
        while let Some((event, marks)) = self.next()? {
            if event == Event::MappingEnd {
                break;
            }
            // A key or value that was refused leaves its partner to be read, or the pairs would
            // shift.
            let key = self.node(event, marks, depth + 1)?;
            let Some((event, marks)) = self.next()? else { break };
            let node = self.node(event, marks, depth + 1)?;
            let (Some(key), Some(node)) = (key, node) else { continue };
            // Within quotation marks it is a key like any other.
            let is_merge = key.scalar().is_some_and(|key| key.plain && key.text == MERGE);
            let Some(entry) = self.entry(key, node, &mut first_given) else { continue };
            match is_merge {
                true => self.merge(entry, &mut merged),
                false => entries.push(entry),
            }
        }
        // What is written here replaces what is merged, and the first merged map the next ones.
        for entry in merged {
            // Not an error: to replace a merged key is what merging is for.
            if !first_given.contains_key(&entry.key) {
                first_given.insert(entry.key.clone(), entry.key_span);
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    /// Collects the entries of the map, or the maps, that stand under a merge key.
    fn merge(&mut self, from: MappingEntry, merged: &mut Vec<MappingEntry>) {
        let maps = match from.node.value {
            Value::List(items) => items,
            // One map is a list of one; anything else is refused below.
            value => vec![Node { span: from.node.span, value }],
        };
        for map in maps {
            match map.value {
                Value::Map(entries) => merged.extend(entries),
                _ => {
                    let hint = "write `<<: *name` with the anchor of a map, or a list of them";
                    self.problems.error(map.span, "`<<` takes over the keys of maps only", hint);
                }
            }
        }
    }

    /// Reads a key with its value, unless the key is invalid or a duplicate.
    fn entry(
        &mut self,
        key: Node,
        mut node: Node,
        first_given: &mut HashMap<String, Span>,
    ) -> Option<MappingEntry> {
        let Value::Scalar(Scalar { text: name, .. }) = key.value else {
            self.problems.error(key.span, "a key is a single word", "write `word: value`");
            return None;
        };
        // An empty value has no text to point at, so problems point at its key.
        if node.scalar().is_some_and(Scalar::is_null) {
            node.span = key.span;
        }
        // The first of two stays, so that what is below it is still checked.
        let Some(first) = first_given.get(&name) else {
            first_given.insert(name.clone(), key.span);
            return Some(MappingEntry { key: name, key_span: key.span, node, is_inherited: false });
        };
        self.problems.push(Problem {
            severity: Severity::Error,
            span: key.span,
            message: format!("`{name}` is given twice"),
            hint: Some("keep one of them".to_owned()),
            also: Some((*first, "first given here")),
        });
        None
    }

    /// Anchor of the node that an event starts. Tags are refused: they change the meaning of a text.
    fn anchor_of(&mut self, event: &Event<'_>, span: Span) -> Option<usize> {
        let (Event::Scalar(_, _, anchor, tag)
        | Event::SequenceStart(anchor, tag)
        | Event::MappingStart(anchor, tag)) = event
        else {
            return None;
        };
        if tag.is_some() {
            self.problems.error(
                span,
                "tags are not supported",
                "remove the `!`, or quote the value if it is text",
            );
        }
        // Anchors are counted from 1.
        Some(*anchor).filter(|anchor| *anchor > 0)
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let mark = *error.marker();
        let mut span = self.span(Marks::empty(mark));
        span.end = span.start
            + self.text[span.start - self.offset..].chars().next().map_or(0, char::len_utf8);
        let (before, after) = self.text.split_at(span.start - self.offset);
        // The parser stops at the tab, behind it, or at the word behind it.
        let line = &before[before.rfind('\n').map_or(0, |newline| newline + 1)..];
        let hint = if after.starts_with('\t') || line.trim_start_matches(' ').starts_with('\t') {
            "indent with spaces, not tabs"
        } else if after.starts_with('{') && before.ends_with('$') {
            "inside brackets quote it: \"${NAME}\""
        } else if error.info().ends_with("unknown anchor") {
            "write `&name` before the value that it stands for, earlier in the same file"
        } else {
            "check the indentation, quotes and brackets up to here"
        };
        self.problems.error(span, format!("not YAML: {}", error.info()), hint);
    }

    fn span(&self, marks: Marks) -> Span {
        // Beyond the last character the parser points at the end of the text.
        let byte = |index: usize| {
            self.offset + self.positions.get(index).copied().unwrap_or(self.text.len())
        };
        let (start, end) = (byte(marks.start.index()), byte(marks.end.index()));
        Span { source: self.source, start, end: end.max(start) }
    }
}
