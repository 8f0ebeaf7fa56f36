//! Suggestion of the known word that a misspelt one probably means.

/// Hint for an unknown word: the nearest known one, or all of them.
#[must_use]
pub fn hint(word: &str, known: &[&str]) -> String {
    match nearest(word, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if known.is_empty() => String::new(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// Known word with the fewest edits, if they are few enough for a slip.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // The time to compare grows with the length; no known word is longer.
    let word: String = word.to_lowercase().chars().take(64).collect();
    // One slip for each three letters: in a short word two would make it another one.
    let slips = |candidate: &str| candidate.chars().count().max(3) / 3;
    // Swapped neighbours count as one edit.
    let edits = |candidate: &str| strsim::osa_distance(&word, &candidate.to_lowercase());
    let measured = known.iter().map(|candidate| (edits(candidate), *candidate));
    measured
        .filter(|(edits, candidate)| *edits <= slips(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, meant)| meant)
}

#[cfg(test)]
mod tests {
    use crate::config::nearest::*;

    #[test]
    fn nearest_finds_slips_and_no_other_word() {
        let known = ["burst", "delay", "zone"];
        assert_eq!(hint("brust", &known), "did you mean `burst`?");
        assert_eq!(hint("bursts", &known), "did you mean `burst`?");
        assert_eq!(hint("Zone", &known), "did you mean `zone`?");
        assert_eq!(hint("tls", &known), "known here: burst, delay, zone");
        assert_eq!(hint("x", &[]), "");
    }
}
