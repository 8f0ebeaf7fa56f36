//! Header edits: names that may be edited, and values that are field values.

use http::{HeaderName, header};

use super::{collector::Collector, location::Location};
use crate::{
    config::{nearest, schema::HeadersSpec},
    http::target,
    proxy::header_edits::{self, Edits, Message, NameError, PLACEHOLDERS, Template, TemplateError},
};

/// Resolves the edits of one kind of message.
pub fn edits(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    written: &HeadersSpec,
    message: Message,
) -> Edits {
    let remove = removed(judge, spot.key("remove"), &written.remove, message);
    let mut set: Vec<(HeaderName, Template)> = Vec::new();
    for (text, value) in &written.set {
        let spot = spot.key("set");
        // The key is at fault, and its value is not checked.
        let place = spot.name(text).span;
        let value = judge.take(spot.key(text), template(text, value));
        let name = match header_edits::name(text, message) {
            Ok(name) if remove.contains(&name) => {
                Err(format!("`{text}` is set and removed, hint: `set` alone replaces the header"))
            }
            Ok(name) if set.iter().any(|(other, _)| *other == name) => {
                Err(format!("`{text}` is set twice, hint: keep one of them; case does not matter"))
            }
            Ok(name) => Ok(name),
            // A malformed name is reported where every key is checked.
            Err(NameError::Malformed) => continue,
            Err(error) => Err(format!("`{text}` {error}")),
        };
        match name {
            Ok(name) => set.extend(value.map(|value| (name, value))),
            Err(error) => judge.refuse_at(place, text, &error),
        }
    }
    Edits::new(remove, set)
}

fn removed(
    judge: &mut Collector<'_>,
    spot: Location<'_>,
    texts: &[String],
    message: Message,
) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let name = header_edits::name(text, message).map_err(|error| format!("`{text}` {error}"));
        let name = name.and_then(|name| match (message, &name) {
            (Message::Request, &header::HOST) => {
                Err("`host` cannot be removed, hint: set it to the value for the upstream"
                    .to_owned())
            }
            _ if names.contains(&name) => {
                Err(format!("`{text}` is listed twice, hint: keep one of them"))
            }
            _ => Ok(name),
        });
        names.extend(judge.take(spot.item(index), name));
    }
    names
}

fn template(name: &str, text: &str) -> Result<Template, String> {
    if name.eq_ignore_ascii_case("host") && !target::is_authority(&text.replace("{host}", "a")) {
        return Err(format!(
            "`{text}` is not a host, hint: write `example.com`, with or without a port, or \
            `{{host}}`"
        ));
    }
    Template::parse(text).map_err(|error| match &error {
        TemplateError::Unknown(placeholder) => {
            format!("{error}, hint: {}", nearest::hint(placeholder, &PLACEHOLDERS))
        }
        _ => error.to_string(),
    })
}
