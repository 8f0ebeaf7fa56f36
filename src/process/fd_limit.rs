//! How many files and connections this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most connections of a listener that does not say.
const MOST: usize = 10_000;
/// The least of all of these together, however few descriptors there are.
const LEAST: usize = 16;
/// Descriptors that no connection gets: listeners, logs, timers.
const OURS: usize = 100;

/// How many files this process may open, after asking for all it can get; nothing when there is no
/// limit.
#[must_use]
pub fn raised() -> Option<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What is not granted is not used: the limit is read again.
    let _as_far_as_granted = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

/// Connections that each listener without a number of its own takes, with so many descriptors. A
/// request may need a second one, so half of them are for clients; what the other listeners may
/// take is theirs, and the rest is divided.
#[must_use]
pub fn connections(descriptors: Option<usize>, written: &[Option<usize>]) -> usize {
    let Some(files) = descriptors else { return MOST };
    let taken = written.iter().flatten().fold(0_usize, |sum, most| sum.saturating_add(*most));
    let sharing = written.iter().filter(|most| most.is_none()).count().max(1);
    let all = (files / 2).saturating_sub(OURS).saturating_sub(taken).max(LEAST);
    (all / sharing).clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use crate::process::fd_limit::*;

    #[test]
    fn half_of_the_descriptors_are_for_clients() {
        let of = [None, Some(1 << 20), Some(20_200), Some(1_024), Some(80)]
            .map(|files| connections(files, &[None]));
        assert_eq!(of, [10_000, 10_000, 10_000, 412, 16]);
    }

    #[test]
    fn descriptors_are_divided_among_the_listeners_that_do_not_say() {
        assert_eq!(connections(Some(1_024), &[None; 4]), 103);
        assert_eq!(connections(Some(1_024), &[Some(400), None, None]), 8);
        assert_eq!(connections(Some(1_024), &[Some(100), None]), 312);
        assert_eq!(connections(Some(300), &[None; 4]), 12);
        assert_eq!(connections(Some(80), &[None; 99]), 1);
        assert_eq!(connections(None, &[None; 4]), 10_000);
    }
}
