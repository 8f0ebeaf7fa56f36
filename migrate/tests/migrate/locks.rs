//! One migration at a time, and no revision that stops the traffic.

use std::process::Stdio;

use weir_test::migrations::{Ended, with};

/// The lock's number, as a session of psql takes it.
fn take() -> String {
    format!("SELECT pg_advisory_lock({})", weir_migrate::lock::KEY)
}

#[test]
fn lock_waited_for_too_long_names_its_holder() {
    let bench = with(&[(1, "SELECT 1", "SELECT 1")]);
    let mut other = bench.database.session("SET application_name = 'a colleague'");
    other.say(&take());
    let said = bench
        .migrate("upgrade head --wait 300ms")
        .refused(4, "error: another migration runs: pid ");
    assert!(
        said.contains("waiting: another migration runs: pid ")
            && said.contains("`a colleague`, user `postgres`"),
        "{said}"
    );
    assert!(said.contains("; gave up after 0.3 s\n"), "{said}");
    drop(other);
    bench.migrate("upgrade head").fine();
}

#[test]
fn lock_waited_for_long_enough_is_taken() {
    let bench = with(&[(1, "SELECT 1", "SELECT 1")]);
    let mut other = bench.database.session(&take());
    let waiting = bench.start("upgrade head");
    bench.database.until(
        "EXISTS (SELECT FROM pg_stat_activity WHERE application_name LIKE \
                          'migrate upgrade on %' AND datname = current_database())",
    );
    other.say("SELECT pg_advisory_unlock_all()");
    Ended::from(waiting.wait_with_output().expect("the command")).fine();
}

#[test]
fn lock_is_one_for_each_database_of_a_server() {
    let (one, other) = (with(&[(1, "SELECT 1", "SELECT 1")]), with(&[]));
    let _held = other.database.session(&take());
    one.migrate("upgrade head --wait 0s").fine();
}

/// The holder stops inside its revision until somebody waits, then builds an index that waits for
/// every older snapshot.
#[test]
fn lock_polled_does_not_deadlock_with_concurrently() {
    let up = "-- no-transaction\nSELECT pg_advisory_lock(7);\nSELECT pg_advisory_unlock(7);\n\
              CREATE INDEX CONCURRENTLY i ON a (id);";
    let bench = with(&[
        (1, "CREATE TABLE a (id int)", "DROP TABLE a"),
        (2, up, "-- no-transaction\nDROP INDEX i;"),
    ]);
    let mut gate = bench.database.session("SELECT pg_advisory_lock(7)");
    let first = bench.start("upgrade head --wait 60s");
    bench.database.until(
        "EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND objid = 7 \
                          AND database = (SELECT oid FROM pg_database WHERE datname = \
                          current_database()))",
    );
    let others: Vec<_> = (0..3).map(|_| bench.start("upgrade head --wait 60s")).collect();
    bench.database.until(
        "(SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE \
                          'migrate %' AND datname = current_database()) = 4",
    );
    gate.say("SELECT pg_advisory_unlock(7)");
    for one in others.into_iter().chain([first]) {
        Ended::from(one.wait_with_output().expect("the command")).fine();
    }
    assert_eq!(
        bench.database.run("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass"),
        "t"
    );
}

#[test]
fn revision_makes_way_for_traffic_and_tries_again() {
    let bench = with(&[
        (1, "CREATE TABLE a ()", "DROP TABLE a"),
        (2, "-- b\nALTER TABLE a ADD b int", "SELECT 1"),
    ]);
    bench.migrate("upgrade +1").fine();
    let mut traffic =
        bench.database.session("SET application_name = 'a report'; BEGIN; SELECT FROM a");
    let mut command = bench.command("upgrade head --lock-timeout 50ms --wait 60s");
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command");
    let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let retry = std::io::BufRead::lines(stderr)
        .map(|line| line.expect("text"))
        .find(|line| line.starts_with("trying again"));
    let retry = retry.expect("a retry is told");
    assert!(
        retry.contains(
            "no lock in time at migrations/2_r2.up.sql:2: the oldest transaction is pid "
        ),
        "{retry}"
    );
    assert!(
        retry.contains("`a report`, user `postgres`, idle in transaction, open for "),
        "{retry}"
    );
    traffic.say("COMMIT");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert_eq!(bench.applied(), "1 2");
}

#[test]
fn revision_that_never_gets_its_lock_is_exit_code_4() {
    let bench = with(&[
        (1, "CREATE TABLE a ()", "DROP TABLE a"),
        (2, "ALTER TABLE a ADD b int", "SELECT 1"),
    ]);
    bench.migrate("upgrade +1").fine();
    let _traffic = bench.database.session("BEGIN; SELECT FROM a");
    let command = "upgrade head --lock-timeout 10ms --wait 100ms";
    bench.migrate(command).refused(
        4,
        "error: revision `2_r2` waited too often for a lock at \
                     migrations/2_r2.up.sql:1: the oldest",
    );
    assert_eq!(bench.applied(), "1");
}

#[test]
fn lock_is_free_after_a_revision_that_failed() {
    let bench = with(&[(1, "SELECT wrong", "SELECT 1")]);
    bench.migrate("upgrade head").refused(1, "failed at");
    let free = format!("SELECT pg_try_advisory_lock({})", weir_migrate::lock::KEY);
    bench.database.until(&free.replace("SELECT ", ""));
}
