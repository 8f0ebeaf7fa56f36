//! Expressions that take the file of a directory, and not the directory.
//!
//! Guarantee: the result is exact, by the states of a deterministic automaton; an expression whose
//! automaton would be larger than its bound may take everything.

use std::collections::HashSet;

use regex_automata::{
    Anchored,
    dfa::{Automaton, StartKind, dense},
    nfa::thompson,
    util::{primitives::StateID, start, syntax},
};

/// Limit on an automaton, and on what is built for it, in bytes.
const MAX_SIZE: usize = 1024 * 1024;

/// Returns true if an expression takes `/DIRECTORY/name` and not `/DIRECTORY/` for some directory.
#[must_use]
pub fn may_match_name(expression: &str, name: &str) -> bool {
    let Some(states) = DirectoryStates::of(expression) else { return true };
    let dfa = &states.dfa;
    // A match is seen one byte late, and at the end by the byte that stands for it.
    states.others.iter().any(|state| {
        let mut state = *state;
        for byte in name.bytes() {
            state = dfa.next_state(state, byte);
            if dfa.is_match_state(state) {
                return true;
            }
        }
        dfa.is_match_state(dfa.next_eoi_state(state))
    })
}

/// Returns true if an expression may match the path of a directory, which ends in a slash.
#[must_use]
pub fn may_match_directory(expression: &str) -> bool {
    DirectoryStates::of(expression).is_none_or(|states| states.has_match)
}

/// States that paths of directories lead to.
struct DirectoryStates {
    dfa: dense::DFA<Vec<u32>>,
    /// An expression matches one of these paths.
    has_match: bool,
    /// States of paths that it does not match.
    others: Vec<StateID>,
}

impl DirectoryStates {
    fn of(expression: &str) -> Option<Self> {
        let config = dense::Config::new().start_kind(StartKind::Unanchored);
        let config = config.dfa_size_limit(Some(MAX_SIZE)).determinize_size_limit(Some(MAX_SIZE));
        let dfa = dense::Builder::new()
            .configure(config)
            .syntax(syntax::Config::new().unicode(false).utf8(false))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_SIZE)))
            .build(expression)
            .ok()?;
        let first = dfa.start_state(&start::Config::new().anchored(Anchored::No)).ok()?;
        let mut states = Self { dfa, has_match: false, others: Vec::new() };
        let mut known = HashSet::new();
        let mut next = vec![states.dfa.next_state(first, b'/')];
        known.extend(next.iter().copied());
        states.ends(next[0]);
        // Over all signs of a path in its normal form; states are bounded by the size above.
        while let Some(state) = next.pop() {
            // A match within a path is one of all paths that go on.
            if states.dfa.is_match_state(state) {
                states.has_match = true;
                continue;
            }
            for byte in b'!'..=b'~' {
                let following = states.dfa.next_state(state, byte);
                if byte == b'/' {
                    states.ends(following);
                }
                if known.insert(following) {
                    next.push(following);
                }
            }
        }
        Some(states)
    }

    /// Takes in the state of a path that ends here.
    fn ends(&mut self, state: StateID) {
        let matches = |state| self.dfa.is_match_state(state);
        if matches(state) || matches(self.dfa.next_eoi_state(state)) {
            self.has_match = true;
        } else if !self.others.contains(&state) {
            self.others.push(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tools::import::index_names::*;

    #[test]
    fn expression_of_the_file_of_a_directory_is_found() {
        for (expression, expected) in [
            (r"\.php$", false),
            (r"(?i)\.(css|js|png)$", false),
            (r"\.(css|html)$", true),
            (r"(?i)\.HTML$", true),
            (r"/\.", false),
            (r"/\.(?:$|[^w]|w(?:$|[^e]))", false),
            (r"^/api/", false),
            (r"^/index", true),
            (r"^/docs/index\.html$", true),
            (r"^/docs/(a|b)/i", true),
            ("l$", true),
            ("dex", true),
            ("[a-z]+", true),
            (r"/[^/]+$", true),
            (r"^/[^/]+/x$", false),
            ("/$", false),
            ("(", true),
        ] {
            assert_eq!(may_match_name(expression, "index.html"), expected, "{expression}");
        }
    }

    #[test]
    fn expression_of_a_directory_is_found() {
        for (expression, expected) in
            [(r"\.css$", false), (r"\.(css|js)$", false), ("/$", true), ("^/a", true), (".$", true)]
        {
            assert_eq!(may_match_directory(expression), expected, "{expression}");
        }
    }
}
