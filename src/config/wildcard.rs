//! Wildcards in names of files: `*` for any text and `?` for one letter.

/// Compares a name with a pattern of `*` and `?`.
///
/// Only the last star is tried again: a star before it could take no less than it did.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut letter) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while letter < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, letter));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || *wanted == name[letter] => {
                at += 1;
                letter += 1;
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                at = place + 1;
                letter = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// Compares the name of a file with a pattern. A dot file is only meant where the pattern begins with
/// a dot.
#[must_use]
pub fn is_meant(pattern: &str, name: &str) -> bool {
    name.starts_with('.') == pattern.starts_with('.') && matches(pattern, name)
}

#[cfg(test)]
mod tests {
    use crate::config::wildcard::*;

    #[test]
    fn pattern_has_stars_and_question_marks() {
        let cases = [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("?.conf", "ab.conf", false),
            ("a*b*c", "axxbxbc", true),
            ("a*b*c", "axxbxb", false),
            ("*", "", true),
            ("", "", true),
            ("**", "a", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn dot_file_is_meant_by_a_dot_only() {
        assert!(is_meant("*.yaml", "a.yaml") && is_meant(".*", ".a"));
        assert!(!is_meant("*.yaml", ".a.yaml") && !is_meant(".*", "a"));
    }
}
