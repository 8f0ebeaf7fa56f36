//! Hints of errors: what to write or do instead, apart from the message.
//!
//! Guarantee: message and hint meet only in a line for people, which no code takes apart again. So
//! a value in a message may contain any text, even that of a hint.

use std::{borrow::Cow, fmt};

/// Error whose `Display` is the message alone.
pub trait Hinted: fmt::Display {
    /// Returns what to write or do instead, if there is a usual remedy.
    fn hint(&self) -> Option<String>;

    /// Returns what is valid, if it can be said without the value: for values that are not shown.
    fn rule(&self) -> Option<&'static str> {
        None
    }
}

/// Error that is made where it is reported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HintedError {
    message: String,
    hint: Cow<'static, str>,
    rule: Option<&'static str>,
}

/// Builds an error with a hint; an empty hint means none. A hint that is the same for every value is
/// its rule too.
pub fn hinted(message: impl fmt::Display, hint: impl Into<Cow<'static, str>>) -> HintedError {
    let hint = hint.into();
    let rule = match hint {
        Cow::Borrowed(rule) if !rule.is_empty() => Some(rule),
        _ => None,
    };
    HintedError { message: message.to_string(), hint, rule }
}

impl HintedError {
    /// Sets what is valid, for a hint that names the value.
    #[must_use]
    pub fn with_rule(self, rule: &'static str) -> Self {
        Self { rule: Some(rule), ..self }
    }
}

/// Message and hint on one line, for people.
pub fn one_line(error: &(impl Hinted + ?Sized)) -> String {
    format!("{error}{}", after_comma(error.hint()))
}

/// Hint as the end of a line for people.
#[must_use]
pub fn after_comma(hint: Option<String>) -> String {
    hint.map_or_else(String::new, |hint| format!(", hint: {hint}"))
}

impl Hinted for HintedError {
    fn hint(&self) -> Option<String> {
        Some(&*self.hint).filter(|hint| !hint.is_empty()).map(str::to_owned)
    }

    fn rule(&self) -> Option<&'static str> {
        self.rule
    }
}

impl Hinted for str {
    fn hint(&self) -> Option<String> {
        None
    }
}

impl Hinted for String {
    fn hint(&self) -> Option<String> {
        None
    }
}

impl<E: Hinted + ?Sized> Hinted for &E {
    fn hint(&self) -> Option<String> {
        (**self).hint()
    }

    fn rule(&self) -> Option<&'static str> {
        (**self).rule()
    }
}

#[cfg(test)]
mod tests {
    use crate::runtime::hint::*;

    #[test]
    fn hint_stays_apart_from_value_that_looks_like_one() {
        let error = hinted("`a, hint: b` is bad", "write c");
        assert_eq!(error.to_string(), "`a, hint: b` is bad");
        assert_eq!(error.hint().as_deref(), Some("write c"));
        assert_eq!(one_line(&error), "`a, hint: b` is bad, hint: write c");
        assert_eq!(one_line(&hinted("bad", "")), "bad");
        assert_eq!(one_line("bad"), "bad");
    }
}
