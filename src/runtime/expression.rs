//! Regular expressions of a configuration: matched in linear time over bytes, bounded in memory, and
//! compared by their text.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// Limit on the size of a compiled expression, and on what is built while searching, in bytes. Beyond
/// the second one the search is slower, and still linear.
const MAX_SIZE: usize = 256 * 1024;

/// Regular expression without Unicode classes.
#[derive(Clone)]
pub struct Expression {
    regex: Regex,
    ignores_case: bool,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is not one, or larger than 256 KiB when compiled.
    pub fn new(text: &str, ignores_case: bool) -> Result<Self, regex::Error> {
        let mut builder = RegexBuilder::new(text);
        builder.unicode(false).case_insensitive(ignores_case);
        let regex = builder.size_limit(MAX_SIZE).dfa_size_limit(MAX_SIZE).build()?;
        Ok(Self { regex, ignores_case })
    }

    /// Text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        (self.as_str(), self.ignores_case) == (other.as_str(), other.ignores_case)
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({})", self.as_str())
    }
}
