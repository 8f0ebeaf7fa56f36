//! `--set path=value`: a value put into the tree before it is checked, as if it were in the file.

use super::{
    problem::{Problems, Span},
    yaml_tree::{self, MappingEntry, Node, Value},
};

/// Applies one argument, which is the source with index `source`.
pub fn apply(root: &mut Node, source: usize, argument: &str, problems: &mut Problems) {
    let whole = Span { source, start: 0, end: argument.len() };
    let Some((path, text)) = argument.split_once('=') else {
        let hint = "write path=value, like `zones.per_ip.rate=5r/s`";
        return problems.error(whole, format!("`{argument}` is not a setting"), hint);
    };
    // `read` returns none both for an error, which it has reported, and for an empty text.
    let before = problems.len();
    let Some(value) = yaml_tree::read(source, text, path.len() + 1, problems) else {
        if problems.len() > before {
            return;
        }
        return problems.error(
            whole,
            format!("`{argument}` has no value"),
            "write it after the `=`",
        );
    };
    if let Err((span, message, hint)) = put(root, path, source, value) {
        problems.error(span, message, hint);
    }
}

/// Place in the argument, with a message and its hint.
type Refusal = (Span, String, String);

fn put(root: &mut Node, path: &str, source: usize, value: Node) -> Result<(), Refusal> {
    let mut node = root;
    let mut start = 0;
    for step in path.split('.') {
        let span = Span { source, start, end: start + step.len() };
        if step.is_empty() {
            return Err((
                span,
                format!("`{path}` has an empty step"),
                "put one dot between two names".to_owned(),
            ));
        }
        start = span.end + 1;
        node = child(node, step, span)?;
    }
    *node = value;
    Ok(())
}

/// Node that a step leads to; a missing key is added.
fn child<'a>(node: &'a mut Node, step: &str, span: Span) -> Result<&'a mut Node, Refusal> {
    // A key without a value is where its map is going to be, as `zones:` in a file.
    if node.scalar().is_some_and(yaml_tree::Scalar::is_null) {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::Scalar(_) => Err((
            span,
            format!("`{step}` is not there: its parent is a single value"),
            String::new(),
        )),
        Value::List(items) => item(items, step, span),
        Value::Map(entries) => {
            let index = entries.iter().position(|entry| entry.key == step).unwrap_or_else(|| {
                // An empty map, so that the next step can add its key. The last step replaces it.
                let node = Node { span, value: Value::Map(Vec::new()) };
                entries.push(MappingEntry {
                    key: step.to_owned(),
                    key_span: span,
                    node,
                    is_inherited: false,
                });
                entries.len() - 1
            });
            Ok(&mut entries[index].node)
        }
    }
}

fn item<'a>(items: &'a mut [Node], step: &str, span: Span) -> Result<&'a mut Node, Refusal> {
    let count = items.len();
    let missing = |message| {
        let hint = match count {
            0 => "the list is empty".to_owned(),
            count => format!("the list has entries 0 to {}", count - 1),
        };
        (span, message, hint)
    };
    let Ok(index) = step.parse::<usize>() else {
        return Err(missing(format!("`{step}` is not the number of a list entry")));
    };
    items.get_mut(index).ok_or_else(|| missing(format!("there is no entry `{step}`")))
}
