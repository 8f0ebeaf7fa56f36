//! A revision is there whole or not at all, and what fails is named.

use weir_test::migrations::with;

#[test]
fn revision_that_fails_names_file_and_line_and_keeps_nothing() {
    let up =
        "-- two\nCREATE TABLE b ();\n\nCREATE TABLE c (\n    id int,\n    other wrong_type\n);\n";
    let bench = with(&[(1, "CREATE TABLE a ()", "DROP TABLE a"), (2, up, "SELECT 1")]);
    let said = bench
        .migrate("upgrade head")
        .refused(1, "error: revision `2_r2` failed at migrations/2_r2.up.sql:6: ");
    assert!(
        said.contains("type \"wrong_type\" does not exist (42704)\n    6 |     other wrong_type\n"),
        "{said}"
    );
    assert!(
        said.ends_with("hint: nothing of this revision was kept: edit the file and run it again\n"),
        "{said}"
    );
    assert_eq!(bench.applied(), "1");
    assert_eq!(bench.database.run("SELECT to_regclass('a'), to_regclass('b')"), "a|");
    bench.write("2_r2.up.sql", "CREATE TABLE b ()").migrate("upgrade head").fine();
}

#[test]
fn failure_at_run_time_has_a_line_too() {
    let up = "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (1);\n-- again\nINSERT \
              INTO a VALUES (1);\n";
    let bench = with(&[(1, up, "DROP TABLE a")]);
    let said = bench
        .migrate("upgrade head")
        .refused(1, "failed at migrations/1_r1.up.sql:4: duplicate key value");
    assert!(said.contains("\ndetail: Key (id)=(1) already exists.\n"), "{said}");
}

#[test]
fn failure_inside_a_block_has_its_context() {
    let bench =
        with(&[(1, "SELECT 1;\nDO $$\nBEGIN\n  RAISE EXCEPTION 'no';\nEND $$;", "SELECT 1")]);
    let said =
        bench.migrate("upgrade head").refused(1, "failed at migrations/1_r1.up.sql:2: no (P0001)");
    assert!(
        said.contains("\ncontext: PL/pgSQL function inline_code_block line 3 at RAISE\n"),
        "{said}"
    );
}

#[test]
fn constraint_that_waits_for_the_end_takes_everything_back() {
    let up = "CREATE TABLE a (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO a VALUES \
              (1), (1);\n";
    let bench = with(&[(1, up, "DROP TABLE a")]);
    bench
        .migrate("upgrade head")
        .refused(1, "failed at migrations/1_r1.up.sql:2: duplicate key value");
    assert_eq!(
        bench.database.run("SELECT to_regclass('a'), (SELECT count(*) FROM migrations.applied)"),
        "|0"
    );
}

#[test]
fn downgrade_that_fails_leaves_the_revision_applied() {
    let bench = with(&[(1, "CREATE TABLE a ()", "DROP TABLE a;\nDROP TABLE nothing;")]);
    bench.migrate("upgrade head").fine();
    bench
        .migrate("downgrade base")
        .refused(1, "failed at migrations/1_r1.down.sql:2: table \"nothing\" does not exist");
    assert_eq!(
        (bench.applied(), bench.database.run("SELECT to_regclass('a')")),
        ("1".into(), "a".into())
    );
}

#[test]
fn settings_of_one_revision_do_not_reach_the_next() {
    let first = "CREATE TABLE public.a ();\nSELECT set_config('search_path', '', false);\nSET \
                 statement_timeout = 1;";
    let bench = with(&[
        (1, first, "SELECT 1"),
        (2, "CREATE TABLE b AS SELECT pg_sleep(0.01) IS NULL AS is", "SELECT 1"),
    ]);
    bench.migrate("upgrade head").fine();
    assert_eq!(bench.database.run("SELECT to_regclass('public.b')"), "b");
}

#[test]
fn commit_inside_a_revision_is_refused_before_anything_runs() {
    let bench = with(&[
        (1, "CREATE TABLE a ()", "SELECT 1"),
        (2, "CREATE TABLE b ();\nCOMMIT;\n", "SELECT 1"),
    ]);
    bench
        .migrate("upgrade head")
        .refused(1, "migrations/2_r2.up.sql:2: `COMMIT` inside a revision");
    assert_eq!(bench.database.run("SELECT to_regclass('a')"), "");
}

#[test]
fn concurrently_needs_the_mark_and_is_told_so_before_anything_runs() {
    let bench = with(&[(
        1,
        "CREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY i ON a (id);",
        "DROP TABLE a",
    )]);
    let said = bench
        .migrate("upgrade head")
        .refused(1, "migrations/1_r1.up.sql:2: `CREATE INDEX CONCURRENTLY i ON a (id)`");
    assert!(said.ends_with("hint: begin the file with the line `-- no-transaction`\n"), "{said}");
}

#[test]
fn no_transaction_mark_counts_as_the_first_line_only() {
    let bench = with(&[(1, "-- a title\n-- no-transaction\nSELECT 1", "SELECT 1")]);
    bench.migrate("upgrade head").refused(
        1,
        "migrations/1_r1.up.sql:2: `-- no-transaction` counts as the very first line only",
    );
}

#[test]
fn statement_that_needs_no_transaction_comes_with_a_hint() {
    let bench = with(&[(1, "CREATE TABLE a ();\nVACUUM a;", "SELECT 1")]);
    let said = bench
        .migrate("upgrade head")
        .refused(1, "failed at migrations/1_r1.up.sql:2: VACUUM cannot run inside a transaction");
    assert!(
        said.contains(
            "hint: make `-- no-transaction` the first line of the file; nothing of this \
                       revision was kept"
        ),
        "{said}"
    );
}

#[test]
fn data_of_psql_inside_a_revision_is_an_error_and_no_standstill() {
    let bench = with(&[(1, "CREATE TABLE a (x int);\nCOPY a FROM STDIN;\n1\n\\.\n", "SELECT 1")]);
    bench.migrate("upgrade head").refused(1, "failed at migrations/1_r1.up.sql:2: ");
    assert_eq!(bench.database.run("SELECT to_regclass('a')"), "");
}

#[test]
fn several_statements_without_a_transaction_run_one_by_one() {
    let up = "-- no-transaction\nCREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY i ON a \
              (id);\nCREATE INDEX CONCURRENTLY j ON a (id);\n";
    let down =
        "-- no-transaction\nDROP INDEX CONCURRENTLY i;\nDROP INDEX CONCURRENTLY j;\nDROP TABLE a;";
    let bench = with(&[(1, up, down)]);
    bench.migrate("upgrade head").fine();
    assert_eq!(bench.database.run("SELECT to_regclass('i'), to_regclass('j')"), "i|j");
    bench.migrate("downgrade base").fine();
    assert_eq!(bench.database.run("SELECT to_regclass('a')"), "");
}
