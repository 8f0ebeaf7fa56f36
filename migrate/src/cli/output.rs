//! Response of a command: text for a person, the same as JSON, or an error; the only place that
//! prints one.

use std::{
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Value, json};

use crate::Error;

/// An output in both forms.
#[derive(Debug)]
pub(super) struct Output {
    /// For a person; may be empty.
    pub(super) text: String,
    /// For a program.
    pub(super) json: Value,
    /// An error that comes with the output, such as not being at head.
    pub(super) error: Option<Error>,
}

impl Output {
    pub(super) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, error: None }
    }

    pub(super) fn but(mut self, found: Result<(), Error>) -> Self {
        self.error = found.err();
        self
    }

    /// Prints it, and any error, and picks the exit code.
    pub(super) fn print(output: Result<Self, Error>, json: bool) -> ExitCode {
        let (output, error) = match output {
            Ok(output) => (Some((output.text, output.json)), output.error),
            Err(error) => (None, Some(error)),
        };
        let failure = error.as_ref().map(|error| {
            json!({ "error": error.to_string(), "hint": error.hint(), "exit": error.exit_code() })
        });
        // JSON always has one object on stdout, so that a program never parses an empty text.
        let shown = match (output, json) {
            (Some((_, mut value)), true) => {
                if let (Some(failure), Some(object)) = (failure, value.as_object_mut()) {
                    object.insert("failure".into(), failure);
                }
                value.to_string()
            }
            (None, true) => json!({ "failure": failure }).to_string(),
            (Some((text, _)), false) => text,
            (None, false) => String::new(),
        };
        let printed =
            if shown.is_empty() { Ok(()) } else { writeln!(io::stdout(), "{}", shown.trim_end()) };
        if let Some(error) = &error {
            tell(&format!("error: {error}"));
            error.hint().into_iter().for_each(|hint| tell(&format!("hint: {hint}")));
        }
        let code = error.map_or(0, |error| error.exit_code());
        // The reader of the output has left (`migrate history | head`), or it could not be written:
        // the work itself is done.
        ExitCode::from(
            if code == 0 && printed.is_err_and(|e| e.kind() != io::ErrorKind::BrokenPipe) {
                1
            } else {
                code
            },
        )
    }
}

/// A line on stderr.
pub(super) fn tell(line: &dyn Display) {
    // Without stderr there is nowhere left to complain.
    let _ = writeln!(io::stderr(), "{line}");
}
