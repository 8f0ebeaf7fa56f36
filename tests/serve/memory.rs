//! Memory of zones: it comes with their keys and goes when they go.

use std::{sync::Arc, time::Instant};

use rustix::process::Signal;
use weir::{
    limit::{Key, Part, Seed, Snapshot, ZoneSettings},
    process::state::SavedState,
};

use crate::{
    http1::{PATIENCE, get},
    process::Weir,
    upstream::noting,
};

const MIB: u64 = 1 << 20;

/// The memory of a process that serves with so many zones of a million keys, none of which it has
/// seen.
fn idle_with_zones(zones: usize) -> u64 {
    let (upstream, _) = noting();
    let declared: String =
        (0..zones).map(|zone| format!("  z{zone}: {{ key: client_ip, rate: 10r/s }}\n")).collect();
    let declared = if zones == 0 { String::new() } else { format!("zones:\n{declared}") };
    let weir = Weir::run(&format!(
        "{declared}workers: 2\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\n"
    ));
    assert_eq!(get(weir.address, "/").status, 200);
    weir.memory("RssAnon")
}

#[test]
fn zone_without_keys_takes_no_memory() {
    // The kernel gives a process a huge page of 2 MiB more or less by chance, so the least of three
    // counts.
    let least = |zones| (0..3).map(|_| idle_with_zones(zones)).min().unwrap_or_default();
    let [none, one, thirty] = [0, 1, 30].map(least);
    assert!(one <= none + MIB, "{one} bytes with one zone, {none} without");
    assert!(thirty <= none + 4 * MIB, "{thirty} bytes with thirty zones, {none} without");
}

/// A state in which a million keys owe something for a day.
fn state_of_a_million() -> Vec<u8> {
    let settings = ZoneSettings {
        name: "z".into(),
        key: Key::of(vec![Part::ClientIp]),
        rate: "1r/d".parse().expect("a rate"),
        capacity: 1,
        exempt: Vec::new(),
    };
    let debts = (1..=1_000_000_u64)
        .map(|key| (key.wrapping_mul(0x9e37_79b9_7f4a_7c15), 86_400_000_000_000))
        .collect();
    let zone = Snapshot {
        zone: Arc::clone(&settings.name),
        seed: Seed([1, 2]),
        key: settings.key.digest(),
        debts,
    };
    let taken = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    SavedState { taken_ms: u64::try_from(taken).expect("64 bit"), zones: vec![zone] }.encode()
}

/// Starts with a million keys, loads a configuration with these zones, and waits until so much less
/// is resident.
fn falls_after_a_reload_to(zones: &str, most_left: impl Fn(u64) -> u64) {
    let (upstream, _) = noting();
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("zones.bin");
    std::fs::write(&state, state_of_a_million()).expect("a file");
    let config = |zones: &str| {
        format!(
            "{zones}workers: 2\nroutes: [ {{ path: /, upstream: \"http://{upstream}\" }} ]\nstate: {{ file: {}, interval: 1h }}\n",
            state.display()
        )
    };
    let weir = Weir::run(&config("zones: { z: { key: client_ip, rate: 1r/d } }\n"));
    let full = weir.memory("RssAnon");
    assert!(full > 19 * MIB, "{full} bytes of a million keys");
    weir.rewrite(&config(zones));
    weir.signal(Signal::HUP);
    weir.says("configuration reloaded");
    let deadline = Instant::now() + PATIENCE;
    while weir.memory("RssAnon") > most_left(full) {
        assert!(Instant::now() < deadline, "{} bytes, of {full} before", weir.memory("RssAnon"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn zone_that_a_reload_drops_gives_its_memory_back() {
    falls_after_a_reload_to("", |full| full - 16 * MIB);
}

#[test]
fn zone_that_a_reload_makes_anew_gives_the_memory_of_the_one_before_back() {
    falls_after_a_reload_to("zones: { z: { key: client_ip, rate: 2r/d } }\n", |full| {
        full + 8 * MIB
    });
}
