//! The revisions of the service.

use std::{fs, path::Path};

use auth::{migrate::Revisions, revisions::BUILT_IN};
use sqlx::{Connection, PgConnection, migrate::Migrator};

use weir_test::migrations::{Bench, built_in};

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))
}

#[test]
fn built_in_revisions_are_those_of_the_directory() {
    let entries = fs::read_dir(directory()).expect("the revisions");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("readable").file_name().into_string().expect("text")).collect();
    let mut carried: Vec<&str> = BUILT_IN.files.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    carried.sort_unstable();
    assert_eq!(names, carried);
    assert!(
        Revisions::built_in(BUILT_IN).expect("fine").iter().all(|revision| revision.reversible())
    );
}

#[test]
fn base_head_base_head_gives_the_same_schema() {
    let bench = built_in();
    let go = |command: &str| {
        bench.migrate(command).fine();
        bench.database.dump()
    };
    let (head, base) = (go("upgrade head"), go("downgrade base"));
    assert!(head.contains("CREATE TABLE auth.users") && !base.contains("auth."), "{base}");
    assert_eq!(go("upgrade head"), head);
    assert_eq!(go("downgrade base"), base);
}

/// A dump whose tables have their lines in order: a column that was dropped comes back, and comes
/// last.
fn in_order(dump: &str) -> Vec<String> {
    let mut tables = Vec::new();
    for part in dump.split("\n\n") {
        let mut lines: Vec<&str> = part.lines().map(|line| line.trim_end_matches(',')).collect();
        if part.trim_start().starts_with("CREATE TABLE") {
            lines.sort_unstable();
        }
        tables.push(lines.join("\n"));
    }
    // What is told of columns follows their order.
    tables.sort_unstable();
    tables
}

#[test]
fn revisions_undo_exactly_themselves() {
    let bench = built_in();
    bench.migrate("stamp base").fine();
    for _ in 0..BUILT_IN.files.len() / 2 {
        let before = bench.database.dump();
        bench.migrate("upgrade +1").fine();
        bench.migrate("downgrade -1").fine();
        assert_eq!(in_order(&bench.database.dump()), in_order(&before));
        bench.migrate("upgrade +1").fine();
    }
    bench.migrate("check").fine();
}

fn head() -> Bench {
    let bench = built_in();
    bench.migrate("upgrade head").fine();
    bench
}

const ANNA: &str = "INSERT INTO auth.users (id, username, email, password_hash) \
                    VALUES ('01900000-0000-7000-8000-000000000001', 'Anna', 'anna@example.org', \
                    'x')";

#[test]
fn version_of_a_person_grows_with_every_change() {
    let bench = head();
    bench.database.run(ANNA);
    bench.database.run("UPDATE auth.users SET country = 'NO'");
    bench.database.run("UPDATE auth.users SET country = NULL, version = version + 1");
    assert_eq!(
        bench.database.run("SELECT version, updated_at > created_at FROM auth.users"),
        "3|t"
    );
}

#[test]
fn names_and_addresses_are_unique_in_lower_case() {
    let bench = head();
    bench.database.run(ANNA);
    for (name, email) in [("anNa", "other@example.org"), ("Other", "ANNA@example.org")] {
        let sql = format!(
            "DO $$ BEGIN INSERT INTO auth.users (id, username, email, password_hash) VALUES \
             ('01900000-0000-7000-8000-000000000002', '{name}', '{email}', 'x'); \
             RAISE EXCEPTION 'taken twice'; EXCEPTION WHEN unique_violation THEN NULL; END $$"
        );
        bench.database.run(&sql);
    }
}

#[test]
fn canonical_forms_follow_whoever_writes() {
    let bench = built_in();
    bench.migrate("upgrade 20261101093500").fine();
    bench.database.run(ANNA);
    bench.migrate("upgrade head").fine();
    let forms = || bench.database.run("SELECT username_canonical, email_canonical FROM auth.users");
    assert_eq!(forms(), "anna|anna@example.org", "of those who were there before");
    bench.database.run("UPDATE auth.users SET email = 'ANNA@Example.net'");
    assert_eq!(forms(), "anna|anna@example.net");
    bench.database.run(
        "UPDATE auth.users SET email = U&'\\00D1e\\0301@x.org', email_canonical = \
                        U&'\\00F1\\00E9@x.org'",
    );
    assert_eq!(forms(), "anna|\u{f1}\u{e9}@x.org", "as the service makes it");
}

/// A cluster of the locale C makes such databases, unless told otherwise.
#[test]
fn canonical_forms_need_no_unicode_database() {
    let bench = built_in();
    let name = format!("{}_ascii", bench.database.name);
    bench
        .database
        .run(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"));
    let ascii = weir_test::postgres::Server::shared().named(&name);
    let mut command = bench.command("upgrade head");
    assert!(
        command.env("DATABASE_URL", ascii.url()).output().expect("the command").status.success()
    );
    let insert =
        "INSERT INTO auth.users (id, username, email, email_canonical, password_hash) VALUES";
    ascii.run(&format!(
        "{insert} ('01900000-0000-7000-8000-000000000001', 'Anna', 'ANNA@x.org', NULL, 'x')"
    ));
    ascii.run(&format!(
        "{insert} ('01900000-0000-7000-8000-000000000002', 'Eva', '\u{d1}@x.org', \
                        '\u{f1}@x.org', 'x')"
    ));
    ascii.run(&format!(
        "{insert} ('01900000-0000-7000-8000-000000000003', 'Ida', '\u{c9}@X.org', NULL, 'x')"
    ));
    let forms = ascii.run("SELECT string_agg(email_canonical, ' ' ORDER BY id) FROM auth.users");
    assert_eq!(forms, "anna@x.org \u{f1}@x.org \u{c9}@x.org");
}

/// The product's sources below `auth/src/`, without their unit tests.
fn sources(folder: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let file = fs::read_to_string(path).expect("a source file");
                text += file.split("#[cfg(test)]").next().unwrap_or_default();
            }
        }
    }
    text
}

#[test]
fn scopes_are_all_asked_for_somewhere() {
    let scopes = head().database.run("SELECT DISTINCT unnest(scopes) FROM auth.roles");
    let http = sources("http");
    assert!(!scopes.is_empty());
    for scope in scopes.lines() {
        assert!(http.contains(&format!("may(\"{scope}\")")), "nothing asks for `{scope}`");
    }
}

#[test]
fn columns_are_all_used_by_the_service() {
    // For people who look into the database; filled in by defaults and triggers.
    let for_people = ["updated_at", "granted_at", "description", "at", "revoked_reason"];
    let columns =
        "SELECT DISTINCT column_name FROM information_schema.columns WHERE table_schema = 'auth'";
    let (columns, store) = (head().database.run(columns), sources("store"));
    for column in columns.lines().filter(|column| !for_people.contains(column)) {
        assert!(store.contains(column), "nothing uses `{column}`");
    }
}

#[test]
fn list_of_people_uses_the_keyset_index() {
    let bench = head();
    let plan = bench.database.run(
        "SET enable_seqscan = off; SET enable_sort = off; EXPLAIN SELECT id FROM auth.users \
         WHERE (created_at, id) < (now(), '01900000-0000-7000-8000-000000000001') ORDER BY \
         created_at DESC, id DESC LIMIT 50",
    );
    assert!(plan.contains("users_keyset_idx"), "{plan}");
}

#[test]
fn sqlx_reads_our_table_as_its_own() {
    let bench = head();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut connection =
            PgConnection::connect(&bench.database.url()).await.expect("a connection");
        let mut migrator = Migrator::new(directory()).await.expect("the revisions");
        migrator.dangerous_set_table_name("migrations.applied");
        migrator
            .set_locking(false)
            .run_direct(None, &mut connection, false)
            .await
            .expect("nothing to do");
    });
    assert_eq!(bench.migrate("check").fine(), "at head, 11 revisions as applied");
}
