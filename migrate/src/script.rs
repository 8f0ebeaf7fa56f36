//! The same work as a script for psql, for those who run no program against their database: the
//! same statements, the same rows, the same lock.

use std::fmt::Write;

use crate::{
    directory::Revisions,
    error::Error,
    event::Way,
    ledger::{self, Applied},
    lock, plan,
    revision::{Revision, Script},
};

const TABLE: &str = "\
CREATE SCHEMA IF NOT EXISTS migrations;
CREATE TABLE IF NOT EXISTS migrations.applied (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
    success BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    execution_time BIGINT NOT NULL
);
";

/// The script of an upgrade.
///
/// # Errors
/// As the upgrade itself before it begins.
pub fn upgrade(
    revisions: &Revisions,
    rows: &[Applied],
    wanted: &str,
    lock_timeout_ms: u128,
) -> Result<String, Error> {
    let plan = plan::upgrade(revisions, rows, wanted)?;
    let steps = plan.iter().map(|revision| step(revision, &revision.up, Way::Up, lock_timeout_ms));
    Ok(around(&steps.collect::<String>(), &format!("{TABLE}{}", revisions.roles.grants())))
}

/// The script of a downgrade.
///
/// # Errors
/// As the downgrade itself before it begins.
pub fn downgrade(
    revisions: &Revisions,
    rows: &[Applied],
    wanted: &str,
    lock_timeout_ms: u128,
) -> Result<String, Error> {
    let plan = plan::downgrade(revisions, rows, wanted)?;
    // Nothing was done, so only the row goes, whatever the down file has by now.
    let ran_nothing = |revision: &Revision| {
        rows.iter().any(|row| row.version == revision.version && row.ran_nothing)
    };
    let step = |revision: &&Revision| {
        if ran_nothing(revision) {
            return format!(
                "DELETE FROM migrations.applied WHERE version = {};\n",
                revision.version
            );
        }
        revision
            .down
            .as_ref()
            .map(|down| step(revision, down, Way::Down, lock_timeout_ms))
            .unwrap_or_default()
    };
    Ok(around(&plan.iter().map(step).collect::<String>(), ""))
}

/// Stops at the first error; takes the lock, or stops.
fn around(steps: &str, prepare: &str) -> String {
    let key = lock::KEY;
    format!(
        "-- Run with psql, from the database as it is now.\n\
         \\set ON_ERROR_STOP on\n\
         SELECT pg_try_advisory_lock({key}) AS locked \\gset\n\
         \\if :locked\n\\else\n\
         DO $$ BEGIN RAISE EXCEPTION 'another migration runs'; END $$;\n\
         \\endif\n\n{prepare}{steps}\n\
         SELECT pg_advisory_unlock({key}) AS unlocked \\gset\n"
    )
}

fn step(revision: &Revision, script: &Script, way: Way, lock_timeout_ms: u128) -> String {
    let statements = script.statements();
    let concurrent = statements.iter().any(|statement| statement.concurrent);
    let lock_timeout = if concurrent { 0 } else { lock_timeout_ms };
    let mut text =
        format!("\n-- {}\nRESET ALL;\nSET lock_timeout = {lock_timeout};\n", script.file);
    // Outside a transaction the mark comes first: psql may stop at any statement.
    let (before, after) = bookkeeping(revision, script, way);
    text.push_str(&before);
    for statement in statements {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{};", statement.text);
    }
    text + &after
}

/// Lines before and after the statements.
fn bookkeeping(revision: &Revision, script: &Script, way: Way) -> (String, String) {
    let version = revision.version;
    let delete = format!("DELETE FROM migrations.applied WHERE version = {version};\n");
    let mark = |success| {
        format!("UPDATE migrations.applied SET success = {success} WHERE version = {version};\n")
    };
    match (way, script.no_transaction()) {
        (Way::Up, false) => ("BEGIN;\n".into(), insert(revision, true) + "COMMIT;\n"),
        (Way::Down, false) => ("BEGIN;\n".into(), delete + "COMMIT;\n"),
        (Way::Up, true) => (insert(revision, false), mark(true)),
        (Way::Down, true) => (mark(false), delete),
    }
}

fn insert(revision: &Revision, success: bool) -> String {
    let mut checksum = String::new();
    for byte in revision.checksum() {
        // Writing to a String cannot fail.
        let _ = write!(checksum, "{byte:02x}");
    }
    let execution_time = if revision.up.is_empty() { 0 } else { -1 };
    let message = revision.message().replace('\'', "''");
    format!(
        "INSERT INTO migrations.applied (version, description, success, checksum, \
         execution_time)\n    \
         VALUES ({}, '{message}', {success}, '\\x{checksum}', {execution_time})\n    {};\n",
        revision.version,
        ledger::OVER_NOTHING
    )
}
