//! Fields that a service has set for a request.

use http::{HeaderName, HeaderValue};

use crate::http::header_list::HeaderList;

/// Fields of a verdict that are forwarded.
#[derive(Debug, Default)]
pub struct VerifiedFields {
    lines: Vec<(HeaderName, HeaderValue)>,
}

impl VerifiedFields {
    /// Fields of these names in a response, in the order of the names.
    #[must_use]
    pub fn of(names: &[HeaderName], response: &HeaderList) -> Self {
        let lines = names.iter().flat_map(|name| {
            let values = response.values(name.as_str());
            values.filter_map(|value| Some((name.clone(), HeaderValue::from_bytes(value).ok()?)))
        });
        Self { lines: lines.collect() }
    }

    /// Adds them to the fields of a request.
    pub fn add_to(&self, fields: &mut HeaderList) {
        self.lines.iter().for_each(|(name, value)| fields.append(name, value));
    }

    /// Value of the first field of this name, as a text.
    #[must_use]
    pub fn text(&self, name: &HeaderName) -> Option<Box<str>> {
        let (_, value) = self.lines.iter().find(|(other, _)| other == name)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into())
    }

    /// Length of all names and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }
}
