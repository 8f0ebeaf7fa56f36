//! `postgres_init.sql` against a real PostgreSQL: twice without a change, three roles with what
//! they need and no more.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::OnceLock,
};

use weir_test::postgres::{Database, Server};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../postgres_init.sql");

fn secrets(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for role in ["auth_migrator", "auth_app"] {
        fs::write(folder.path().join(format!("{role}_password")), text.replace("ROLE", role))
            .expect("written");
    }
    folder
}

fn init(database: &Database, secrets: &Path) -> Output {
    let mut psql = database.program("psql");
    psql.arg("-X")
        .arg("-v")
        .arg(format!("secrets={}", secrets.display()))
        .args(["-f", SCRIPT])
        .output()
        .expect("psql")
}

/// The database `auth` of a server on which the script ran twice while everything was logged.
fn auth() -> &'static Database {
    static AUTH: OnceLock<Database> = OnceLock::new();
    AUTH.get_or_init(|| {
        let first = Server::shared().named("postgres");
        first.run("ALTER ROLE postgres SET log_statement = 'all'");
        let secrets = secrets("it's ROLE's \\secret\n");
        for _ in 0..2 {
            let output = init(&first, secrets.path());
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
        let upgraded = migrate("auth_migrator", "upgrade head");
        assert!(upgraded.status.success(), "{}", String::from_utf8_lossy(&upgraded.stderr));
        Server::shared().named("auth")
    })
}

/// `migrate` as one of the roles, with its password from a file.
fn migrate(role: &str, arguments: &str) -> Output {
    let secrets = secrets("it's ROLE's \\secret\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_auth"));
    command.arg("migrate").args(arguments.split(' ')).env_clear().current_dir(secrets.path());
    command.env("PGHOST", Server::shared().host()).env("PGUSER", role).env("PGDATABASE", "auth");
    command
        .env("PGPASSWORD_FILE", secrets.path().join(format!("{role}_password")))
        .output()
        .expect("the command")
}

/// What PostgreSQL says to the service's role.
fn as_app(sql: &str) -> String {
    let output = auth()
        .program("psql")
        .args(["-X", "-q", "-t", "-A", "-c", &format!("SET ROLE auth_app; {sql}")])
        .output();
    let output = output.expect("psql");
    let said = if output.status.success() { output.stdout } else { output.stderr };
    String::from_utf8(said).expect("text").trim_end().to_owned()
}

const ID: &str = "01900000-0000-7000-8000-000000000001";

#[test]
fn migrator_makes_everything_and_the_owner_owns_it() {
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ',') FROM pg_class \
                  WHERE relnamespace IN ('auth'::regnamespace, 'migrations'::regnamespace)";
    assert_eq!(auth().run(owners), "auth_owner");
    let functions = "SELECT string_agg(DISTINCT pg_get_userbyid(proowner), ',') FROM pg_proc \
                     WHERE pronamespace = 'auth'::regnamespace";
    assert_eq!(auth().run(functions), "auth_owner");
}

#[test]
fn migrator_may_undo_and_redo_too() {
    auth();
    for command in ["downgrade -2 --dry-run", "check", "upgrade head"] {
        let output = migrate("auth_migrator", command);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What a migration that waits for a lock of `auth_app` says.
fn waiting_for_the_app() -> String {
    let folder = secrets("it's ROLE's \\secret\n");
    let mut holder =
        auth().session("SET application_name = 'a report'; BEGIN; SELECT FROM auth.clients");
    let run = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth"));
        command.arg("migrate").args(arguments.split(' ')).env_clear().current_dir(folder.path());
        command
    };
    assert!(run("init revisions").status().expect("the command").success());
    let never = "ALTER TABLE auth.clients ADD COLUMN never text;";
    fs::write(folder.path().join("revisions/29991231000000_never.up.sql"), never).expect("written");
    let mut command = run("-d revisions upgrade head --lock-timeout 20ms --wait 700ms");
    command
        .env("PGHOST", Server::shared().host())
        .env("PGUSER", "auth_migrator")
        .env("PGDATABASE", "auth");
    let output = command
        .env("PGPASSWORD_FILE", folder.path().join("auth_migrator_password"))
        .output()
        .expect("the command");
    holder.say("ROLLBACK");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stderr).expect("text")
}

/// Who is in the way is named as the stack's own role sees it, and never said to be nobody.
#[test]
fn migrator_tells_who_holds_the_lock_it_waits_for() {
    let said = waiting_for_the_app();
    assert!(
        said.contains(
            "trying again: no lock in time at revisions/29991231000000_never.up.sql:1: the oldest \
             transaction is pid "
        ),
        "{said}"
    );
    assert!(
        said.contains("`a report`, user `postgres`, idle in transaction, open for ")
            && said.contains("with locks on `auth.clients`"),
        "{said}"
    );
    auth().run("REVOKE pg_read_all_stats FROM auth_owner");
    let said = waiting_for_the_app();
    auth().run("GRANT pg_read_all_stats TO auth_owner");
    let hidden = "holds locks on `auth.clients`; this role may not see more of it, `GRANT \
                  pg_read_all_stats` lets it";
    assert!(
        said.contains(hidden) && said.contains("pid ") && !said.contains("no other transaction"),
        "{said}"
    );
}

#[test]
fn roles_are_what_their_names_say() {
    let roles = "SELECT rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles \
                 WHERE rolname LIKE 'auth%' ORDER BY 1";
    assert_eq!(auth().run(roles), "auth_app|t|f|f|f\nauth_migrator|t|f|f|f\nauth_owner|f|f|f|f");
}

#[test]
fn service_reads_and_writes_rows_and_cannot_change_tables() {
    let insert = format!(
        "INSERT INTO auth.users (id, username, email, password_hash) VALUES ('{ID}', 'a', 'a@b', \
         'x')"
    );
    assert_eq!(
        as_app(&format!(
            "BEGIN; {insert}; UPDATE auth.users SET country = 'NO'; SELECT version FROM \
             auth.users; ROLLBACK"
        )),
        "2"
    );
    for table in ["users", "clients"] {
        assert!(
            as_app(&format!("DELETE FROM auth.{table}")).contains("permission denied"),
            "it disables, and removes nothing"
        );
    }
    for ddl in [
        "CREATE TABLE auth.x ()",
        "CREATE TABLE public.x ()",
        "CREATE SCHEMA x",
        "CREATE TEMP TABLE x ()",
    ] {
        assert!(as_app(ddl).contains("permission denied"), "{ddl}: {}", as_app(ddl));
    }
    for ddl in [
        "ALTER TABLE auth.users ADD x int",
        "DROP TABLE auth.sessions",
        "CREATE INDEX ON auth.users (email)",
    ] {
        assert!(as_app(ddl).contains("must be owner of"), "{ddl}: {}", as_app(ddl));
    }
}

#[test]
fn service_may_only_add_to_the_audit_log() {
    let insert = format!(
        "INSERT INTO auth.audit_log (action, actor_id, ip) VALUES ('login', '{ID}', '::1')"
    );
    assert_eq!(as_app(&format!("BEGIN; {insert}; ROLLBACK")), "");
    for other in [
        "SELECT FROM auth.audit_log",
        "UPDATE auth.audit_log SET action = ''",
        "DELETE FROM auth.audit_log",
        "TRUNCATE auth.audit_log",
    ] {
        assert!(as_app(other).contains("permission denied for table audit_log"), "{other}");
    }
}

#[test]
fn service_may_see_where_the_database_is_and_not_say_so() {
    auth();
    let current = migrate("auth_app", "current --check-heads");
    assert!(current.status.success(), "{}", String::from_utf8_lossy(&current.stderr));
    assert!(
        as_app("DELETE FROM migrations.applied").contains("permission denied for table applied")
    );
    assert!(
        as_app("UPDATE auth.roles SET scopes = '{}'").contains("permission denied for table roles")
    );
}

#[test]
fn everybody_else_gets_nothing() {
    let acl = "SELECT count(*) FROM (SELECT unnest(datacl) AS acl FROM pg_database WHERE datname \
               <> 'template0' \
               UNION ALL SELECT unnest(nspacl) FROM pg_namespace WHERE nspname IN ('public', \
               'auth', 'migrations') \
               UNION ALL SELECT unnest(relacl) FROM pg_class WHERE relnamespace IN \
               ('auth'::regnamespace, 'migrations'::regnamespace) \
               ) AS every WHERE acl::text LIKE '=%'";
    assert_eq!(auth().run(acl), "0");
    let functions = "SELECT bool_or(has_function_privilege('public', oid, 'EXECUTE')) FROM \
                     pg_proc WHERE pronamespace = 'auth'::regnamespace";
    assert_eq!(auth().run(functions), "f");
}

#[test]
fn passwords_reach_no_log_although_everything_is_logged() {
    auth();
    let log = fs::read_to_string(Server::shared().host().join("log")).expect("the server's log");
    assert!(
        log.contains("REVOKE ALL ON SCHEMA public FROM PUBLIC") && !log.contains("secret"),
        "{log}"
    );
}

#[test]
fn init_stops_at_a_missing_password_before_anything_is_made() {
    let fresh: &'static Server = Box::leak(Box::new(Server::start()));
    let (database, secrets) = (fresh.named("postgres"), secrets("x\n"));
    fs::remove_file(secrets.path().join("auth_app_password")).expect("removed");
    let output = init(&database, secrets.path());
    assert_eq!(output.status.code(), Some(3));
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains("a password file is empty or cannot be read")
    );
    assert_eq!(database.run("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'auth%'"), "0");
}
