//! Texts with variables of nginx.

use super::levels::Level;

/// Limit on `set` within `set`: a variable may be set to itself.
const MAX_STEPS: usize = 8;
/// Limit on a text: `set $a $b$b` doubles with each step.
const MAX_LENGTH: usize = 4_096;

/// Piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValuePiece {
    /// Plain text.
    Text(String),
    /// Variable, without its `$`.
    Variable(String),
}

/// Cuts a text at its variables: `$name` and `${name}`.
#[must_use]
pub fn pieces(text: &str) -> Vec<ValuePiece> {
    let (mut found, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find('$') {
        plain += &rest[..at];
        let behind = &rest[at + 1..];
        let braced = behind.strip_prefix('{').and_then(|behind| behind.split_once('}'));
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let (name, behind) =
            braced.unwrap_or_else(|| behind.split_at(behind.bytes().take_while(letters).count()));
        if name.is_empty() {
            plain.push('$');
        } else {
            if !plain.is_empty() {
                found.push(ValuePiece::Text(std::mem::take(&mut plain)));
            }
            found.push(ValuePiece::Variable(name.to_owned()));
        }
        rest = behind;
    }
    plain += rest;
    if !plain.is_empty() {
        found.push(ValuePiece::Text(plain));
    }
    found
}

/// Text of pieces, with each variable in braces.
#[must_use]
pub fn braced(pieces: Vec<ValuePiece>) -> String {
    let texts = pieces.into_iter().map(|piece| match piece {
        ValuePiece::Text(plain) => plain,
        ValuePiece::Variable(name) => format!("${{{name}}}"),
    });
    texts.collect()
}

/// Text with the variables replaced that a `set` of the place gives a value; the others are written
/// `${name}`.
#[must_use]
pub fn with_set(text: &str, level: &Level<'_>) -> String {
    let mut text = text.to_owned();
    for _ in 0..MAX_STEPS {
        let mut is_changed = false;
        let replaced = pieces(&text).into_iter().map(|piece| match piece {
            ValuePiece::Text(text) => text,
            ValuePiece::Variable(name) => {
                let set = level
                    .all("set")
                    .iter()
                    .rev()
                    .find(|set| set.arg(0).trim_start_matches('$') == name);
                is_changed |= set.is_some();
                set.map_or_else(|| format!("${{{name}}}"), |set| set.arg(1).to_owned())
            }
        });
        let replaced: String = replaced.collect();
        if replaced.len() > MAX_LENGTH {
            break;
        }
        text = replaced;
        if !is_changed {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::tools::import::{tree::TreeBuilder, values::*};

    fn text(text: &str) -> ValuePiece {
        ValuePiece::Text(text.to_owned())
    }

    fn variable(name: &str) -> ValuePiece {
        ValuePiece::Variable(name.to_owned())
    }

    #[test]
    fn variable_ends_at_its_brace_or_its_last_letter() {
        assert_eq!(
            pieces("a$b-${c}d$"),
            [text("a"), variable("b"), text("-"), variable("c"), text("d$")]
        );
        assert_eq!(pieces("$1"), [variable("1")]);
        assert_eq!(pieces(""), []);
    }

    #[test]
    fn variable_that_was_set_has_its_value() {
        let tree = TreeBuilder::default()
            .parse("a", 0, "set $host_ app:80; set $u http://$host_; set $x $x$x;")
            .expect("a tree");
        let level = Level::of(&tree, None);
        assert_eq!(with_set("$u/a", &level), "http://app:80/a");
        assert_eq!(with_set("$y", &level), "${y}");
        assert!(with_set("$x", &level).len() <= MAX_LENGTH);
    }
}
