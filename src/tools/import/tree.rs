//! Tree of an nginx configuration: directives with their words and blocks.
//!
//! Guarantees: depth and number of directives are bounded, and no text makes the parser panic
//! (`import_nginx` in `tests/edge/corpus.rs`, and the fuzz target of that name).

use super::{
    error::{Fault, NginxError},
    lexer::{Lexer, TokenKind},
};

/// Limit on nested blocks. nginx's own modules need 5 or 6.
pub const MAX_DEPTH: usize = 32;
/// Limit on the directives of all files together.
pub const MAX_DIRECTIVES: usize = 50_000;

/// Place of a directive in the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index of the file, in the order the files were opened.
    pub file: usize,
    /// Line, from 1.
    pub line: u32,
}

/// Directive of nginx.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// Number in the order of reading, unique over all files.
    pub id: usize,
    /// Place of its name.
    pub place: Place,
    /// Name; in a `map`, `geo` or `types` block the first word of a row.
    pub name: String,
    /// Words behind the name.
    pub args: Vec<String>,
    /// Directives of its block, if it has one.
    pub block: Option<Vec<Directive>>,
}

impl Directive {
    /// Word at this place behind the name; empty if there is none.
    #[must_use]
    pub fn arg(&self, index: usize) -> &str {
        self.args.get(index).map_or("", String::as_str)
    }

    /// Directives of the block.
    #[must_use]
    pub fn children(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }

    /// Directives of this name in the block.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Directive> {
        self.children().iter().filter(move |child| child.name == name)
    }

    /// Modifier and path of a `location`: `= /a`, `^~ /a`, `~ a`, `/a`, and the same without the
    /// space.
    #[must_use]
    pub fn modifier_and_path(&self) -> (&str, &str) {
        if let [kind, text, ..] = &self.args[..] {
            return (kind, text);
        }
        let text = self.arg(0);
        let kinds = ["=", "^~", "~*", "~", "@"];
        let found = kinds.iter().find_map(|kind| Some((*kind, text.strip_prefix(kind)?)));
        found.unwrap_or(("", text))
    }

    /// The directive on one line, cut where it is long.
    #[must_use]
    pub fn text(&self) -> String {
        const LONGEST: usize = 80;
        let words = std::iter::once(&self.name).chain(&self.args);
        let text = words.map(|word| shown(word)).collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }
}

/// Text of a file without its control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// Word as it may be printed: quoted where it needs quotes, without control characters.
fn shown(word: &str) -> String {
    let clean = one_line(word);
    let is_plain = !clean.is_empty() && !clean.contains([' ', ';', '{', '}', '"', '\'']);
    if is_plain || clean.starts_with("${") { clean } else { format!("\"{clean}\"") }
}

/// Builder of the tree: it counts over all files.
#[derive(Debug, Default)]
pub struct TreeBuilder {
    directives: usize,
}

impl TreeBuilder {
    /// Parses a file, number `index`, that errors call `file`.
    ///
    /// # Errors
    /// The first fault of the file, or a bound.
    pub fn parse(
        &mut self,
        file: &str,
        index: usize,
        text: &str,
    ) -> Result<Vec<Directive>, NginxError> {
        let mut lexer = Lexer::new(file, text);
        self.block(Scope { file, index, depth: 0, opened: 0 }, &mut lexer)
    }

    fn block(
        &mut self,
        scope: Scope<'_>,
        lexer: &mut Lexer<'_>,
    ) -> Result<Vec<Directive>, NginxError> {
        let fault = |line, fault| Err(NginxError::new(scope.file, line, fault));
        let mut found = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut begin = 0;
        while let Some(token) = lexer.token()? {
            if words.is_empty() {
                begin = token.line;
            }
            match (token.kind, words.is_empty()) {
                (TokenKind::Word(word), _) => words.push(word),
                (TokenKind::End, true) => return fault(token.line, Fault::Nameless(";")),
                (TokenKind::Open, true) => return fault(token.line, Fault::Nameless("{")),
                (TokenKind::Close, true) if scope.depth == 0 => {
                    return fault(token.line, Fault::Unopened);
                }
                (TokenKind::Close, true) => return Ok(found),
                (TokenKind::Close, false) => {
                    return fault(begin, Fault::Unended(words.swap_remove(0)));
                }
                (TokenKind::End, false) => {
                    found.push(self.directive(scope, begin, std::mem::take(&mut words))?);
                }
                (TokenKind::Open, false) => {
                    let mut directive = self.directive(scope, begin, std::mem::take(&mut words))?;
                    directive.block = Some(self.inside(scope, &directive, lexer)?);
                    found.push(directive);
                }
            }
        }
        match words.first() {
            Some(word) => fault(begin, Fault::Unended(word.clone())),
            None if scope.depth > 0 => fault(scope.opened, Fault::OpenBlock),
            None => Ok(found),
        }
    }

    fn inside(
        &mut self,
        scope: Scope<'_>,
        directive: &Directive,
        lexer: &mut Lexer<'_>,
    ) -> Result<Vec<Directive>, NginxError> {
        if directive.name.ends_with("_by_lua_block") {
            return lexer.skip_foreign_block().map(|()| Vec::new());
        }
        let opened = directive.place.line;
        // Counted here: the parser calls itself, and the stack is bounded too.
        if scope.depth == MAX_DEPTH {
            return Err(NginxError::new(scope.file, opened, Fault::TooDeep(MAX_DEPTH)));
        }
        self.block(Scope { depth: scope.depth + 1, opened, ..scope }, lexer)
    }

    fn directive(
        &mut self,
        scope: Scope<'_>,
        line: u32,
        mut words: Vec<String>,
    ) -> Result<Directive, NginxError> {
        if self.directives == MAX_DIRECTIVES {
            let fault = Fault::TooManyDirectives(MAX_DIRECTIVES);
            return Err(NginxError::new(scope.file, line, fault));
        }
        self.directives += 1;
        let name = words.remove(0);
        let place = Place { file: scope.index, line };
        Ok(Directive { id: self.directives, place, name, args: words, block: None })
    }
}

/// Block that is read.
#[derive(Clone, Copy)]
struct Scope<'a> {
    file: &'a str,
    index: usize,
    depth: usize,
    opened: u32,
}

#[cfg(test)]
mod tests {
    use crate::{runtime::hint::one_line, tools::import::tree::*};

    fn parse(text: &str) -> Result<Vec<Directive>, String> {
        TreeBuilder::default().parse("a.conf", 0, text).map_err(|error| one_line(&error))
    }

    #[test]
    fn tree_has_words_blocks_and_lines() {
        let tree = parse("a b 'c d';\nserver {\n  location / { e; }\n}\n").expect("a tree");
        assert_eq!((tree[0].text(), tree[0].place.line), ("a b \"c d\"".to_owned(), 1));
        let location = &tree[1].children()[0];
        assert_eq!((location.arg(0), location.place.line, location.id), ("/", 3, 3));
        assert_eq!(location.children()[0].name, "e");
    }

    #[test]
    fn fault_has_its_line_and_a_hint() {
        let told = |text| parse(text).expect_err("a fault");
        assert_eq!(
            told("a;\n}"),
            "a.conf:2: `}` closes no block, hint: remove it, or write the missing `{`"
        );
        assert_eq!(
            told("a {\nb;\n"),
            "a.conf:1: this block is not closed, hint: write the missing `}`"
        );
        assert_eq!(
            told("a {\n b }"),
            "a.conf:2: `b }` has no `;` behind it, hint: write the missing `;`".replace("b }", "b")
        );
        assert_eq!(told(";"), "a.conf:1: `;` without a directive before it, hint: remove it");
        assert_eq!(told("a b"), "a.conf:1: `a` has no `;` behind it, hint: write the missing `;`");
    }

    #[test]
    fn depth_and_count_are_bounded() {
        let deep = |depth: usize| "a {".repeat(depth) + &"}".repeat(depth);
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert!(parse(&deep(MAX_DEPTH + 1)).is_err_and(|told| told.contains("nested deeper")));
        assert!(parse(&"a;".repeat(MAX_DIRECTIVES)).is_ok());
        let many = parse(&"a;".repeat(MAX_DIRECTIVES + 1));
        assert!(many.is_err_and(|told| told.contains("more than 50000 directives")));
    }

    #[test]
    fn lua_block_is_skipped_whole() {
        let tree = parse("content_by_lua_block { if x then y = {} end } a;").expect("a tree");
        assert_eq!((tree.len(), tree[0].children().len()), (2, 0));
    }
}
