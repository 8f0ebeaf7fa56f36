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
    let word = word.to_lowercase();
    let slips = |candidate: &str| candidate.chars().count().max(3) / 3;
    let measured =
        known.iter().map(|candidate| (edits(&word, &candidate.to_lowercase()), *candidate));
    measured
        .filter(|(edits, candidate)| *edits <= slips(candidate))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, meant)| meant)
}

/// Number of letters to insert, remove or change to get from one word to the other (Levenshtein
/// 1965); swapped neighbours count as one.
fn edits(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) =
        (from.chars().take(64).collect(), to.chars().collect());
    let mut rows = vec![(0..=to.len()).collect::<Vec<_>>()];
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let changed = rows[i][j] + usize::from(letter != other);
            let mut cost = changed.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                cost = cost.min(rows[i - 1][j - 1] + 1);
            }
            row.push(cost);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
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

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("ab", "ba"), 1);
    }
}
