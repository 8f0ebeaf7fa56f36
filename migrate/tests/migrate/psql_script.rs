//! `--sql` prints what psql can run, and that comes to the same as running it here.

use std::{
    fs,
    process::{Command, Output},
};

use crate::bench::{Bench, embedded, with};

fn psql(bench: &Bench, script: &str) -> Output {
    fs::write(bench.path("script.sql"), script).expect("written");
    let mut psql: Command = bench.database.program("psql");
    psql.args(["-X", "-q", "-f"]).arg(bench.path("script.sql")).output().expect("psql")
}

#[track_caller]
fn fine(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_script_does_what_upgrade_and_downgrade_do() {
    let (ours, theirs) = (embedded(), embedded());
    for command in ["upgrade +3", "upgrade head", "downgrade -2", "upgrade head", "downgrade base"] {
        fine(&psql(&theirs, &theirs.migrate(&format!("{command} --sql")).fine()));
        ours.migrate(command).fine();
        assert_eq!(theirs.database.dump(), ours.database.dump(), "{command}");
        assert_eq!(theirs.rows(), ours.rows(), "{command}");
    }
}

#[test]
fn a_script_from_before_runs_nothing_twice() {
    let bench = with(&[(1, "CREATE TABLE a ()", "SELECT 1"), (2, "-- no-transaction\nCREATE TABLE b ()", "SELECT 1")]);
    let script = bench.migrate("upgrade head --sql").fine();
    fine(&psql(&bench, &script));
    let dump = bench.database.dump();
    assert_eq!(psql(&bench, &script).status.code(), Some(3));
    assert_eq!((bench.applied(), bench.database.dump()), ("1 2".into(), dump));
}

#[test]
fn a_script_does_not_run_beside_a_migration() {
    let bench = with(&[(1, "CREATE TABLE a ()", "SELECT 1")]);
    let script = bench.migrate("upgrade head --sql").fine();
    let _held = bench.database.session(&format!("SELECT pg_advisory_lock({})", weir_migrate::lock::KEY));
    let output = psql(&bench, &script);
    assert!(String::from_utf8_lossy(&output.stderr).contains("another migration runs"));
    assert_eq!(bench.database.run("SELECT to_regclass('a')"), "");
}
