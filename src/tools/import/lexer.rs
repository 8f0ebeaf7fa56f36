//! Words of an nginx configuration: quotes, escapes, comments, blocks.
//!
//! Guarantee: any text is read in one pass without a panic, and every error has its line
//! (`import_nginx` in `tests/edge/corpus.rs`, and the fuzz target of that name).

use super::error::{Fault, NginxError};

/// Token of a configuration, with the line it begins on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Kind and text.
    pub kind: TokenKind,
    /// Line, from 1.
    pub line: u32,
}

/// Kind of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Word, without its quotes and escapes.
    Word(String),
    /// `;`
    End,
    /// `{`
    Open,
    /// `}`
    Close,
}

/// Reader of tokens.
#[derive(Debug)]
pub struct Lexer<'a> {
    file: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    line: u32,
}

impl<'a> Lexer<'a> {
    /// Reads the text of the file that errors call `file`.
    #[must_use]
    pub fn new(file: &'a str, text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { file, rest: text.chars().peekable(), line: 1 }
    }

    /// Line of the next character.
    #[must_use]
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Returns the next token, or none at the end.
    ///
    /// # Errors
    /// A quote without an end, or with a letter behind it.
    pub fn token(&mut self) -> Result<Option<Token>, NginxError> {
        self.skip_space();
        let line = self.line;
        let Some(first) = self.next() else { return Ok(None) };
        let kind = match first {
            ';' => TokenKind::End,
            '{' => TokenKind::Open,
            '}' => TokenKind::Close,
            '"' | '\'' => TokenKind::Word(self.quoted(first)?),
            first => TokenKind::Word(self.plain(first)),
        };
        Ok(Some(Token { kind, line }))
    }

    /// Skips the inside of a block that is not nginx's language, with its closing brace.
    ///
    /// # Errors
    /// When there is none.
    pub fn skip_foreign_block(&mut self) -> Result<(), NginxError> {
        let (line, mut depth) = (self.line, 1_u32);
        while let Some(letter) = self.next() {
            match letter {
                '{' => depth = depth.saturating_add(1),
                '}' if depth == 1 => return Ok(()),
                '}' => depth -= 1,
                // Lua's texts may have braces. They end with their line at the latest.
                '"' | '\'' => self.skip_foreign_text(letter),
                _ => {}
            }
        }
        Err(NginxError::new(self.file, line, Fault::OpenBlock))
    }

    fn skip_foreign_text(&mut self, quote: char) {
        while let Some(letter) = self.next() {
            match letter {
                '\\' => _ = self.next(),
                letter if letter == quote || letter == '\n' => return,
                _ => {}
            }
        }
    }

    fn skip_space(&mut self) {
        while let Some(letter) = self.rest.peek().copied() {
            match letter {
                // A comment begins where a word could; inside of a word `#` is a letter.
                '#' => while self.next().is_some_and(|letter| letter != '\n') {},
                letter if is_space(letter) => _ = self.next(),
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        // Saturating, because a file of more lines is refused by its size before.
        self.line = self.line.saturating_add(u32::from(letter == '\n'));
        Some(letter)
    }

    fn plain(&mut self, first: char) -> String {
        let mut word = String::new();
        self.push(&mut word, first);
        let mut after_dollar = first == '$';
        while let Some(letter) = self.rest.peek().copied() {
            // `${name}` is a variable, any other brace begins a block.
            if is_space(letter) || letter == ';' || (letter == '{' && !after_dollar) {
                break;
            }
            after_dollar = letter == '$';
            self.next();
            self.push(&mut word, letter);
        }
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String, NginxError> {
        let (line, mut word) = (self.line, String::new());
        loop {
            match self.next() {
                Some(letter) if letter == quote => break,
                Some(letter) => self.push(&mut word, letter),
                None => return Err(NginxError::new(self.file, line, Fault::OpenQuote(quote))),
            }
        }
        match self.rest.peek() {
            Some(letter) if !is_space(*letter) && !matches!(letter, ';' | '{' | ')') => {
                Err(NginxError::new(self.file, self.line, Fault::BehindQuote(*letter)))
            }
            _ => Ok(word),
        }
    }

    /// Appends a letter, or what a backslash and the letter behind it stand for.
    fn push(&mut self, word: &mut String, letter: char) {
        if letter != '\\' {
            return word.push(letter);
        }
        match self.next() {
            Some(letter @ ('"' | '\'' | '\\')) => word.push(letter),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            // nginx keeps the backslash, which regular expressions need.
            Some(other) => word.extend(['\\', other]),
            None => word.push('\\'),
        }
    }
}

fn is_space(letter: char) -> bool {
    matches!(letter, ' ' | '\t' | '\r' | '\n')
}

#[cfg(test)]
mod tests {
    use crate::tools::import::lexer::*;

    fn words(text: &str) -> Vec<String> {
        let mut lexer = Lexer::new("a.conf", text);
        let mut found = Vec::new();
        while let Some(token) = lexer.token().expect("tokens") {
            found.push(match token.kind {
                TokenKind::Word(word) => word,
                TokenKind::End => ";".to_owned(),
                TokenKind::Open => "{".to_owned(),
                TokenKind::Close => "}".to_owned(),
            });
        }
        found
    }

    #[test]
    fn words_end_at_space_semicolon_and_brace() {
        assert_eq!(words("a b;c{d}"), ["a", "b", ";", "c", "{", "d}"]);
        assert_eq!(words("map $a $b{ x y; }"), ["map", "$a", "$b", "{", "x", "y", ";", "}"]);
        assert_eq!(words("a ${b}c;"), ["a", "${b}c", ";"]);
    }

    #[test]
    fn quotes_and_escapes_are_read_as_nginx_does() {
        assert_eq!(words(r#"a "b c;{" 'd"e';"#), ["a", "b c;{", "d\"e", ";"]);
        assert_eq!(words(r#"a "\"\d\n" \;x;"#), ["a", "\"\\d\n", "\\;x", ";"]);
        assert_eq!(words("\"\" $x;"), ["", "$x", ";"]);
    }

    #[test]
    fn comment_begins_where_a_word_could() {
        assert_eq!(words("a # b;\nc#d; # e"), ["a", "c#d", ";"]);
    }

    #[test]
    fn quote_error_has_its_line() {
        let of = |text| {
            let mut lexer = Lexer::new("a.conf", text);
            loop {
                match lexer.token() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no error"),
                    Err(error) => return error.to_string(),
                }
            }
        };
        assert_eq!(of("a;\n'b\n"), "a.conf:2: the quote `'` is not closed");
        assert_eq!(of("\na 'b'c;"), "a.conf:2: `c` stands directly behind a quote");
    }
}
