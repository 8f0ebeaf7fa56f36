//! Whether a tree has the shape of a configuration: unknown keys, wrong kinds of values, what is
//! missing.
//!
//! Guarantee: afterwards the tree decodes. What was wrong is reported and taken out, or replaced by
//! a stand-in marked as broken where a value is required, so that everything else can still be
//! judged.

use super::{
    nearest,
    problem::{Problems, Span},
    shape::{Field, Shape},
    yaml_tree::{Entry, Node, Scalar, Value},
};

/// What nginx calls something, and where weir keeps it.
const NGINX: [(&str, &str); 22] = [
    ("access_log_format", "access_log: { format: json }"),
    ("add_header", "response: { headers: { set: { NAME: VALUE } } } on the route"),
    ("client_body_buffer_size", "request: { buffer: 64KiB } on the route"),
    ("client_max_body_size", "request: { max_body: 1MiB } on the route"),
    ("gzip", "response: { compress: [ gzip ] } on the route"),
    ("keepalive_timeout", "timeouts: { keepalive: 75s }"),
    ("limit_conn", "max_connections_per_client: 256 on the listener"),
    ("limit_req", "limits: [ { zone: NAME, burst: N } ] on the route"),
    ("limit_req_status", "reject: { status: 503 }"),
    ("limit_req_zone", "zones: { NAME: { key: client_ip, rate: 10r/s } }"),
    ("listen", "listeners: [ \"0.0.0.0:8080\" ]"),
    ("location", "routes: [ { path: /, upstream: NAME } ]"),
    ("proxy_hide_header", "response: { headers: { remove: [ NAME ] } } on the route"),
    ("proxy_pass", "upstream: http://host:port"),
    ("proxy_request_buffering", "request: { buffer: 64KiB } on the route"),
    ("proxy_set_header", "request: { headers: { set: { NAME: VALUE } } } on the route"),
    ("real_ip_header", "client_ip: { header: x-forwarded-for }"),
    ("server_name", "host: name on the route"),
    ("set_real_ip_from", "client_ip: { trusted_proxies: [ NETWORK ] }"),
    ("ssl_certificate", "tls: { certificates: [ { cert: FILE, key: FILE } ] } on the listener"),
    ("ssl_protocols", "tls: { min_version: \"1.2\" } on the listener"),
    ("worker_processes", "workers: auto"),
];

/// What to write for a key that must be there; behind its list's name where it means something else
/// elsewhere.
const EXAMPLES: [(&str, &str); 10] = [
    ("certificates.key", "certs/privkey.pem"),
    ("cert", "certs/fullchain.pem"),
    ("certificates", "[ { cert: FILE, key: FILE } ]"),
    ("address", "\"127.0.0.1:8080\""),
    ("endpoints", "[ \"http://127.0.0.1:8000\" ]"),
    ("key", "client_ip"),
    ("rate", "10r/s"),
    ("status", "503"),
    ("upstream", "http://127.0.0.1:8000"),
    ("zone", "NAME"),
];

/// Checks the whole tree; whether it is a map at all.
#[must_use]
pub fn check(root: &mut Node, shape: &Shape, problems: &mut Problems) -> bool {
    let span = root.span;
    Checker { problems }.node(root, shape, Place { name: "the configuration", span })
}

/// What a node is called in messages, and where to point when it has no place of its own.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    span: Span,
}

struct Checker<'a> {
    problems: &'a mut Problems,
}

impl Checker<'_> {
    /// Whether the node may stay.
    fn node(&mut self, node: &mut Node, shape: &Shape, place: Place<'_>) -> bool {
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

    fn fields(&mut self, entries: &mut Vec<Entry>, fields: &[Field], place: Place<'_>) -> bool {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let required = fields.iter().filter(|field| field.required);
        let absent = required.filter(|field| !entries.iter().any(|entry| entry.key == field.name));
        let absent: Vec<&Field> = absent.collect();
        // A misspelt key is told of once, not also as missing.
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
            let stand_in = stand_in(&field.shape);
            let replaced = stand_in.is_some();
            entry.node.value = stand_in.unwrap_or(Value::List(Vec::new()));
            replaced
        });
        for (field, told) in absent.into_iter().zip(told) {
            if !told {
                self.missing(field, entries, place);
            }
            let Some(value) = stand_in(&field.shape) else { return false };
            let node = Node { span: place.span, value };
            entries.push(Entry { key: field.name.clone(), key_span: place.span, node });
        }
        true
    }

    fn names(&mut self, entries: &mut Vec<Entry>, of: &Shape) -> bool {
        entries.retain_mut(|entry| {
            let fits =
                self.node(&mut entry.node, of, Place { name: &entry.key, span: entry.key_span });
            self.name(entry);
            fits
        });
        true
    }

    /// Names go into metrics, logs and response fields as they are.
    fn name(&mut self, entry: &Entry) {
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

    fn unknown_key(&mut self, entry: &Entry, known: &[&str]) {
        let hint = match NGINX.iter().find(|(word, _)| *word == entry.key) {
            Some((_, ours)) => format!("nginx's `{}` is here: {ours}", entry.key),
            None => nearest::hint(&entry.key, known),
        };
        self.problems.error(entry.key_span, format!("unknown key `{}`", entry.key), hint);
    }

    fn missing(&mut self, field: &Field, entries: &[Entry], place: Place<'_>) {
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
            Value::Scalar(scalar) if scalar.broken => return,
            Value::Scalar(scalar) if scalar.is_null() => {
                let hint = format!("write {}, or leave the key out", shape.name());
                return self.problems.error(node.span, format!("{name} has no value"), hint);
            }
            Value::Scalar(scalar) => match &scalar.filled {
                Some(_) => (node.span, "what is filled in here".to_owned()),
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

/// How to write a value of a shape.
fn advice(node: &Node, shape: &Shape) -> String {
    let scalar = node.scalar().filter(|scalar| scalar.filled.is_none());
    let written = scalar.map_or("", |scalar| &scalar.text);
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
        Shape::Names(_) => "write a name, and below it what it names".to_owned(),
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
        Shape::Text | Shape::Either(_) => "write a single value".to_owned(),
    }
}

/// Whether a scalar has a shape. A number is text too; a flag and nothing are not.
fn fits(scalar: &Scalar, shape: &Shape) -> bool {
    match shape {
        Shape::Whole(least, most) => {
            scalar.whole().is_some_and(|number| (*least..=*most).contains(&number))
        }
        Shape::Flag => scalar.flag().is_some(),
        Shape::Word(words) => words.contains(&scalar.text),
        Shape::Text => {
            scalar.broken || !(scalar.is_null() || scalar.plain && scalar.flag().is_some())
        }
        _ => false,
    }
}

/// A value that decodes, in place of one that is wrong; there is none for maps.
fn stand_in(shape: &Shape) -> Option<Value> {
    Some(match shape.choices().first()? {
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
