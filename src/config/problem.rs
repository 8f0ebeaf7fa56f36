//! Problems of a configuration, each with its place, drawn below the text it is about.
//!
//! Guarantee: a problem always has a place. A drawing never shows a value that was filled in from
//! outside the text. No number of warnings hides an error: errors are counted apart from the list
//! that is kept, and displace warnings in it.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// Limit on kept problems; further ones are only counted, warnings first.
pub const MAX_PROBLEMS: usize = 100;

/// Severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// The configuration can be used, and probably does not do what was meant.
    Warning,
}

/// Range of one of the texts of a configuration, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index of the source: 0 is the file, then come the `--set` arguments in order, then further
    /// files.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// Byte behind the last one.
    pub end: usize,
}

/// Problem of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Severity.
    pub severity: Severity,
    /// Place of the problem.
    pub span: Span,
    /// Description, lower case, without a full stop.
    pub message: String,
    /// Advice on what to write instead.
    pub hint: Option<String>,
    /// Second place that matters, with the reason.
    pub also: Option<(Span, &'static str)>,
}

/// Text that problems point into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// Path of the file, or `--set`.
    pub name: String,
    /// Text as read; empty when it could not be read.
    pub text: String,
}

/// Style of drawings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without colours.
    Plain,
    /// ANSI colours.
    Colour,
}

/// All problems of one configuration, with the texts they point into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    sources: Vec<SourceText>,
    list: Vec<Problem>,
    errors: usize,
    warnings: usize,
}

impl Problems {
    /// Creates an empty list for these texts.
    #[must_use]
    pub fn new(sources: Vec<SourceText>) -> Self {
        Self { sources, ..Self::default() }
    }

    /// Creates a list of one problem about a whole file.
    #[must_use]
    pub fn with_file(name: &str, message: String, hint: &str) -> Self {
        let mut problems =
            Self::new(vec![SourceText { name: name.to_owned(), text: String::new() }]);
        problems.error(Span::default(), message, hint);
        problems
    }

    /// Adds an error; an empty hint means none.
    pub fn error(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Problem::new(Severity::Error, span, message.into(), hint.into()));
    }

    /// Adds a warning; an empty hint means none.
    pub fn warn(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Problem::new(Severity::Warning, span, message.into(), hint.into()));
    }

    /// Counts a problem, and keeps it if there is room: an error displaces a warning. The same one
    /// again is nothing new: a text that several aliases or routes use is judged for each of them.
    pub fn push(&mut self, problem: Problem) {
        if self.list.contains(&problem) {
            return;
        }
        let is_error = problem.severity == Severity::Error;
        *if is_error { &mut self.errors } else { &mut self.warnings } += 1;
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else if is_error
            && let Some(warning) =
                // The last warning makes room, so the first ones of a run stay.
                self.list.iter_mut().rfind(|kept| kept.severity == Severity::Warning)
        {
            *warning = problem;
        }
    }

    /// Texts that problems may point into.
    pub(super) fn sources(&self) -> &[SourceText] {
        &self.sources
    }

    /// Adds a text that problems may point into, and returns its index.
    pub(super) fn add_source(&mut self, source: SourceText) -> usize {
        self.sources.push(source);
        self.sources.len() - 1
    }

    /// Kept problems in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// Number of problems, including those that are not kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.errors + self.warnings
    }

    /// Number of errors, including those that are not kept.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Number of warnings, including those that are not kept.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Returns true if there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns true if one of them makes the configuration unusable.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Sorts them by place.
    pub(super) fn sort(&mut self) {
        self.list
            .sort_by_key(|problem| (problem.span.source, problem.span.start, problem.span.end));
    }

    /// Name of the text a problem is in, and the line and column (in characters) of its start,
    /// counted from 1.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> (&str, usize, usize) {
        self.place_of(problem.span)
    }

    /// The same of any place.
    #[must_use]
    pub(super) fn place_of(&self, span: Span) -> (&str, usize, usize) {
        let Some(source) = self.sources.get(span.source) else { return ("", 1, 1) };
        // A span may lie outside a text that could not be read.
        let before = source.text.get(..span.start).unwrap_or("");
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (&source.name, line, before[line_start..].chars().count() + 1)
    }

    /// Draws every problem: description, place, the text with a caret below it, and the hint.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let renderer = match style {
            Style::Plain => Renderer::plain(),
            Style::Colour => Renderer::styled(),
        };
        let mut drawn: Vec<String> =
            self.iter().map(|problem| renderer.render(&[self.draw(problem)])).collect();
        let omitted = self.len() - self.list.len();
        if omitted > 0 {
            drawn.push(format!("{omitted} more are not shown"));
        }
        drawn.join("\n\n")
    }

    fn draw<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(problem.message.as_str()));
        if let Some(source) = self.sources.get(problem.span.source) {
            group = if source.text.is_empty() {
                group.element(Origin::path(source.name.as_str()))
            } else {
                group.element(source.snippet(problem))
            };
        }
        match &problem.hint {
            Some(hint) => group.element(Level::HELP.with_name("hint").message(hint.as_str())),
            None => group,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Problems {}

impl Problem {
    fn new(severity: Severity, span: Span, message: String, hint: String) -> Self {
        Self {
            severity,
            span,
            message,
            hint: Some(hint).filter(|hint| !hint.is_empty()),
            also: None,
        }
    }
}

impl SourceText {
    /// Lines from the first to the last place of a problem; the rest of the text is not scanned
    /// again.
    fn snippet<'a>(
        &'a self,
        problem: &'a Problem,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let here = self.first_line(problem.span);
        // A second place in another text cannot be drawn in this snippet.
        let also = problem.also.filter(|(span, _)| span.source == problem.span.source);
        let also = also.map(|(span, why)| (self.first_line(span), why));
        let (first, last) = match &also {
            Some((other, _)) => (here.start.min(other.start), here.end.max(other.end)),
            None => (here.start, here.end),
        };
        // Whole lines only: the drawing numbers lines and needs them complete.
        let first = self.text[..first].rfind('\n').map_or(0, |newline| newline + 1);
        let last = self.text[last..].find('\n').map_or(self.text.len(), |length| last + length + 1);
        let line = self.text[..first].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let shift = |range: Range<usize>| range.start - first..range.end - first;
        let snippet =
            Snippet::source(&self.text[first..last]).path(self.name.as_str()).line_start(line);
        let snippet = snippet.annotation(AnnotationKind::Primary.span(shift(here)));
        match also {
            Some((span, why)) => {
                snippet.annotation(AnnotationKind::Context.span(shift(span)).label(why))
            }
            None => snippet,
        }
    }

    /// Part of a span on its first line, at character boundaries.
    fn first_line(&self, span: Span) -> Range<usize> {
        let text = &self.text;
        // Spans of drawings must be on character boundaries, or slicing would panic.
        let start = floor(text, span.start);
        let line_end = text[start..].find(['\n', '\r']).map_or(text.len(), |length| start + length);
        let end = floor(text, span.end.clamp(start, line_end));
        let end = start + text[start..end].trim_end().len();
        start..end
    }
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}
