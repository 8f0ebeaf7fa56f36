//! kill -9 and stop signals in the middle of a revision.

use std::process::{Child, Command};

use crate::{
    bench::{Bench, Ended, with},
    postgres::Held,
};

/// Half of the work, a gate, the other half.
const HALVES: &str = "CREATE TABLE a ();\nSELECT pg_advisory_lock(7);\nSELECT pg_advisory_unlock(7);\nCREATE TABLE b ();\n";

/// A revision that stands at the gate, which the test holds shut.
fn at_the_gate(up: &str) -> (Bench, Held, Child) {
    let bench = with(&[(1, up, "DROP TABLE a; DROP TABLE b")]);
    let gate = bench.database.session("SELECT pg_advisory_lock(7)");
    let running = bench.start("upgrade head --lock-timeout 10m");
    bench.database.until(&format!("EXISTS (SELECT FROM pg_locks WHERE NOT granted AND objid = 7 AND {HERE})"));
    (bench, gate, running)
}

const HERE: &str = "locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The server has noticed that the client is gone, although the gate is still shut.
fn until_freed(bench: &Bench) {
    bench.database.until(&format!("(SELECT count(*) FROM pg_locks WHERE {HERE}) = 1"));
}

#[test]
fn killed_in_a_transaction_nothing_is_there_and_the_lock_is_free() {
    let (bench, gate, mut running) = at_the_gate(HALVES);
    running.kill().expect("kill -9");
    running.wait().expect("an end");
    until_freed(&bench);
    assert_eq!(bench.database.run("SELECT to_regclass('a'), (SELECT count(*) FROM migrations.applied)"), "|0");
    drop(gate);
    bench.migrate("upgrade head --wait 0s").fine();
    assert_eq!(bench.database.run("SELECT to_regclass('a'), to_regclass('b')"), "a|b");
}

#[test]
fn killed_without_a_transaction_the_mark_stays() {
    let (bench, gate, mut running) = at_the_gate(&format!("-- no-transaction\n{HALVES}"));
    running.kill().expect("kill -9");
    running.wait().expect("an end");
    until_freed(&bench);
    drop(gate);
    bench.migrate("upgrade head --wait 0s").refused(1, "error: revision `1_r1` stopped half-way in an earlier run");
    assert_eq!(bench.database.run("SELECT to_regclass('a'), to_regclass('b')"), "a|");
    bench.database.run("DROP TABLE a");
    bench.migrate("resolve 1 --rolled-back").fine();
    bench.migrate("upgrade head").fine();
}

#[test]
fn a_stop_signal_ends_it_at_once() {
    let (bench, gate, running) = at_the_gate(HALVES);
    let killed = Command::new("kill").args(["-TERM", &running.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    Ended::from(running.wait_with_output().expect("an end")).refused(1, "error: told to stop");
    until_freed(&bench);
    drop(gate);
    bench.migrate("upgrade head").fine();
}
