//! How the database is named, what is said when it is not there, and that no password is ever
//! shown.

use std::fs;

use weir_test::migrations::{Ended, with};

const ONE: [(u32, &str, &str); 1] = [(1, "SELECT 1", "SELECT 1")];

#[test]
fn address_of_parts_and_a_password_file_names_a_database() {
    let bench = with(&ONE);
    let role = format!("{}_user", bench.database.name);
    bench.database.run(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'top secret'; GRANT CREATE ON DATABASE {} TO {role}",
        bench.database.name
    ));
    fs::write(bench.path("password"), "top secret\n").expect("written");
    let mut command = bench.command("upgrade head");
    command
        .env_remove("DATABASE_URL")
        .env("PGHOST", weir_test::postgres::Server::shared().host())
        .env("PGUSER", &role);
    command.env("PGDATABASE", &bench.database.name).env("PGPASSWORD_FILE", bench.path("password"));
    Ended::from(command.output().expect("the command")).fine();
    assert_eq!(bench.applied(), "1");
}

#[test]
fn migrations_may_use_another_role_than_the_service() {
    let bench = with(&ONE);
    let mut command = bench.command("upgrade head");
    command
        .env("DATABASE_URL", bench.database.url_as("nobody"))
        .env("MIGRATIONS_DATABASE_URL", bench.database.url());
    Ended::from(command.output().expect("the command")).fine();
}

#[test]
fn address_may_stand_in_a_file() {
    let bench = with(&ONE);
    fs::write(bench.path("url"), bench.database.url() + "\n").expect("written");
    let mut command = bench.command("upgrade head");
    command.env_remove("DATABASE_URL").env("DATABASE_URL_FILE", bench.path("url"));
    Ended::from(command.output().expect("the command")).fine();
}

#[test]
fn address_given_twice_is_a_usage_error() {
    let bench = with(&ONE);
    let ended =
        bench.command("upgrade head").env("DATABASE_URL_FILE", "/x").output().expect("the command");
    Ended::from(ended).refused(2, "error: `DATABASE_URL` and `DATABASE_URL_FILE` are both set");
}

#[test]
fn database_unreachable_is_exit_code_3_without_the_password() {
    let bench = with(&ONE);
    let nowhere = format!("postgres://u:hunter2@localhost/auth?host={}", bench.path("").display());
    let ended = bench
        .command("upgrade head --wait 300ms")
        .env("DATABASE_URL", nowhere)
        .output()
        .expect("the command");
    let said = Ended::from(ended).refused(3, "error: cannot reach the database `auth` at ");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn password_that_is_wrong_is_exit_code_3_and_not_shown() {
    let bench = with(&ONE);
    let url = bench.database.url_as("nobody") + "&password=hunter2";
    let ended = bench.command("current").env("DATABASE_URL", url).output().expect("the command");
    let said = Ended::from(ended).refused(3, "password authentication failed for user \"nobody\"");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn address_absent_or_nonsense_is_a_usage_error() {
    let bench = with(&ONE);
    let ended =
        bench.command("upgrade head").env_remove("DATABASE_URL").output().expect("the command");
    Ended::from(ended).refused(2, "error: no database is named");
    bench.migrate("upgrade").refused(2, "head|+N|REV");
    bench.migrate("upgrade head --wait 60").refused(2, "a number and `ms`, `s` or `m`");
}
