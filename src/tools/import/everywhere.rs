//! Directives of a name in all blocks, for settings that weir has once.

use super::{notes::DATA_BLOCKS, translation::Translation, tree::Directive};

/// Directives of a name in all blocks but `upstream`, the outermost first.
#[derive(Debug, Default)]
pub struct Everywhere<'a> {
    found: Vec<(usize, &'a Directive)>,
}

impl<'a> Everywhere<'a> {
    /// Finds them.
    #[must_use]
    pub fn of(directives: &'a [Directive]) -> Self {
        let mut all = Self::default();
        all.add(directives, 0);
        // Stable: those of one depth stay in the order of the files.
        all.found.sort_by_key(|(depth, _)| *depth);
        all
    }

    fn add(&mut self, directives: &'a [Directive], depth: usize) {
        for directive in directives {
            self.found.push((depth, directive));
            let is_other = DATA_BLOCKS.contains(&&*directive.name);
            if !is_other && !matches!(&*directive.name, "upstream" | "stream" | "mail") {
                // The file of a fragment has no `http`, so that one counts for nothing.
                let deeper = usize::from(directive.name != "http");
                self.add(directive.children(), depth + deeper);
            }
        }
    }

    /// Directives of a name, with the number of blocks around them but `http`.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<(usize, &'a Directive)> {
        self.found.iter().filter(|(_, one)| one.name == name).copied().collect()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &'a Directive)> + '_ {
        self.found.iter().copied()
    }
}

/// Value of a setting that weir has once: the first one that is valid; another value elsewhere is
/// reported.
pub fn once<'a, T: PartialEq + Clone>(
    state: &mut Translation<'_>,
    all: &[(usize, &'a Directive)],
    read: impl Fn(&Directive) -> Result<T, String>,
) -> Option<(T, &'a Directive)> {
    let mut chosen: Option<(T, &'a Directive)> = None;
    for (_, directive) in all {
        let value = match read(directive) {
            Ok(value) => value,
            Err(reason) => {
                state.notes.refuse(directive, reason);
                continue;
            }
        };
        match &chosen {
            None => {
                state.notes.carry(directive);
                chosen = Some((value, directive));
            }
            Some((first, _)) if *first == value => state.notes.carry(directive),
            Some((_, first)) => {
                let origin = state.origin(first);
                state
                    .notes
                    .refuse(directive, format!("weir has one value for all: that of {origin}"));
            }
        }
    }
    chosen
}
