//! nginx's own arithmetic beside ours, over millions of random arrivals: the same verdict and the
//! same wait, every time.
//!
//! `SEED=7 cargo test --test oracle` runs other arrivals; a difference names the seed that repeats
//! it.

use weir_limit::{Millis, Rule, RuleSettings, zone::Intent};
use weir_test::limit::{self as words, Delay, Pass, Reject, Seen};

const ARRIVALS_OF_EACH_TEST: u64 = 4_000_000;

/// What nginx keeps for one key and one rule: milliseconds and thousandths of a request.
struct Nginx {
    rate: i64,
    burst: i64,
    delay: i64,
    kept: Option<(i64, i64)>,
}

impl Nginx {
    fn new(requests_per_second: u32, burst: u32, delay: u32) -> Self {
        let milli = |count: u32| i64::from(count) * 1_000;
        Self {
            rate: milli(requests_per_second),
            burst: milli(burst),
            delay: milli(delay),
            kept: None,
        }
    }

    /// Pass, delay by so many ms, or reject (its number is always 0: nginx does not know when a
    /// place is free).
    fn decide(&mut self, now: i64) -> Seen {
        let (elapsed, excess) = self.kept.map_or((0, 0), |(last, excess)| {
            // A clock that stepped back by more than a minute counts as one millisecond, by less as
            // none.
            let elapsed = match now - last {
                stepped if stepped < -60_000 => 1,
                passed => passed.max(0),
            };
            (elapsed, (excess - self.rate * elapsed / 1_000 + 1_000).max(0))
        });
        if excess > self.burst {
            return Reject(0);
        }
        let last = self.kept.filter(|_| elapsed == 0).map_or(now, |(last, _)| last);
        self.kept = Some((last, excess));
        match (excess - self.delay).max(0) * 1_000 / self.rate {
            0 => Pass,
            wait => Delay(wait.unsigned_abs()),
        }
    }
}

/// Our rule over one key, its verdict without the retry nginx does not know.
struct Ours(Rule);

impl Ours {
    fn new(requests_per_second: u32, burst: u32, delay: u32) -> Self {
        let zone = words::seeded(words::settings(&format!("{requests_per_second}r/s")));
        Self(Rule::new(zone, RuleSettings::burst(burst).delay(delay)).expect("a countable rule"))
    }

    fn decide(&self, now: i64) -> Seen {
        match self.0.decide(7, Millis(now.unsigned_abs()), Intent::Charge).into() {
            Reject(_) => Reject(0),
            other => other,
        }
    }
}

/// A GCRA whose interval is cut to whole nanoseconds: what weir would be if it counted in them.
struct CutToNanos {
    interval: u64,
    burst: u64,
    arrival: u64,
}

impl CutToNanos {
    fn admits(&mut self, now_ms: u64) -> bool {
        let now = now_ms * 1_000_000;
        let debt = self.arrival.saturating_sub(now);
        let admitted = debt <= self.burst * self.interval;
        if admitted {
            self.arrival = now + debt + self.interval;
        }
        admitted
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn seeded(test: u64) -> (u64, Self) {
        let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("SEED is a number"));
        (seed, Self(seed ^ test << 32))
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = (word ^ word >> 31) >> 32;
        u32::try_from((word * u64::from(bound)) >> 32).expect("below the bound")
    }
}

/// How one stretch of arrivals is spaced.
fn gap(pattern: u32, rate: u32, dice: &mut Dice) -> i64 {
    let interval = 1_000 / rate;
    i64::from(match pattern {
        0 => 0,
        1 => dice.below(2),
        2 => dice.below(2 * interval + 2),
        3 => interval + dice.below(2),
        4 => dice.below(4 * interval + 2),
        5 if dice.below(100) == 0 => dice.below(120_000),
        5 => dice.below(interval + 2),
        _ if dice.below(20) == 0 => 59_990 + dice.below(20),
        _ => dice.below(3),
    })
}

/// Runs both over stretches of arrivals and counts them; the first difference ends the test.
fn compare(
    seed: u64,
    (rate, burst, delay): (u32, u32, u32),
    dice: &mut Dice,
    arrivals: u64,
) -> u64 {
    let (mut nginx, ours) = (Nginx::new(rate, burst, delay), Ours::new(rate, burst, delay));
    let (mut now, mut admitted) = (i64::from(dice.below(1_000)), 0);
    let mut pattern = 0;
    for arrival in 0..arrivals {
        if arrival % 64 == 0 {
            pattern = dice.below(7);
        }
        now += gap(pattern, rate, dice);
        let (theirs, mine) = (nginx.decide(now), ours.decide(now));
        assert_eq!(
            mine, theirs,
            "SEED={seed}: {rate}r/s burst={burst} delay={delay}, arrival {arrival} at {now} ms"
        );
        admitted += u64::from(mine != Reject(0));
    }
    admitted
}

fn random_rules(test: u64) {
    let (seed, mut dice) = Dice::seeded(test);
    for _ in 0..ARRIVALS_OF_EACH_TEST / 4_000 {
        let burst = dice.below(51);
        let rule = (1 + dice.below(5_000), burst, dice.below(burst + 1));
        compare(seed, rule, &mut dice, 4_000);
    }
}

/// More than 100 000 admissions without one idle moment: arrivals slightly faster than the rate.
fn busy_chain(rate: u32, burst: u32) {
    let (seed, mut dice) = Dice::seeded(u64::from(rate));
    let (mut nginx, ours) = (Nginx::new(rate, burst, burst / 2), Ours::new(rate, burst, burst / 2));
    let (mut now, mut micros, mut admitted) = (0_i64, 0_u64, 0);
    while admitted < 150_000 {
        micros += 1_000_000 / u64::from(rate) - u64::from(dice.below(1_000_000 / rate / 4));
        now = now.max(i64::try_from(micros / 1_000).expect("within the test"));
        let (theirs, mine) = (nginx.decide(now), ours.decide(now));
        assert_eq!(
            mine, theirs,
            "SEED={seed}: {rate}r/s burst={burst}, admission {admitted} at {now} ms"
        );
        admitted += u32::from(mine != Reject(0));
    }
}

#[test]
fn random_rules_first_third() {
    random_rules(1);
}

#[test]
fn random_rules_second_third() {
    random_rules(2);
}

#[test]
fn random_rules_last_third() {
    random_rules(3);
}

#[test]
fn busy_chains_at_odd_rates_never_drift() {
    for (rate, burst) in [(7, 3), (7, 50), (13, 1), (700, 5), (999, 20), (3_001, 9), (4_999, 50)] {
        busy_chain(rate, burst);
    }
}

/// Keeps one key busy and counts the admissions until an interval cut to nanoseconds gives its
/// first wrong verdict; ours gives none.
fn admissions_until_nanoseconds_err(rate: u32, arrivals_per_ms: u32) -> Option<u64> {
    let (mut nginx, ours) = (Nginx::new(rate, 5, 0), Ours::new(rate, 5, 0));
    let mut cut = CutToNanos { interval: 1_000_000_000 / u64::from(rate), burst: 5, arrival: 0 };
    let (mut admitted, mut flipped_after) = (0, None);
    for now in (0..600_000).flat_map(|now| (0..arrivals_per_ms).map(move |_| now)) {
        let theirs = nginx.decide(now) != Reject(0);
        assert_eq!(ours.decide(now) != Reject(0), theirs, "{rate}r/s at {now} ms");
        if cut.admits(now.unsigned_abs()) != theirs && flipped_after.is_none() {
            flipped_after = Some(admitted);
        }
        admitted += u64::from(theirs);
    }
    flipped_after
}

/// Why time is counted in ticks of 1/requests ms: neither 1/700 s nor 1/3001 s is a whole number of
/// nanoseconds.
#[test]
fn rate_in_nanoseconds_would_flip_verdicts() {
    assert_eq!(admissions_until_nanoseconds_err(700, 1), Some(333_343));
    assert_eq!(admissions_until_nanoseconds_err(3_001, 4), Some(3_000));
}

#[test]
fn slow_rates_are_exact_where_nginx_rounds() {
    let mut nginx = Nginx { rate: 1_000 / 60, burst: 0, delay: 0, kept: None };
    let mut ours = words::gate("1r/m");
    assert_eq!(
        [0, 60_000, 62_499, 62_500].map(|now| nginx.decide(now)),
        [Pass, Reject(0), Reject(0), Pass]
    );
    assert_eq!(ours.each([0, 59_999, 60_000]), [Pass, Reject(1), Pass]);
}
