//! Names that weir takes for zones and upstreams.

/// Name of letters, digits, `_` and `-` that looks like this text; never empty.
#[must_use]
pub fn name_like(text: &str) -> String {
    const LONGEST: usize = 56;
    let letter =
        |letter: char| if letter.is_ascii_alphanumeric() || letter == '_' { letter } else { '-' };
    let name: String = text.chars().take(LONGEST).map(letter).collect();
    match name.trim_matches('-') {
        "" => "unnamed".to_owned(),
        name => name.to_owned(),
    }
}

/// The name, or the first one with a number behind it that is not taken.
pub fn free_name(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}
