//! Texts as YAML scalars.

/// Text as a YAML scalar that reads back as the same text; `$` is doubled, since weir fills in
/// `${NAME}`.
#[must_use]
pub fn quoted(text: &str) -> String {
    let text = text.replace('$', "$$");
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let begins = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/');
    // Words that YAML takes for another type.
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .contains(&&*text.to_ascii_lowercase());
    if begins && !is_word && text.bytes().all(is_safe) {
        return text;
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() || letter == '\u{feff}' => {
                quoted += &format!("\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

/// The same, in quotation marks also where none are needed.
#[must_use]
pub fn quoted_always(text: &str) -> String {
    match quoted(text) {
        plain if plain.starts_with('"') => plain,
        plain => format!("\"{plain}\""),
    }
}

/// Expression as a YAML scalar: in single quotation marks, where a backslash is one.
#[must_use]
pub fn single_quoted(text: &str) -> String {
    // A dollar sign alone fills in nothing.
    let is_plain = !text.contains("$$") && !text.contains("${");
    let text = if is_plain { text.to_owned() } else { text.replace('$', "$$") };
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use crate::tools::import::scalar::*;

    #[test]
    fn scalar_reads_back_as_the_same_text() {
        for (text, expected) in [
            ("/api/v1", "/api/v1"),
            ("client_ip", "client_ip"),
            ("header:x", "\"header:x\""),
            ("10", "\"10\""),
            ("on", "\"on\""),
            ("a\"b\\c\n", "\"a\\\"b\\\\c\\u000A\""),
            ("${X}", "\"$${X}\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(text), expected, "{text}");
        }
    }
}
