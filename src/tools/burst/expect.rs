//! Counts that an operator expects of a burst: `pass=1 wait=20 reject=9`.

use std::str::FromStr;

use super::class::{Class, Counts};
use crate::runtime::hint::Hinted;

/// Expected counts; a class that is not named is not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation(Vec<(Class, usize)>);

/// Error of a text that is not an expectation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpectError {
    /// The text is not `class=count`.
    #[error("`{0}` is not an expectation")]
    Shape(String),
    /// There is no class of this name.
    #[error("unknown count `{0}`")]
    Class(String),
    /// The count is not a number.
    #[error("`{0}` is not a count")]
    Count(String),
}

impl Hinted for ExpectError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Shape(_) => "write counts like `pass=1 wait=20 reject=9`",
            Self::Class(_) => "use pass, wait, reject or failed",
            Self::Count(_) => "write digits, like `reject=9`",
        };
        Some(text.to_owned())
    }
}

impl Expectation {
    /// Differences, one sentence each.
    #[must_use]
    pub fn broken_by(&self, seen: &Counts) -> Vec<String> {
        let differing = self.0.iter().filter(|(class, count)| seen.of(*class) != *count);
        let sentence = |class: Class, count| {
            let name = class.as_str();
            format!("expected {name}={count}, saw {name}={}", seen.of(class))
        };
        differing.map(|(class, count)| sentence(*class, *count)).collect()
    }
}

impl FromStr for Expectation {
    type Err = ExpectError;

    fn from_str(text: &str) -> Result<Self, ExpectError> {
        let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            return Err(ExpectError::Shape(text.to_owned()));
        }
        words.into_iter().map(term).collect::<Result<_, _>>().map(Self)
    }
}

fn term(word: &str) -> Result<(Class, usize), ExpectError> {
    let (name, count) = word.split_once('=').ok_or_else(|| ExpectError::Shape(word.to_owned()))?;
    let class = Class::ALL.into_iter().find(|class| class.as_str() == name);
    let class = class.ok_or_else(|| ExpectError::Class(name.to_owned()))?;
    Ok((class, count.parse().map_err(|_| ExpectError::Count(count.to_owned()))?))
}

#[cfg(test)]
mod tests {
    use crate::{runtime::hint::one_line, tools::burst::expect::*};

    #[test]
    fn only_what_is_named_is_held_against_the_counts() {
        let seen = Counts { pass: 1, wait: 20, reject: 9, failed: 0 };
        let broken = |text: &str| text.parse::<Expectation>().expect(text).broken_by(&seen);
        assert_eq!(broken("pass=1 wait=20 reject=9"), [""; 0]);
        assert_eq!(broken("reject=9"), [""; 0]);
        assert_eq!(
            broken("pass=2, reject=8"),
            ["expected pass=2, saw pass=1", "expected reject=8, saw reject=9"]
        );
        assert_eq!(broken("failed=1"), ["expected failed=1, saw failed=0"]);
    }

    #[test]
    fn expectation_error_says_what_to_write() {
        for (text, says) in [
            ("", "`` is not an expectation"),
            ("pass", "`pass` is not an expectation"),
            ("passed=1", "unknown count `passed`, hint: use pass, wait, reject or failed"),
            ("pass=one", "`one` is not a count"),
        ] {
            let error = one_line(&text.parse::<Expectation>().expect_err(text));
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
