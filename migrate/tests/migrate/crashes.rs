//! kill -9 and stop signals in the middle of a revision.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use weir_test::{
    migrations::{Bench, Ended, with},
    postgres::{Held, Server},
};

/// Half of the work, a gate, the other half.
const HALVES: &str = "CREATE TABLE a ();\nSELECT pg_advisory_lock(7);\nSELECT \
                      pg_advisory_unlock(7);\nCREATE TABLE b ();\n";

/// A revision that stands at the gate, which the test holds shut.
fn at_the_gate(up: &str) -> (Bench, Held, Child) {
    let bench = with(&[(1, up, "DROP TABLE a; DROP TABLE b")]);
    let gate = bench.database.session("SELECT pg_advisory_lock(7)");
    let running = bench.start("upgrade head --lock-timeout 10m");
    bench.database.until(&format!(
        "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND objid = 7 AND {HERE})"
    ));
    (bench, gate, running)
}

const HERE: &str = "locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE \
                    datname = current_database())";

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
    assert_eq!(
        bench.database.run("SELECT to_regclass('a'), (SELECT count(*) FROM migrations.applied)"),
        "|0"
    );
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
    bench
        .migrate("upgrade head --wait 0s")
        .refused(1, "error: revision `1_r1` stopped half-way in an earlier run");
    assert_eq!(bench.database.run("SELECT to_regclass('a'), to_regclass('b')"), "a|");
    bench.database.run("DROP TABLE a");
    bench.migrate("resolve 1 --rolled-back").fine();
    bench.migrate("upgrade head").fine();
}

#[test]
fn stop_signal_ends_a_command_immediately() {
    let (bench, gate, running) = at_the_gate(HALVES);
    let killed =
        Command::new("kill").args(["-TERM", &running.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    Ended::from(running.wait_with_output().expect("an end"))
        .refused(1, "error: stopped by a signal");
    until_freed(&bench);
    drop(gate);
    bench.migrate("upgrade head").fine();
}

/// No revision is at fault for a server that stops.
#[test]
fn connection_that_is_lost_within_a_revision_is_told_as_such() {
    let (bench, gate, running) = at_the_gate(HALVES);
    bench.database.run(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND objid = 7 AND {HERE}"
    ));
    let said = Ended::from(running.wait_with_output().expect("an end"));
    let said = said.refused(
        3,
        "error: the connection was lost at migrations/1_r1.up.sql:2 of revision `1_r1`",
    );
    assert!(
        said.contains("hint: run it again once the database is there")
            && !said.contains("edit the file"),
        "{said}"
    );
    drop(gate);
    bench.migrate("upgrade head").fine();
}

#[test]
fn database_that_is_starting_is_waited_for_and_one_that_refuses_is_not() {
    let server: &'static Server = Box::leak(Box::new(Server::start()));
    let database = server.database();
    server.down();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("migrations")).expect("a folder");
    let run = |url: String, arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        command
            .args(arguments.split(' '))
            .env_clear()
            .env("DATABASE_URL", url)
            .current_dir(folder.path());
        command
    };
    let mut waiting = run(database.url(), "upgrade head --wait 10m")
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command");
    let mut said = BufReader::new(waiting.stderr.take().expect("piped")).lines();
    assert!(said.any(|line| line.expect("text").starts_with("waiting: cannot reach the database")));
    server.up();
    // What is not read would be waited for.
    let rest = std::thread::spawn(move || said.count());
    assert!(waiting.wait().expect("an end").success());
    rest.join().expect("no panic");
    // There is no such role, and no time brings it.
    let refused = Ended::from(
        run(database.url_as("nobody"), "upgrade head --wait 10m").output().expect("the command"),
    );
    refused.refused(3, "error: cannot reach the database");
    let at_once =
        Ended::from(run(database.url_as("nobody"), "current").output().expect("the command"));
    at_once.refused(3, "error: cannot reach the database");
    server.down();
}
