//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections of a listener that does not say.
const MOST: usize = 10_000;
/// The least of it, however few descriptors there are.
const LEAST: usize = 16;
/// Descriptors that no connection gets: listeners, logs, timers.
const OURS: usize = 100;

/// How many files this process may open, after asking for all it can get; nothing when there is no limit.
#[must_use]
pub fn raised() -> Option<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What is not granted is not used: the limit is read again.
    let _as_far_as_granted = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

/// How many connections a listener takes with so many descriptors: each request may need a second one.
#[must_use]
pub fn connections(descriptors: Option<usize>) -> usize {
    descriptors.map_or(MOST, |files| (files / 2).saturating_sub(OURS).clamp(LEAST, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_are_for_clients() {
        let of = [None, Some(1 << 20), Some(20_200), Some(1_024), Some(80)].map(connections);
        assert_eq!(of, [10_000, 10_000, 10_000, 412, 16]);
    }
}
