//! `--sql` prints what psql can run, and that comes to the same as running it here.

use std::{
    fs,
    process::{Command, Output},
};

use weir_test::migrations::{Bench, with};

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
fn script_does_what_upgrade_and_downgrade_do() {
    let revisions = [
        (
            1,
            "CREATE SCHEMA s;\nCREATE TABLE s.a (id int, t text DEFAULT 'it''s; $1');",
            "DROP SCHEMA s CASCADE;",
        ),
        (2, "-- nothing yet\n", "-- nothing yet\n"),
        (
            3,
            "-- no-transaction\nCREATE INDEX CONCURRENTLY i ON s.a (id);",
            "-- no-transaction\nDROP INDEX CONCURRENTLY s.i;",
        ),
        (4, "DO $x$ BEGIN ALTER TABLE s.a ADD b int; END $x$;", "ALTER TABLE s.a DROP b;"),
    ];
    let (ours, theirs) = (with(&revisions), with(&revisions));
    for command in ["upgrade +3", "upgrade head", "downgrade -2", "upgrade head", "downgrade base"]
    {
        fine(&psql(&theirs, &theirs.migrate(&format!("{command} --sql")).fine()));
        ours.migrate(command).fine();
        assert_eq!(theirs.database.dump(), ours.database.dump(), "{command}");
        assert_eq!(theirs.rows(), ours.rows(), "{command}");
    }
}

#[test]
fn script_from_before_runs_nothing_twice() {
    let bench = with(&[
        (1, "CREATE TABLE a ()", "SELECT 1"),
        (2, "-- no-transaction\nCREATE TABLE b ()", "SELECT 1"),
    ]);
    let script = bench.migrate("upgrade head --sql").fine();
    fine(&psql(&bench, &script));
    let dump = bench.database.dump();
    assert_eq!(psql(&bench, &script).status.code(), Some(3));
    assert_eq!((bench.applied(), bench.database.dump()), ("1 2".into(), dump));
}

#[test]
fn script_does_not_run_beside_a_migration() {
    let bench = with(&[(1, "CREATE TABLE a ()", "SELECT 1")]);
    let script = bench.migrate("upgrade head --sql").fine();
    let _held =
        bench.database.session(&format!("SELECT pg_advisory_lock({})", weir_migrate::lock::KEY));
    let output = psql(&bench, &script);
    assert!(String::from_utf8_lossy(&output.stderr).contains("another migration runs"));
    assert_eq!(bench.database.run("SELECT to_regclass('a')"), "");
}
