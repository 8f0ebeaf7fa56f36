//! Output of a configuration: the resolved values, and the schema.

use schemars::schema_for;

use super::{load::Loaded, schema::File};

/// Renders the resolved configuration as YAML that loads to the same again. A value from the
/// environment or a file may be a secret, and is shown as written.
#[must_use]
pub fn show(loaded: &Loaded) -> String {
    loaded.file.encode(&loaded.as_written)
}

/// JSON schema of the configuration file, for editors.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", schema_for!(File).as_value())
}
