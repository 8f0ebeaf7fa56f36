//! Limits on open files and connections of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Most connections of a listener with `max_connections: auto`.
const MOST_CONNECTIONS: usize = 10_000;
/// Least number of connections of all these listeners together, however few descriptors there are.
const LEAST_CONNECTIONS: usize = 16;
/// Descriptors reserved for listeners, logs and timers.
const OURS: usize = 100;

/// Raises the limit of open files as far as allowed and returns it; none when there is no limit.
#[must_use]
pub fn raised() -> Option<usize> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // If the kernel grants less, the limit that is read again is used.
    let _as_far_as_granted = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
}

/// Connections for each listener with `max_connections: auto`, for this many descriptors. A request
/// may need a second descriptor, so half of them are for clients. The numbers of the other
/// listeners are subtracted, and the rest is divided.
#[must_use]
pub fn connections(descriptors: Option<usize>, written: &[Option<usize>]) -> usize {
    let Some(files) = descriptors else { return MOST_CONNECTIONS };
    let taken = written.iter().flatten().fold(0_usize, |sum, most| sum.saturating_add(*most));
    let sharing = written.iter().filter(|most| most.is_none()).count().max(1);
    // Not below the least number, or a small limit would let no client in.
    let all = (files / 2).saturating_sub(OURS).saturating_sub(taken).max(LEAST_CONNECTIONS);
    (all / sharing).clamp(1, MOST_CONNECTIONS)
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
