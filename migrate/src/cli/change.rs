//! Commands that change the database, and the same commands that only say what they would change.

use clap::Args;
use serde_json::json;

use super::{
    connect::in_session,
    files::{Place, counted},
    output::Output,
    patience::Patient,
};
use crate::{
    Applied, Error, Revisions,
    event::Way,
    script,
    stamp::{self, Verdict},
    target,
};

/// Doing nothing, in two ways.
#[derive(Debug, Args)]
struct Preview {
    /// Print the script for psql and do nothing
    #[arg(long, conflicts_with = "dry_run")]
    sql: bool,
    /// Name the revisions that would run and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// Target: `head`, `+N` or REV
    #[arg(value_name = "head|+N|REV", allow_negative_numbers = true)]
    target: String,
    #[command(flatten)]
    preview: Preview,
    #[command(flatten)]
    patient: Patient,
}

impl Upgrade {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let patient = self.patient;
        let revisions = place.load()?;
        move_to(
            &Move { way: Way::Up, target: &self.target, preview: &self.preview, patient },
            &revisions,
        )
    }
}

#[derive(Debug, Args)]
pub(super) struct Downgrade {
    /// Target: `-N`, `base` or REV, which stays
    #[arg(value_name = "-N|base|REV", allow_negative_numbers = true)]
    target: String,
    #[command(flatten)]
    preview: Preview,
    #[command(flatten)]
    patient: Patient,
}

impl Downgrade {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let patient = self.patient;
        let revisions = place.load()?;
        move_to(
            &Move { way: Way::Down, target: &self.target, preview: &self.preview, patient },
            &revisions,
        )
    }
}

/// One way or the other.
#[derive(Clone, Copy)]
struct Move<'m> {
    way: Way,
    target: &'m str,
    preview: &'m Preview,
    patient: Patient,
}

fn move_to(asked: &Move<'_>, revisions: &Revisions) -> Result<Output, Error> {
    let command = if asked.way == Way::Up { "upgrade" } else { "downgrade" };
    let verb = if asked.way == Way::Up { "upgraded" } else { "downgraded" };
    if let (Way::Up, Some((from, to))) = (asked.way, asked.target.split_once(':')) {
        return between(asked, revisions, from, to);
    }
    in_session(command, asked.patient.into(), async |session| {
        // Previews read without the lock: they must not wait for a migration that runs.
        if asked.preview.sql {
            let rows = session.applied().await?;
            let sql = script_of(asked, revisions, &rows)?;
            return Ok(Output::new(sql.clone(), json!({ "sql": sql })));
        }
        if asked.preview.dry_run {
            let rows = session.applied().await?;
            let plan = match asked.way {
                Way::Up => crate::planned_upgrade(revisions, &rows, asked.target)?,
                Way::Down => crate::planned_downgrade(revisions, &rows, asked.target)?,
            };
            let lines: Vec<String> =
                plan.iter().map(|name| format!("would {command} {name}")).collect();
            let text = if lines.is_empty() { "nothing to do".into() } else { lines.join("\n") };
            return Ok(Output::new(text, json!({ "would_run": plan })));
        }
        let ran = match asked.way {
            Way::Up => crate::upgrade(session, revisions, asked.target).await?,
            Way::Down => crate::downgrade(session, revisions, asked.target).await?,
        };
        let current =
            session.applied().await?.last().map_or_else(|| "base".to_owned(), Applied::name);
        let text = if ran.is_empty() {
            "nothing to do".into()
        } else {
            format!("{verb} {}", counted(ran.len()))
        };
        Ok(Output::new(format!("{text}; at {current}"), json!({ "ran": ran, "current": current })))
    })
}

/// The script from one revision to another, for a database that is asked nothing.
fn between(asked: &Move<'_>, revisions: &Revisions, from: &str, to: &str) -> Result<Output, Error> {
    if !asked.preview.sql {
        let said =
            format!("`{}` is two revisions: where the database is, it says itself", asked.target);
        return Err(Error::usage(
            said,
            format!("`migrate upgrade {to}`, or `--sql` for the script between them"),
        ));
    }
    let (from, _) = target::range(&format!("{from}:{to}"), revisions)?;
    let rows: Vec<_> = revisions
        // Stands for a database that is at `from`: the plan is the same without one.
        .iter()
        .filter(|revision| revision.version <= from)
        .map(Applied::as_written)
        .collect();
    let asked = Move { target: if to.is_empty() { "head" } else { to }, ..*asked };
    let sql = script_of(&asked, revisions, &rows)?;
    Ok(Output::new(sql.clone(), json!({ "sql": sql })))
}

fn script_of(asked: &Move<'_>, revisions: &Revisions, rows: &[Applied]) -> Result<String, Error> {
    let lock_timeout_ms = asked.patient.lock_timeout.as_millis();
    match asked.way {
        Way::Up => script::upgrade(revisions, rows, asked.target, lock_timeout_ms),
        Way::Down => script::downgrade(revisions, rows, asked.target, lock_timeout_ms),
    }
}

#[derive(Debug, Args)]
pub(super) struct Stamp {
    /// State of the database: `head`, `base` or REV
    #[arg(value_name = "head|base|REV")]
    target: String,
    #[command(flatten)]
    patient: Patient,
}

impl Stamp {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let revisions = place.load()?;
        in_session("stamp", self.patient.into(), async |session| {
            let changed = stamp::stamp(session, &revisions, &self.target).await?;
            let text = if changed.is_empty() { "nothing to do".into() } else { changed.join("\n") };
            Ok(Output::new(text, json!({ "changed": changed })))
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct Resolve {
    /// The revision that stopped half-way
    #[arg(value_name = "REV")]
    revision: String,
    /// All of it is there now
    #[arg(long, required_unless_present = "rolled_back", conflicts_with = "rolled_back")]
    applied: bool,
    /// Nothing of it is there now
    #[arg(long)]
    rolled_back: bool,
    #[command(flatten)]
    patient: Patient,
}

impl Resolve {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let revisions = place.load()?;
        let verdict = if self.applied { Verdict::Applied } else { Verdict::RolledBack };
        in_session("resolve", self.patient.into(), async |session| {
            let name = stamp::resolve(session, &revisions, &self.revision, verdict).await?;
            let state = if self.applied { "applied" } else { "not applied" };
            Ok(Output::new(
                format!("{name} is {state}"),
                json!({ "resolved": name, "applied": self.applied }),
            ))
        })
    }
}
