//! Ten million one-shot keys through a zone of one million: bounded memory, no refusal, and no busy
//! offender goes free. And what coders at work take.

use std::{fs, sync::Mutex};

use weir::{
    compress::{
        encoder::{CODER_BYTES, Coder, FlushMode},
        negotiate::Coding,
    },
    limit::{Decision, Millis, Rule, RuleSettings, zone::Intent},
};
use weir_test::limit as words;

const CAPACITY: u64 = 1_000_000;
const OFFENDER: u64 = 1;
/// The memory that is measured is the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes of memory this process has now.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux tells a process its memory");
    let pages: u64 = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .expect("the second number is resident pages");
    pages * 4_096
}

/// Fingerprints as the zone makes them: spread over all 64 bits, none twice (an odd multiplier is a
/// bijection).
fn one_shots(from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..to).map(|number| (number + 2).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn passes(rule: &Rule, fingerprint: u64, now: u64) -> bool {
    rule.decide(fingerprint, Millis(now), Intent::Charge).decision == Decision::Pass
}

#[test]
fn ten_million_strangers_cost_no_memory_and_free_no_offender() {
    let _alone = ALONE.lock().expect("no panic");
    let before = resident();
    let mut settings = words::settings("10r/s");
    settings.capacity = CAPACITY.try_into().expect("64 bit");
    let zone = words::seeded(settings);
    let rule =
        Rule::new(zone.clone(), RuleSettings::burst(20).nodelay()).expect("a countable rule");

    assert_eq!((0..100).filter(|_| passes(&rule, OFFENDER, 0)).count(), 21);
    assert!(
        one_shots(0, 2 * CAPACITY).all(|stranger| passes(&rule, stranger, 0)),
        "no refusal for lack of room"
    );
    let (keys, grown) = (zone.keys() as u64, resident() - before);
    assert!(keys <= CAPACITY && keys > CAPACITY * 99 / 100, "{keys} keys");
    let per_key = grown.div_ceil(keys);
    let forced = zone.evictions().forced;
    assert_eq!((forced, zone.evictions().idle), (2 * CAPACITY + 1 - keys, 0));
    assert!(
        !passes(&rule, OFFENDER, 99),
        "the offender is still limited while everyone owes something"
    );

    // From here on everyone but the offender owes nothing: it is hammering, and pays for one more
    // request each 100 ms.
    let offences =
        one_shots(2 * CAPACITY, 10 * CAPACITY).enumerate().filter(|(number, stranger)| {
            let now = 100 + *number as u64 / 10_000;
            assert!(passes(&rule, *stranger, now), "no refusal for lack of room");
            number % 1_000 == 0 && passes(&rule, OFFENDER, now)
        });
    assert_eq!(offences.count(), 8, "one place each 100 ms from 100 to 800 ms");
    let grown = resident() - before;
    println!(
        "{per_key} bytes a key at capacity, {grown} bytes grown, {keys} keys, {:?}",
        zone.evictions()
    );
    assert!(per_key <= 32, "{per_key} bytes a key");
    assert!(grown <= 40 << 20, "{grown} bytes grown");
    assert_eq!(
        zone.evictions().forced + zone.evictions().idle,
        10 * CAPACITY + 1 - zone.keys() as u64
    );
}

/// A mebibyte of words that come again, but not soon.
fn words() -> Vec<u8> {
    let words =
        (0_u64..).map(|number| format!("{:x} ", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44));
    let mut text: Vec<u8> = words.take(1 << 18).flat_map(String::into_bytes).collect();
    text.truncate(1 << 20);
    text
}

fn at_work(coding: Coding, text: &[u8]) -> Coder {
    let (mut coder, mut room) = (Coder::new(coding, None).expect("a coder"), vec![0; 1 << 14]);
    let mut rest = text;
    while !rest.is_empty() {
        let step = coder.step(FlushMode::Continue, rest, &mut room).expect("a step");
        rest = &rest[step.read..];
    }
    coder
}

#[test]
fn gzip_brotli_zstd_encoder_memory_stays_within_its_bound() {
    let _alone = ALONE.lock().expect("no panic");
    let text = words();
    for coding in Coding::ALL.iter().copied() {
        let before = resident();
        let coders: Vec<_> = (0..32).map(|_| at_work(coding, &text)).collect();
        let each = (resident() - before) / coders.len() as u64;
        println!("{}: {each} bytes a coder", coding.name());
        assert!(each <= CODER_BYTES as u64, "{coding:?}: {each} bytes");
    }
}
