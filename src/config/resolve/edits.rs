//! Header edits: names that may be edited, and values that are field values.

use std::collections::BTreeMap;

use http::{HeaderName, header};

use super::{collector::Collector, location::Location};
use crate::{
    config::{nearest, schema::HeadersSpec},
    http::target,
    proxy::header_edits::{self, Edits, Message, NameError, PLACEHOLDERS, Template, TemplateError},
    runtime::hint::{Hinted, HintedError, hinted},
};

/// Resolves the edits of one kind of message.
pub fn edits(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &HeadersSpec,
    message: Message,
) -> Edits {
    let remove = removed(judge, spot.key("remove"), &written.remove, message);
    let set = set_in(judge, spot.key("set"), &written.set, &remove, message);
    Edits::new(remove, set)
}

/// Resolves fields to set. None of them may be among those that are removed.
pub fn set_in(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &BTreeMap<String, String>,
    remove: &[HeaderName],
    message: Message,
) -> Vec<(HeaderName, Template)> {
    let mut set: Vec<(HeaderName, Template)> = Vec::new();
    for (text, value) in written {
        // The key is at fault, and its value is not checked.
        let place = spot.name(text).span;
        // Parsed before the name is judged, so that both can be reported.
        let value = judge.take(spot.key(text), template(text, value));
        let name = match header_edits::name(text, message) {
            Ok(name) if remove.contains(&name) => Err(hinted(
                format!("`{text}` is set and removed"),
                "`set` alone replaces the header",
            )),
            Ok(name) if set.iter().any(|(other, _)| *other == name) => {
                let hint = "keep one of them; case does not matter";
                Err(hinted(format!("`{text}` is set twice"), hint))
            }
            Ok(name) => Ok(name),
            // A malformed name is reported where every key is checked.
            Err(NameError::Malformed) => continue,
            Err(error) => Err(about(text, error)),
        };
        match name {
            Ok(name) => set.extend(value.map(|value| (name, value))),
            Err(error) => judge.refuse_at(place, error),
        }
    }
    set
}

fn removed(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    texts: &[String],
    message: Message,
) -> Vec<HeaderName> {
    listed(judge, spot, texts, message, |name| match (message, name) {
        (Message::Request, &header::HOST) => {
            Some(hinted("`host` cannot be removed", "set it to the value for the upstream"))
        }
        _ => None,
    })
}

/// Resolves a list of names of headers, none of them twice, and none that `refuse` has an error for.
pub fn listed(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    texts: &[String],
    message: Message,
    refuse: impl Fn(&HeaderName) -> Option<HintedError>,
) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let name = header_edits::name(text, message).map_err(|error| about(text, error));
        let name = name.and_then(|name| match refuse(&name) {
            Some(error) => Err(error),
            None if names.contains(&name) => {
                Err(hinted(format!("`{text}` is listed twice"), "keep one of them"))
            }
            None => Ok(name),
        });
        names.extend(judge.take(spot.item(index), name));
    }
    names
}

/// Error about a header of this name.
fn about(name: &str, error: NameError) -> HintedError {
    hinted(format!("`{name}` {error}"), error.hint().unwrap_or_default())
}

/// Parses the value of a field.
///
/// # Errors
/// The reason why it is none.
pub fn template(name: &str, text: &str) -> Result<Template, HintedError> {
    // Servers route by the host, so it must be an authority and not any text.
    if name.eq_ignore_ascii_case("host") && !target::is_authority(&text.replace("{host}", "a")) {
        let hint = "write `example.com`, with or without a port, or `{host}`";
        return Err(hinted(format!("`{text}` is not a host"), hint));
    }
    Template::parse(text).map_err(|error| {
        let hint = match &error {
            TemplateError::Unknown(placeholder) => nearest::hint(placeholder, &PLACEHOLDERS),
            _ => error.hint().unwrap_or_default(),
        };
        hinted(error, hint)
    })
}
