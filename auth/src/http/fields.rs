//! The fields of a request, taken one by one: what is missing, unknown, too long or holds a NUL is
//! named.

use std::fmt::Display;

use serde_json::{Map, Value};
use zeroize::Zeroize;

use crate::http::problem::Problem;

/// Longest text in a request, in bytes, whatever it is for.
const TEXT_MAX: usize = 2048;

/// The members of a JSON object or the pairs of a form that have not been taken yet.
#[derive(Debug, Default)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// The body is not JSON, or not an object.
    pub fn json(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self(members)),
            Ok(_) => Err(Problem::malformed("the body is not a JSON object")),
            Err(error) => {
                Err(Problem::malformed(format!("the body is not JSON: line {}", error.line())))
            }
        }
    }

    /// Takes the pairs of a form; of a repeated name the last one counts.
    #[must_use]
    pub fn form(pairs: Vec<(String, String)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
    }

    /// Takes a text that must be there.
    ///
    /// # Errors
    /// It is missing, not a text, too long or holds a NUL.
    pub fn text(&mut self, name: &str) -> Result<String, Problem> {
        self.optional_text(name)?.ok_or_else(|| Problem::field(name, "is missing"))
    }

    /// Takes a text that may be left out or be null.
    ///
    /// # Errors
    /// It is not a text, too long or holds a NUL.
    pub fn optional_text(&mut self, name: &str) -> Result<Option<String>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => checked(name, text).map(Some),
            Some(_) => Err(Problem::field(name, "is not a text")),
        }
    }

    /// Takes a text that must be there and parses it.
    ///
    /// # Errors
    /// See [`Fields::text`], and what `parse` says.
    pub fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<T, Problem> {
        parse(self.text(name)?).map_err(|rule| Problem::field(name, rule))
    }

    /// Takes a text that may be left out and parses it.
    ///
    /// # Errors
    /// See [`Fields::optional_text`], and what `parse` says.
    pub fn optional_parsed<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        self.optional_text(name)?.map(parse).transpose().map_err(|rule| Problem::field(name, rule))
    }

    /// Takes a yes or no that may be left out.
    ///
    /// # Errors
    /// It is neither true nor false.
    pub fn optional_flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(Problem::field(name, "is neither true nor false")),
        }
    }

    /// Refuses what is left.
    ///
    /// # Errors
    /// Names the first field that was not taken.
    pub fn done(mut self) -> Result<(), Problem> {
        // The name comes from the client: it is cut before it is sent back.
        let left = self.0.keys().next().map(|name| name.chars().take(64).collect::<String>());
        self.0.values_mut().for_each(forget);
        left.map_or(Ok(()), |name| Err(Problem::field(&name, "is not a field of this request")))
    }
}

/// Wipes a value that was not taken: it may still be a password under a wrong name.
fn forget(value: &mut Value) {
    if let Value::String(text) = value {
        text.zeroize();
    }
}

fn checked(name: &str, text: String) -> Result<String, Problem> {
    if text.len() > TEXT_MAX {
        return Err(Problem::field(name, format!("is longer than {TEXT_MAX} bytes")));
    }
    // PostgreSQL takes no NUL in a text, and would fail the query.
    if text.contains('\0') {
        return Err(Problem::field(name, "holds a NUL"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::Fields;

    fn field_of(body: &str) -> String {
        let read = || {
            let mut fields = Fields::json(body.as_bytes())?;
            fields.text("a")?;
            fields.optional_flag("b")?;
            fields.done()
        };
        read().expect_err("refused").field.unwrap_or_default()
    }

    #[test]
    fn fields_name_what_is_wrong() {
        assert_eq!(field_of("{}"), "a");
        assert_eq!(field_of(r#"{"a": 1}"#), "a");
        assert_eq!(field_of(r#"{"a": "x\u0000"}"#), "a");
        assert_eq!(field_of(&format!(r#"{{"a": "{}"}}"#, "x".repeat(2049))), "a");
        assert_eq!(field_of(r#"{"a": "x", "b": "yes"}"#), "b");
        assert_eq!(field_of(r#"{"a": "x", "z": 1}"#), "z");
        assert_eq!(field_of("[]"), "");
    }
}
