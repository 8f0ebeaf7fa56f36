//! Commands that ask: where the database is, what revisions there are, whether the two agree. They
//! take no lock.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{
    connect::in_session,
    files::Place,
    output::{Output, tell},
};
use crate::{Applied, Error, Patience, Revisions, Session, Standing, target, view::View};

/// A question waits for no lock.
const NO_PATIENCE: Patience = Patience { wait: Duration::ZERO, lock_timeout: Duration::ZERO };

#[derive(Debug, Args)]
pub(super) struct Current {
    /// End with exit code 6 unless everything is applied
    #[arg(long)]
    check_heads: bool,
    /// Every applied revision
    #[arg(short, long)]
    verbose: bool,
}

impl Current {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let revisions = place.load()?;
        in_session("current", NO_PATIENCE, async |session| {
            let rows = session.applied().await?;
            let standing = Standing::of(&revisions, &rows);
            let text = if self.verbose {
                applied_text(&revisions, &rows)
            } else {
                current_text(&standing)
            };
            let found = if self.check_heads { at_head(&standing, &revisions) } else { Ok(()) };
            Ok(Output::new(text, standing_json(&standing, &revisions)).but(found))
        })
    }
}

fn current_text(standing: &Standing) -> String {
    let current = standing.current.as_deref().unwrap_or("base");
    let marks = [
        (standing.pending.is_empty() && !standing.ahead(), "head"),
        (!standing.dirty.is_empty(), "half done"),
        (standing.ahead(), "unknown to these files"),
        (!standing.drifted.is_empty(), "edited since"),
    ];
    let marks: Vec<String> =
        marks.iter().filter(|(is, _)| *is).map(|(_, word)| format!(" ({word})")).collect();
    let pending = standing.pending.iter().map(|name| format!("\npending {name}"));
    format!("{current}{}{}", marks.concat(), pending.collect::<String>())
}

fn applied_text(revisions: &Revisions, rows: &[Applied]) -> String {
    let views = View::all(revisions, rows);
    let unknown = rows.iter().rev().filter(|row| revisions.get(row.version).is_none());
    let unknown = unknown.map(|row| {
        format!("{} (unknown to these files), applied {}", row.name(), row.installed_on)
    });
    let known = views.iter().filter(|view| view.applied.is_some()).map(View::paragraph);
    unknown.chain(known).collect::<Vec<_>>().join("\n")
}

fn at_head(standing: &Standing, revisions: &Revisions) -> Result<(), Error> {
    standing.clean()?;
    standing.at_head()?;
    // An edited file is no reason against serving: only `check` and `upgrade` refuse it.
    Standing { drifted: Vec::new(), ..standing.clone() }.fit(&revisions.source)
}

fn standing_json(standing: &Standing, revisions: &Revisions) -> serde_json::Value {
    json!({
        "current": standing.current, "head": revisions.head().map(crate::Revision::name),
        "pending": standing.pending, "unknown": standing.unknown, "drifted": standing.drifted,
        "dirty": standing.dirty,
    })
}

#[derive(Debug, Args)]
pub(super) struct History {
    /// Files and flags of each
    #[arg(short, long)]
    verbose: bool,
    /// Ask the database when each was applied
    #[arg(short, long)]
    indicate_current: bool,
    /// From one revision to another; either may be left out
    #[arg(short, long, value_name = "REV:REV")]
    rev_range: Option<String>,
}

impl History {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let revisions = place.load()?;
        if !self.indicate_current {
            return self.output(&revisions, View::all(&revisions, &[]));
        }
        in_session("history", NO_PATIENCE, async |session: &mut Session<'_>| {
            let rows = session.applied().await?;
            self.output(&revisions, View::all(&revisions, &rows))
        })
    }

    fn output(&self, revisions: &Revisions, mut views: Vec<View>) -> Result<Output, Error> {
        if let Some(range) = &self.rev_range {
            let (from, to) = target::range(range, revisions)?;
            views.retain(|view| {
                view.revision.parse::<i64>().is_ok_and(|version| (from..=to).contains(&version))
            });
        }
        let line = if self.verbose { View::paragraph } else { View::line };
        Ok(Output::new(
            views.iter().map(line).collect::<Vec<_>>().join("\n"),
            json!({ "revisions": views }),
        ))
    }
}

/// Revisions follow one another by their numbers, so there is one head, or none.
pub(super) fn heads(place: &Place, verbose: bool) -> Result<Output, Error> {
    let revisions = place.load()?;
    if verbose {
        let newest: Vec<View> = View::all(&revisions, &[]).into_iter().take(1).collect();
        return Ok(Output::new(
            newest.iter().map(View::paragraph).collect::<String>(),
            json!({ "heads": newest }),
        ));
    }
    let head = revisions.head().map(crate::Revision::name);
    let text = head.as_ref().map(|name| format!("{name} (head)")).unwrap_or_default();
    Ok(Output::new(text, json!({ "heads": head.into_iter().collect::<Vec<_>>() })))
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The revision
    #[arg(value_name = "REV")]
    revision: String,
}

impl Show {
    pub(super) fn run(&self, place: &Place) -> Result<Output, Error> {
        let revisions = place.load()?;
        let revision = revisions.named(&self.revision)?;
        let number = revision.version.to_string();
        let view = View::all(&revisions, &[]).into_iter().find(|view| view.revision == number);
        let scripts: Vec<_> = std::iter::once(&revision.up).chain(&revision.down).collect();
        let sql = scripts
            .iter()
            .map(|script| format!("\n\n==> {} <==\n{}", script.file, script.sql.trim_end()));
        let text = view.iter().map(View::paragraph).chain(sql).collect::<String>();
        let sql: Vec<_> = scripts
            .iter()
            .map(|script| json!({ "file": script.file, "sql": script.sql }))
            .collect();
        Ok(Output::new(text, json!({ "revision": view, "scripts": sql })))
    }
}

/// Everything that `upgrade` would refuse, and whether there is something to upgrade.
pub(super) fn check(place: &Place) -> Result<Output, Error> {
    let revisions = place.load()?;
    for revision in revisions.iter().filter(|revision| !revision.reversible()) {
        tell(&format!("warning: `{}` cannot be undone", revision.name()));
    }
    in_session("check", NO_PATIENCE, async |session| {
        let standing = Standing::of(&revisions, &session.applied().await?);
        let found = standing.fit(&revisions.source).and_then(|()| standing.at_head());
        let text = if found.is_ok() {
            format!("at head, {} revisions as applied", revisions.len())
        } else {
            String::new()
        };
        Ok(Output::new(text, standing_json(&standing, &revisions)).but(found))
    })
}
