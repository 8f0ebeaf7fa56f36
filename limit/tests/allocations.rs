//! What the limiter takes of the heap: nothing for a request that it rejects.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weir_limit::{Decision, Judgement};
use weir_test::limit::gate;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A flood of rejects is what an attacker can have of weir for nothing.
#[test]
fn reject_allocates_nothing() {
    for rules in [
        "1r/m",
        "1r/m burst=20 nodelay",
        "1r/m burst=20",
        "1r/m key=client_ip+path",
        "1r/s; 1r/m burst=3 nodelay",
        "1r/m key=header:x-key missing=reject",
    ] {
        let door = gate(rules);
        let is_reject = |judgement: &Judgement| judgement.verdict.decision == Decision::Reject;
        let _waiting: Vec<_> =
            std::iter::repeat_with(|| door.one()).take_while(|one| !is_reject(one)).collect();
        let count = || {
            let region = Region::new(ALLOCATOR);
            let rejects = (0..1_000).filter(|_| is_reject(&door.one())).count();
            (rejects, region.change().allocations)
        };
        // The least of three: the thread that started this test allocates a few times beside its
        // beginning. What a reject allocates is in all of them.
        let least = (0..3).map(|_| count()).min_by_key(|(_, allocations)| *allocations);
        assert_eq!(least, Some((1_000, 0)), "{rules}");
    }
}
