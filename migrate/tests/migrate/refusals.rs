//! Nothing begins when files and database disagree: drift, ahead, half done, irreversible.

use weir_test::migrations::{Bench, with};

const ONE: (u32, &str, &str) = (1, "CREATE TABLE a ()", "DROP TABLE a");
const TWO: (u32, &str, &str) = (2, "CREATE TABLE b ()", "DROP TABLE b");

fn applied(revisions: &[(u32, &str, &str)]) -> Bench {
    let bench = with(revisions);
    bench.migrate("upgrade head").fine();
    bench
}

#[test]
fn drift_is_an_edited_applied_revision() {
    let bench = applied(&[ONE]);
    bench.write("1_r1.up.sql", "CREATE TABLE a (id int)").write("2_r2.up.sql", "CREATE TABLE b ()");
    let said =
        bench.migrate("upgrade head").refused(5, "error: changed after it was applied: `1_r1`");
    assert!(said.contains("\nhint: restore the file"), "{said}");
    bench.migrate("check").refused(5, "changed after it was applied: `1_r1`");
    assert_eq!(bench.applied(), "1");
}

#[test]
fn drift_can_be_undone_or_accepted() {
    let bench = applied(&[ONE]);
    bench.write("1_r1.up.sql", "CREATE TABLE a (id int)");
    assert_eq!(bench.migrate("stamp head").fine(), "stamped 1_r1");
    bench.migrate("check").fine();
    bench.write("1_r1.up.sql", "CREATE TABLE a (id bigint)");
    let ended = bench.migrate("downgrade -1");
    assert!(ended.err.contains("warning: `1_r1` was edited after it was applied"), "{}", ended.err);
    ended.fine();
    bench.migrate("upgrade head").fine();
}

#[test]
fn database_ahead_of_the_files_is_left_alone() {
    let bench = applied(&[ONE, TWO]);
    bench.remove("2_r2.up.sql");
    bench.remove("2_r2.down.sql");
    let said = "error: the database is ahead: it has `2_r2`, which `migrations` does not have";
    for command in ["upgrade head", "downgrade base", "check", "current --check-heads"] {
        bench.migrate(command).refused(5, said);
    }
    assert_eq!(bench.applied(), "1 2");
    assert_eq!(bench.migrate("current").fine(), "2_r2 (unknown to these files)");
}

#[test]
fn downgrade_stops_at_an_irreversible_revision_before_anything_is_touched() {
    for missing in ["no file", "-- nothing to run\n"] {
        let bench = applied(&[ONE, (2, TWO.1, missing), (3, "CREATE TABLE c ()", "DROP TABLE c")]);
        if missing == "no file" {
            bench.remove("2_r2.down.sql");
        }
        bench
            .migrate("downgrade base")
            .refused(1, "error: cannot undo `2_r2`: no statements in a down file");
        assert_eq!(bench.database.run("SELECT to_regclass('c')"), "c");
        bench.migrate("downgrade -1").fine();
        assert_eq!(bench.applied(), "1 2");
    }
}

#[test]
fn revision_without_transaction_that_fails_half_way_is_marked() {
    let up = "-- no-transaction\nCREATE TABLE b ();\nCREATE TABLE c (x wrong);\n";
    let bench = with(&[ONE, (2, up, "-- no-transaction\nDROP TABLE b;")]);
    let said = bench
        .migrate("upgrade head")
        .refused(1, "failed at migrations/2_r2.up.sql:3: type \"wrong\" does not exist");
    assert!(said.contains("`migrate resolve 2 --rolled-back` or `--applied`"), "{said}");
    for command in ["upgrade head", "downgrade base", "stamp head", "check"] {
        bench
            .migrate(command)
            .refused(1, "error: revision `2_r2` stopped half-way in an earlier run");
    }
    assert_eq!(bench.migrate("current").fine(), "2_r2 (head) (half done)");
    bench.database.run("DROP TABLE b");
    assert_eq!(bench.migrate("resolve 2 --rolled-back").fine(), "2_r2 is not applied");
    bench
        .write("2_r2.up.sql", "-- no-transaction\nCREATE TABLE b ();")
        .migrate("upgrade head")
        .fine();
    assert_eq!(bench.applied(), "1 2");
}

#[test]
fn revision_half_done_can_be_finished_by_hand() {
    let up = "-- no-transaction\nCREATE TABLE b ();\nCREATE TABLE c (x wrong);\n";
    let bench = with(&[(2, up, "-- no-transaction\nDROP TABLE b;\nDROP TABLE c;")]);
    assert_eq!(bench.migrate("upgrade head").code, Some(1));
    bench.database.run("CREATE TABLE c ()");
    assert_eq!(bench.migrate("resolve 2 --applied").fine(), "2_r2 is applied");
    bench.migrate("check").fine();
    bench.migrate("resolve 2 --applied").refused(1, "error: `2` is not marked as half done");
    bench.migrate("resolve 2").refused(2, "--applied");
}

#[test]
fn revision_whose_first_statement_fails_leaves_no_mark() {
    let bench = with(&[(1, "-- no-transaction\nCREATE TABLE a (x wrong);\nSELECT 1;", "SELECT 1")]);
    assert_eq!(bench.migrate("upgrade head").code, Some(1));
    bench.write("1_r1.up.sql", "CREATE TABLE a ()").migrate("upgrade head").fine();
}

#[test]
fn files_that_make_no_sense_together_are_refused() {
    for (name, said) in [
        (
            "2_other.up.sql",
            "`migrations/2_other.up.sql` and `migrations/2_r2.down.sql` have the same number",
        ),
        ("3_c.down.sql", "`migrations/3_c.down.sql` has no up file"),
        ("notes.sql", "`migrations/notes.sql` is not named like a revision"),
    ] {
        let bench = with(&[TWO]);
        bench.write(name, "SELECT 1").migrate("upgrade head").refused(1, said);
    }
}
