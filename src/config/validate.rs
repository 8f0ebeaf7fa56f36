//! Validation of the shape of a tree: unknown keys, wrong kinds of values, missing values.
//!
//! Guarantee: the tree decodes afterwards. Wrong values are reported and removed, or replaced by a
//! stand-in marked as broken if a value is required, so that the rest can still be checked.

use super::{
    directives, nearest,
    problem::{Problems, Span},
    shape::{Field, Shape},
    yaml_tree::{MappingEntry, Node, Scalar, Value},
};

/// Examples for required keys; prefixed with the name of the list where the key means something
/// else elsewhere.
const EXAMPLES: [(&str, &str); 13] = [
    ("certificates.key", "certs/privkey.pem"),
    ("after", "20"),
    ("for", "10m"),
    ("cert", "certs/fullchain.pem"),
    ("certificates", "[ { cert: FILE, key: FILE } ]"),
    ("address", "\"127.0.0.1:8080\""),
    ("endpoints", "[ \"http://127.0.0.1:8000\" ]"),
    ("key", "client_ip"),
    ("max", "10"),
    ("rate", "10r/s"),
    ("status", "503"),
    ("upstream", "http://127.0.0.1:8000"),
    ("zone", "NAME"),
];

/// Checks the whole tree; returns false if it is not a map.
#[must_use]
pub fn check<'a>(root: &mut Node, shape: &'a Shape, problems: &'a mut Problems) -> bool {
    let span = root.span;
    let top = match shape {
        Shape::Map(fields) => fields.iter().map(|field| field.name.as_str()).collect(),
        _ => Vec::new(),
    };
    Checker { problems, top }.node(root, shape, Place { name: "the configuration", span })
}

/// Name of a node in messages, and the place to point to if it has none.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    span: Span,
}

struct Checker<'a> {
    problems: &'a mut Problems,
    /// Keys at the top of the file.
    top: Vec<&'a str>,
}

impl Checker<'_> {
    /// Checks a node; returns true if it may stay.
    fn node(&mut self, node: &mut Node, shape: &Shape, place: Place<'_>) -> bool {
        // The first choice that fits decides, so `Shape::either` puts words before text.
        for choice in shape.choices() {
            match (&mut node.value, choice) {
                (Value::Map(entries), Shape::Map(fields)) => {
                    return self.fields(entries, fields, place);
                }
                (Value::Map(entries), Shape::Names(of)) => return self.names(entries, of),
                (Value::List(items), Shape::List(of)) => return self.items(items, of, place.name),
                (Value::Scalar(scalar), choice) if fits(scalar, choice) => {
                    // Text stays text, even when it looks like a number.
                    if matches!(choice, Shape::Word(_) | Shape::Text) {
                        scalar.make_text();
                    }
                    return true;
                }
                _ => {}
            }
        }
        self.wrong_kind(node, shape, place);
        false
    }

    fn fields(
        &mut self,
        entries: &mut Vec<MappingEntry>,
        fields: &[Field],
        place: Place<'_>,
    ) -> bool {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let required = fields.iter().filter(|field| field.required);
        // Looked for before the entries are checked: the check removes wrong ones, which are not
        // missing.
        let absent = required.filter(|field| !entries.iter().any(|entry| entry.key == field.name));
        let absent: Vec<&Field> = absent.collect();
        // A misspelt key is reported once, not also as missing.
        let misspelt = |field: &Field| {
            let unknown = entries.iter().filter(|entry| !names.contains(&entry.key.as_str()));
            unknown
                .into_iter()
                .any(|entry| nearest::nearest(&entry.key, &names) == Some(&field.name))
        };
        let told: Vec<bool> = absent.iter().map(|field| misspelt(field)).collect();
        entries.retain_mut(|entry| {
            let Some(field) = fields.iter().find(|field| field.name == entry.key) else {
                self.unknown_key(entry, &names);
                return false;
            };
            let fits = self.node(
                &mut entry.node,
                &field.shape,
                Place { name: &entry.key, span: entry.key_span },
            );
            if fits {
                return true;
            }
            // A stand-in keeps a wrong value's key in place, so that what refers to it is still
            // checked.
            let stand_in = stand_in(&field.shape);
            let replaced = stand_in.is_some();
            entry.node.value = stand_in.unwrap_or(Value::List(Vec::new()));
            replaced
        });
        for (field, told) in absent.into_iter().zip(told) {
            if !told {
                self.missing(field, entries, place);
            }
            // Without a stand-in the whole map cannot be decoded, and is removed by the caller.
            let Some(value) = stand_in(&field.shape) else { return false };
            let node = Node { span: place.span, value };
            let (key, key_span) = (field.name.clone(), place.span);
            entries.push(MappingEntry { key, key_span, node, is_inherited: false });
        }
        true
    }

    fn names(&mut self, entries: &mut Vec<MappingEntry>, of: &Shape) -> bool {
        entries.retain_mut(|entry| {
            let fits =
                self.node(&mut entry.node, of, Place { name: &entry.key, span: entry.key_span });
            // After its value, because a wrong name does not make the value wrong.
            self.name(entry);
            fits
        });
        true
    }

    /// Names are used unchanged in logs and response fields.
    fn name(&mut self, entry: &MappingEntry) {
        let name = &entry.key;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(letter) {
            let hint = "use at most 64 letters, digits, `_` and `-`";
            self.problems.error(entry.key_span, format!("`{name}` is not a name"), hint);
        }
    }

    fn items(&mut self, items: &mut Vec<Node>, of: &Shape, list: &str) -> bool {
        items.retain_mut(|item| {
            let place = Place { name: list, span: item.span };
            let name = format!("each entry of {list}");
            self.node(item, of, Place { name: &name, ..place })
        });
        true
    }

    fn unknown_key(&mut self, entry: &MappingEntry, known: &[&str]) {
        let hint = match directives::misplaced(&entry.key) {
            // A word of both languages is misplaced rather than nginx's.
            _ if self.top.contains(&entry.key.as_str()) => {
                format!("`{}` belongs at the top of the file and applies to all routes", entry.key)
            }
            Some(row) if row.key.is_empty() => {
                format!("nginx's `{}` has no key here: {}", entry.key, row.note)
            }
            Some(row) => format!("nginx's `{}` is here: {}", entry.key, row.counterpart()),
            None => nearest::hint(&entry.key, known),
        };
        self.problems.error(entry.key_span, format!("unknown key `{}`", entry.key), hint);
    }

    fn missing(&mut self, field: &Field, entries: &[MappingEntry], place: Place<'_>) {
        // An entry of a list has no name of its own, so its first key is the place to point at.
        let span = entries.first().map_or(place.span, |first| first.key_span);
        let (span, of) = match place.name.strip_prefix("each entry of ") {
            Some(list) => (span, format!("an entry of `{list}`")),
            None => (place.span, format!("`{}`", place.name)),
        };
        let fits = |(name, _): &&(&str, &str)| match (
            name.split_once('.'),
            place.name.strip_prefix("each entry of "),
        ) {
            (Some((list, name)), Some(of)) => list == of && name == field.name,
            _ => *name == field.name,
        };
        let example = EXAMPLES.iter().find(fits).map_or("VALUE", |(_, example)| example);
        let hint = format!("add it, like `{}: {example}`", field.name);
        self.problems.error(span, format!("{of} has no `{}`", field.name), hint);
    }

    fn wrong_kind(&mut self, node: &Node, shape: &Shape, place: Place<'_>) {
        let name = quoted(place.name);
        let (span, found) = match &node.value {
            // Reported where it could not be filled in.
            Value::Scalar(scalar) if scalar.broken => return,
            Value::Scalar(scalar) if scalar.is_null() => {
                let hint = format!("write {}, or leave the key out", shape.name());
                return self.problems.error(node.span, format!("{name} has no value"), hint);
            }
            // What came from outside may be a secret.
            Value::Scalar(scalar) => match &scalar.filled {
                Some(_) => (node.span, "the value filled in here".to_owned()),
                None => (node.span, format!("`{}`", shorten(&scalar.text))),
            },
            Value::List(_) => (place.span, "a list".to_owned()),
            Value::Map(_) => (place.span, "a map".to_owned()),
        };
        let message = match shape {
            Shape::Word(_) => format!("{name} cannot be {found}"),
            _ => format!("{name} must be {}, not {found}", shape.name()),
        };
        self.problems.error(span, message, advice(node, shape));
    }
}

/// Advice on how to write a value of a shape.
fn advice(node: &Node, shape: &Shape) -> String {
    let scalar = node.scalar().filter(|scalar| scalar.filled.is_none());
    let written = scalar.map_or("", |scalar| &scalar.text);
    // A quoted `10` is text where a number is needed: the quotation marks are the mistake.
    let unquoted = scalar.map(|scalar| Scalar { plain: true, ..scalar.clone() });
    if unquoted.is_some_and(|unquoted| shape.choices().iter().any(|choice| fits(&unquoted, choice)))
    {
        return format!("leave the quotes out: `{written}`");
    }
    match shape {
        Shape::Word(words) => {
            nearest::hint(written, &words.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Shape::List(_) => "write a list: [ one, another ], or one `- ` line for each".to_owned(),
        Shape::Map(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            format!("write `key: value` with keys of these: {}", names.join(", "))
        }
        Shape::Names(_) => "write a name, and its settings below it".to_owned(),
        Shape::Flag => nearest::hint(written, &["true", "false"]),
        Shape::Whole(least, most)
            if !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("the nearest is `{}`", written.parse().unwrap_or(*most).clamp(*least, *most))
        }
        Shape::Whole(..) if node.scalar().is_some_and(|scalar| scalar.filled.is_some()) => {
            "it must be digits, without a unit or a point".to_owned()
        }
        Shape::Whole(..) => "write it in digits, without a unit or a point".to_owned(),
        Shape::Text if node.scalar().is_some() => "quote it if it is meant as text".to_owned(),
        Shape::Either(choices) => {
            // The keys of a map are more of a help than anything about single values.
            let map = choices.iter().find(|choice| matches!(choice, Shape::Map(_)));
            map.map_or_else(|| "write a single value".to_owned(), |map| advice(node, map))
        }
        Shape::Text => "write a single value".to_owned(),
    }
}

/// Returns true if a scalar has a shape. A number is text too; a flag and an empty value are not.
fn fits(scalar: &Scalar, shape: &Shape) -> bool {
    match shape {
        Shape::Whole(least, most) => {
            scalar.whole().is_some_and(|number| (*least..=*most).contains(&number))
        }
        Shape::Flag => scalar.flag().is_some(),
        Shape::Word(words) => words.contains(&scalar.text),
        Shape::Text => {
            // A plain `true` is a flag in YAML. As text it counts only within quotation marks.
            scalar.broken || !(scalar.is_null() || scalar.plain && scalar.flag().is_some())
        }
        _ => false,
    }
}

/// Value that decodes, to replace a wrong one; there is none for maps.
fn stand_in(shape: &Shape) -> Option<Value> {
    Some(match shape.choices().first()? {
        // Not the empty list, which would be reported as one more problem.
        Shape::List(of) => Value::List(vec![Node { span: Span::default(), value: stand_in(of)? }]),
        Shape::Map(_) | Shape::Names(_) | Shape::Either(_) => return None,
        Shape::Word(words) => broken(words.first()?, false),
        Shape::Whole(least, _) => broken(&least.to_string(), true),
        Shape::Flag => broken("false", true),
        Shape::Text => broken("", false),
    })
}

fn broken(text: &str, plain: bool) -> Value {
    Value::Scalar(Scalar { text: text.to_owned(), plain, broken: true, ..Scalar::default() })
}

fn quoted(name: &str) -> String {
    match name.rsplit_once(' ') {
        Some((before, "configuration")) => format!("{before} configuration"),
        Some((before, last)) => format!("{before} `{last}`"),
        None => format!("`{name}`"),
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
