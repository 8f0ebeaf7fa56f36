//! Errors of reading nginx's files: each has its file and line, and what to do.

use std::fmt;

use crate::runtime::hint::Hinted;

/// Error of reading nginx's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NginxError {
    file: String,
    line: u32,
    fault: Fault,
}

/// Fault of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is larger than the limit.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// A quote has no end.
    #[error("the quote `{0}` is not closed")]
    OpenQuote(char),
    /// A letter follows a closing quote.
    #[error("`{0}` stands directly behind a quote")]
    BehindQuote(char),
    /// A block has no end.
    #[error("this block is not closed")]
    OpenBlock,
    /// A brace closes nothing.
    #[error("`}}` closes no block")]
    Unopened,
    /// A block or a semicolon has no directive before it.
    #[error("`{0}` without a directive before it")]
    Nameless(&'static str),
    /// A directive has no end.
    #[error("`{0}` has no `;` behind it")]
    Unended(String),
    /// Blocks are nested deeper than the limit.
    #[error("blocks are nested deeper than {0}")]
    TooDeep(usize),
    /// More directives than the limit.
    #[error("there are more than {0} directives")]
    TooManyDirectives(usize),
    /// More files than the limit.
    #[error("more than {0} files are included")]
    TooManyFiles(usize),
}

impl NginxError {
    /// Builds the error of a fault; line 0 is the whole file.
    #[must_use]
    pub fn new(file: &str, line: u32, fault: Fault) -> Self {
        Self { file: file.to_owned(), line, fault }
    }
}

impl fmt::Display for NginxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "`{}` {}", self.file, self.fault),
            line => write!(f, "{}:{line}: {}", self.file, self.fault),
        }
    }
}

impl std::error::Error for NginxError {}

impl Hinted for NginxError {
    fn hint(&self) -> Option<String> {
        let text = match &self.fault {
            Fault::Unreadable(_) => "name a file of nginx that this user may read",
            Fault::TooLarge(_) => "is this the right file?",
            Fault::OpenQuote(quote) => return Some(format!("write a second `{quote}`")),
            Fault::BehindQuote(_) => "put a space behind the quote, or quote the whole word",
            Fault::OpenBlock => "write the missing `}`",
            Fault::Unopened => "remove it, or write the missing `{`",
            Fault::Nameless(_) => "remove it",
            Fault::Unended(_) => "write the missing `;`",
            Fault::TooDeep(_) => "is this a configuration of nginx?",
            Fault::TooManyDirectives(_) => "import the servers one by one",
            Fault::TooManyFiles(_) => "does a file include itself?",
        };
        Some(text.to_owned())
    }
}
