//! What someone who comes from Alembic types, in that order.

use std::fs;

use weir_test::migrations::{bench, built_in, with};

/// What Alembic's users type first, without a program around it.
#[test]
fn tutorial_works_in_an_empty_folder() {
    let bench = built_in();
    bench.migrate("upgrade head").refused(
        1,
        "error: there is no directory `migrations`\nhint: `migrate init migrations` makes it",
    );
    bench.migrate("init migrations").fine();
    let made = bench.migrate("revision -m first").fine();
    let up = made.lines().find_map(|line| line.strip_prefix("generated ")).expect("a file");
    fs::write(bench.path(up), "CREATE TABLE public.first (id int);").expect("written");
    assert!(bench.migrate("upgrade head").fine().starts_with("upgraded 1 revision; at 20"));
    assert_eq!(bench.database.run("SELECT count(*) FROM public.first"), "0");
    assert_eq!(bench.migrate("init --missing").fine(), "nothing is missing");
}

#[test]
fn directory_named_on_the_command_line_must_be_there() {
    built_in().migrate("-d nowhere upgrade head").refused(1, "error: cannot read `nowhere`: ");
}

#[test]
fn directory_is_named_by_the_environment() {
    let bench = with(&[(1, "SELECT 1", "SELECT 1")]);
    fs::rename(bench.path("migrations"), bench.path("elsewhere")).expect("renamed");
    let ended =
        bench.command("heads").env("MIGRATIONS_DIR", "elsewhere").output().expect("the command");
    assert_eq!(ended.stdout, b"1_r1 (head)\n");
}

#[test]
fn up_and_down_by_steps_names_and_beginnings() {
    let bench = with(&[
        (11, "SELECT 1", "SELECT 1"),
        (12, "SELECT 1", "SELECT 1"),
        (23, "SELECT 1", "SELECT 1"),
    ]);
    for (command, applied) in [
        ("upgrade +1", "11"),
        ("upgrade 12", "11 12"),
        ("upgrade r23", "11 12 23"),
        ("downgrade -2", "11"),
        ("upgrade head", "11 12 23"),
        ("downgrade 12_r12", "11 12"),
        ("upgrade 2", "11 12 23"),
        ("downgrade base", ""),
    ] {
        bench.migrate(command).fine();
        assert_eq!(bench.applied(), applied, "{command}");
    }
}

#[test]
fn too_many_steps_and_unclear_names_change_nothing() {
    let bench = with(&[(11, "SELECT 1", "SELECT 1"), (12, "SELECT 1", "SELECT 1")]);
    bench.migrate("upgrade +3").refused(1, "error: `+3` is too far: 2 pending");
    bench.migrate("upgrade 1").refused(1, "error: `1` could be `11_r11` or `12_r12`");
    bench.migrate("upgrade x").refused(1, "error: no revision begins with `x`");
    bench.migrate("downgrade -1").refused(1, "error: `-1` is too far: 0 applied");
    bench.migrate("downgrade 11").refused(1, "error: `11` is not applied");
    bench.migrate("upgrade -1").refused(2, "error: `-1` is the way down");
    bench.migrate("downgrade head").refused(2, "error: `head` is the way up");
    assert_eq!(bench.database.run("SELECT to_regclass('migrations.applied')"), "");
}

#[test]
fn dry_run_names_what_would_run() {
    let bench = with(&[(1, "CREATE TABLE a ()", "DROP TABLE a"), (2, "SELECT 1", "SELECT 1")]);
    assert_eq!(
        bench.migrate("upgrade head --dry-run").fine(),
        "would upgrade 1_r1\nwould upgrade 2_r2"
    );
    assert_eq!(
        bench.database.run("SELECT to_regclass('a'), to_regclass('migrations.applied')"),
        "|"
    );
    bench.migrate("upgrade head").fine();
    assert_eq!(
        bench.migrate("downgrade base --dry-run --json").fine(),
        r#"{"would_run":["2_r2","1_r1"]}"#
    );
    assert_eq!(bench.applied(), "1 2");
}

#[test]
fn stamp_writes_the_table_and_runs_nothing() {
    let bench =
        with(&[(1, "CREATE TABLE a ()", "DROP TABLE a"), (2, "CREATE TABLE b ()", "DROP TABLE b")]);
    assert_eq!(bench.migrate("stamp 1").fine(), "stamped 1_r1");
    assert_eq!(bench.migrate("stamp head").fine(), "stamped 2_r2");
    assert_eq!(bench.database.run("SELECT to_regclass('a'), to_regclass('b')"), "|");
    assert_eq!(bench.migrate("stamp base").fine(), "removed 1_r1\nremoved 2_r2");
    bench.migrate("upgrade head").fine();
    assert_eq!(bench.database.run("SELECT to_regclass('a'), to_regclass('b')"), "a|b");
}

#[test]
fn revision_that_is_new_comes_after_all_others() {
    let bench = bench();
    bench
        .write("99991231235959_far.up.sql", "SELECT 1")
        .write("99991231235959_far.down.sql", "SELECT 1");
    bench.migrate("revision -m next").fine();
    assert_eq!(bench.migrate("heads").fine(), "99991231235960_next (head)");
}

/// The flow of Alembic's users: `revision -m`, `upgrade head`, and only then the editor.
#[test]
fn revision_that_was_empty_runs_once_it_is_written() {
    let bench = bench();
    let made = bench.migrate("revision -m later").fine();
    let files: Vec<&str> =
        made.lines().filter_map(|line| line.strip_prefix("generated ")).collect();
    let ended = bench.migrate("upgrade head");
    let warning =
        "_later.up.sql` has no statements yet: what is written into it runs with the next upgrade";
    assert!(ended.err.contains(warning), "{}", ended.err);
    ended.fine();
    bench.migrate("check").fine();
    fs::write(bench.path(files[0]), "-- thought about\n").expect("written");
    bench.migrate("check").fine();
    fs::write(bench.path(files[0]), "CREATE TABLE public.later ();").expect("written");
    fs::write(bench.path(files[1]), "DROP TABLE public.later;").expect("written");
    bench.migrate("current --check-heads").refused(6, "to apply");
    assert!(bench.migrate("upgrade head --sql").fine().contains("CREATE TABLE public.later ()"));
    assert!(bench.migrate("upgrade head").fine().starts_with("upgraded 1 revision; at 20"));
    assert_eq!(bench.database.run("SELECT count(*) FROM public.later"), "0");
    bench.migrate("check").fine();
    // From here on it is as any other: an edit is one of what was applied.
    fs::write(bench.path(files[0]), "CREATE TABLE public.other ();").expect("written");
    bench.migrate("upgrade head").refused(5, "changed after it was applied");
    fs::write(bench.path(files[0]), "CREATE TABLE public.later ();").expect("written");
    bench.migrate("downgrade base").fine();
    assert_eq!(bench.database.run("SELECT to_regclass('public.later') IS NULL"), "t");
}

#[test]
fn downgrade_of_a_revision_that_ran_nothing_runs_nothing() {
    let bench = bench();
    let made = bench.migrate("revision -m later").fine();
    let files: Vec<&str> =
        made.lines().filter_map(|line| line.strip_prefix("generated ")).collect();
    bench.migrate("upgrade head").fine();
    fs::write(bench.path(files[0]), "CREATE TABLE public.later ();").expect("written");
    fs::write(bench.path(files[1]), "DROP TABLE public.later;").expect("written");
    assert!(bench.migrate("downgrade -1").fine().starts_with("downgraded 1 revision; at base"));
    assert!(bench.migrate("upgrade head").fine().starts_with("upgraded 1 revision"));
}

#[test]
fn drift_of_line_endings_is_told_as_such() {
    let bench = with(&[(1, "CREATE TABLE a ();\n-- b\n", "DROP TABLE a;\n")]);
    bench.migrate("upgrade head").fine();
    bench.write("1_r1.up.sql", "CREATE TABLE a ();\r\n-- b\r\n");
    let said = bench.migrate("upgrade head").refused(5, "changed after it was applied: `1_r1`");
    assert!(
        said.contains("hint: only line endings differ") && said.contains(".gitattributes"),
        "{said}"
    );
    bench.write("1_r1.up.sql", "CREATE TABLE b ();\r\n-- b\r\n");
    let said = bench.migrate("upgrade head").refused(5, "changed after it was applied: `1_r1`");
    assert!(!said.contains("line endings"), "{said}");
}

/// What Alembic's users type beyond the tutorial.
#[test]
fn alembic_words_are_understood_or_say_what_to_type() {
    let bench = with(&[
        (1, "CREATE TABLE a ()", "DROP TABLE a"),
        (2, "CREATE TABLE b ()", "DROP TABLE b"),
        (3, "SELECT 3", "SELECT 1"),
    ]);
    assert!(bench.migrate("heads -v").fine().starts_with("revision 3 (head)\n"));
    assert_eq!(bench.migrate("history -r r1:r2").fine().lines().count(), 2);
    assert_eq!(bench.migrate("history --rev-range r2:").fine().lines().count(), 2);
    assert!(bench.migrate("upgrade r1+1").fine().ends_with("at 2_r2"));
    let sql = bench.migrate("upgrade r1:r2 --sql").fine();
    assert!(sql.contains("CREATE TABLE b ()") && !sql.contains("CREATE TABLE a ()"), "{sql}");
    bench.migrate("upgrade r1:r2").refused(2, "hint: `migrate upgrade r2`");
    assert_eq!(bench.migrate("stamp heads").fine(), "stamped 3_r3");
    bench.migrate("-c alembic.ini upgrade head").refused(2, "hint: leave `-c` out");
}

#[test]
fn init_does_not_touch_a_directory_in_use() {
    let bench = with(&[(1, "SELECT 1", "SELECT 1")]);
    bench.migrate("init migrations").refused(1, "error: `migrations` is not empty");
    bench.migrate("init --empty fresh").fine();
    assert_eq!(fs::read_dir(bench.path("fresh")).expect("made").count(), 1);
}
