//! A configuration shown: as used, and what could be written.

use schemars::schema_for;

use super::{load::Loaded, schema::File};

/// The configuration as used, as YAML that loads to the same again. A value that came from the
/// environment or from a file may be a secret, and is shown as it is written.
#[must_use]
pub fn show(loaded: &Loaded) -> String {
    loaded.file.encode(&loaded.as_written)
}

/// The JSON schema of the configuration file, for editors.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", schema_for!(File).as_value())
}
