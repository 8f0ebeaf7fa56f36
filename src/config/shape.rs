//! Shape of a value, read from the JSON schema of `File`: one description for the editor, the
//! checks and the decoder.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value as Json;

/// Kinds of value that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Map with these keys only.
    Map(Vec<Field>),
    /// Map with any names.
    Names(Box<Self>),
    /// A list.
    List(Box<Self>),
    /// Any text.
    Text,
    /// One of these words.
    Word(Vec<String>),
    /// Whole number within these bounds.
    Whole(u64, u64),
    /// `true` or `false`.
    Flag,
    /// Any of these shapes.
    Either(Vec<Self>),
}

/// Key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the key.
    pub name: String,
    /// True if it must be present.
    pub required: bool,
    /// Shape of its value.
    pub shape: Shape,
}

impl Shape {
    /// Shape of a type.
    #[must_use]
    pub fn of<T: JsonSchema>() -> Self {
        let settings =
            // Without references, so that the reader below never has to follow one.
            SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
        Self::read(settings.into_generator().into_root_schema_for::<T>().as_value())
    }

    fn read(schema: &Json) -> Self {
        if let Some(choices) = ["anyOf", "oneOf"].iter().find_map(|word| schema[word].as_array()) {
            return Self::either(
                // An optional value is absent when it is left out, so null is no choice of its own.
                choices.iter().filter(|choice| choice["type"] != "null").map(Self::read).collect(),
            );
        }
        if let Some(word) = schema["const"].as_str() {
            return Self::Word(vec![word.to_owned()]);
        }
        if let Some(words) = schema["enum"].as_array() {
            return Self::Word(words.iter().filter_map(Json::as_str).map(str::to_owned).collect());
        }
        match &schema["type"] {
            Json::Array(kinds) => {
                let kinds = kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null");
                Self::either(kinds.map(|kind| Self::kind(kind, schema)).collect())
            }
            kind => Self::kind(kind.as_str().unwrap_or("string"), schema),
        }
    }

    /// Merges words into one choice; a single choice is returned as it is.
    fn either(choices: Vec<Self>) -> Self {
        let (mut words, mut others) = (Vec::new(), Vec::new());
        for choice in choices {
            match choice {
                Self::Word(more) => words.extend(more),
                other => others.push(other),
            }
        }
        if !words.is_empty() {
            others.insert(0, Self::Word(words));
        }
        if others.len() > 1 { Self::Either(others) } else { others.pop().unwrap_or(Self::Text) }
    }

    fn kind(kind: &str, schema: &Json) -> Self {
        match kind {
            "object" => match &schema["properties"] {
                Json::Object(fields) => Self::Map(
                    fields.iter().map(|(name, of)| Field::read(name, of, schema)).collect(),
                ),
                _ => Self::Names(Box::new(Self::read(&schema["additionalProperties"]))),
            },
            "array" => Self::List(Box::new(Self::read(&schema["items"]))),
            "integer" => {
                // The schema has no bound for the type itself, and the decoder would refuse a
                // larger number.
                let largest = if schema["format"] == "uint32" { u32::MAX.into() } else { u64::MAX };
                Self::Whole(
                    schema["minimum"].as_u64().unwrap_or(0),
                    schema["maximum"].as_u64().unwrap_or(largest),
                )
            }
            "boolean" => Self::Flag,
            _ => Self::Text,
        }
    }

    /// Name of the shape in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Map(_) | Self::Names(_) => "a map".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Word(words) if words.len() == 1 => format!("`{}`", words[0]),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Whole(0, most) if *most >= u32::MAX.into() => "a whole number".to_owned(),
            Self::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Self::Flag => "true or false".to_owned(),
            Self::Either(choices) => {
                choices.iter().map(Self::name).collect::<Vec<_>>().join(" or ")
            }
        }
    }

    /// Choices of the shape, or itself.
    #[must_use]
    pub fn choices(&self) -> &[Self] {
        match self {
            Self::Either(choices) => choices,
            one => std::slice::from_ref(one),
        }
    }
}

impl Field {
    fn read(name: &str, of: &Json, parent: &Json) -> Self {
        let required = parent["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|required| required == name));
        Self { name: name.to_owned(), required, shape: Shape::read(of) }
    }
}
