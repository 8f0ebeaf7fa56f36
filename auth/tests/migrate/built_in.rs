//! What the program carries: a first start, a directory that an earlier release made, several
//! starts at once.

use std::{fs, os::unix::fs::symlink, process::Command};

use weir_test::migrations::{Ended, built_in};

/// The image has the program under these names.
#[test]
fn program_called_migrate_or_alembic_is_auth_migrate() {
    let bench = built_in();
    for name in ["migrate", "alembic"] {
        symlink(env!("CARGO_BIN_EXE_auth"), bench.path(name)).expect("a link");
        let mut command = Command::new(bench.path(name));
        let output =
            command.arg("heads").current_dir(bench.path("")).output().expect("the command");
        assert_eq!(
            output.stdout, b"20261130120000_drop_unused_scopes_and_rights (head)\n",
            "{name}"
        );
    }
}

#[test]
fn tutorial_works_word_for_word() {
    let bench = built_in();
    bench.migrate("init migrations").fine();
    let mut revision = bench.command("revision -m");
    let made = revision.arg("create initial tables").output().expect("the command");
    let made = String::from_utf8(made.stdout).expect("text");
    let files: Vec<&str> =
        made.lines().filter_map(|line| line.strip_prefix("generated ")).collect();
    assert!(
        files[0].ends_with("_create_initial_tables.up.sql")
            && files[1].ends_with("_create_initial_tables.down.sql")
    );
    fs::write(bench.path(files[0]), "CREATE TABLE public.first (id int);").expect("written");
    fs::write(bench.path(files[1]), "DROP TABLE public.first;").expect("written");
    assert!(bench.migrate("upgrade head").fine().starts_with("upgraded 12 revisions; at 20"));
    assert_eq!(bench.database.run("SELECT count(*) FROM public.first"), "0");
}

#[test]
fn first_start_uses_the_built_in_revisions_and_says_so() {
    let bench = built_in();
    let ended = bench.migrate("upgrade head");
    assert!(
        ended
            .err
            .starts_with("using 11 revisions built into this program; there is no `migrations`\n"),
        "{}",
        ended.err
    );
    assert_eq!(
        ended.fine(),
        "upgraded 11 revisions; at 20261130120000_drop_unused_scopes_and_rights"
    );
    assert_eq!(
        bench.migrate("upgrade head").fine(),
        "nothing to do; at 20261130120000_drop_unused_scopes_and_rights"
    );
}

/// A directory of the release before lacks a revision that this program brings.
#[test]
fn directory_of_an_earlier_release_is_told_of_and_completed() {
    let bench = built_in();
    bench.migrate("init migrations").fine();
    bench.remove("20261130120000_drop_unused_scopes_and_rights.up.sql");
    bench.remove("20261130120000_drop_unused_scopes_and_rights.down.sql");
    let ended = bench.migrate("upgrade head");
    let warning = "warning: this program needs `20261130120000_drop_unused_scopes_and_rights`, \
                   which `migrations` does not have; `migrate init --missing migrations` copies it";
    assert!(ended.err.contains(warning), "{}", ended.err);
    ended.fine();
    let made = bench.migrate("init --missing").fine();
    assert_eq!(made.lines().count(), 2, "{made}");
    assert_eq!(bench.migrate("init --missing migrations").fine(), "nothing is missing");
    let ended = bench.migrate("upgrade head");
    assert!(!ended.err.contains("warning"), "{}", ended.err);
    assert!(ended.fine().starts_with("upgraded 1 revision; at 20261130120000"));
}

#[test]
fn upgrades_eight_at_the_same_time_run_each_revision_once() {
    let bench = built_in();
    for round in 0..20 {
        let eight: Vec<_> =
            (0..8).map(|_| bench.start("upgrade head --wait 120s --json")).collect();
        let mut ran = Vec::new();
        for one in eight {
            let response = Ended::from(one.wait_with_output().expect("the command")).fine();
            let response: serde_json::Value = serde_json::from_str(&response).expect("JSON");
            ran.extend(response["ran"].as_array().expect("a list").iter().map(ToString::to_string));
        }
        ran.sort();
        ran.dedup();
        let rows = bench.database.run("SELECT count(*), bool_and(success) FROM migrations.applied");
        assert_eq!((ran.len(), rows.as_str()), (11, "11|t"), "round {round}");
        bench.database.run("DROP SCHEMA auth CASCADE; DROP SCHEMA migrations CASCADE");
    }
}

/// `upgrade head --sql` for the service's own revisions, which have functions, triggers and grants.
#[test]
fn script_of_the_built_in_revisions_does_what_upgrade_does() {
    let (ours, theirs) = (built_in(), built_in());
    for command in ["upgrade +3", "upgrade head", "downgrade -2", "upgrade head", "downgrade base"]
    {
        fs::write(theirs.path("script.sql"), theirs.migrate(&format!("{command} --sql")).fine())
            .expect("written");
        let mut psql = theirs.database.program("psql");
        let output =
            psql.args(["-X", "-q", "-f"]).arg(theirs.path("script.sql")).output().expect("psql");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ours.migrate(command).fine();
        assert_eq!(theirs.database.dump(), ours.database.dump(), "{command}");
        assert_eq!(theirs.rows(), ours.rows(), "{command}");
    }
}
