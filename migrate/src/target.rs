//! Target of a command: `head`, `base`, a number of steps or a revision, as written on the command
//! line.

use crate::{directory::Revisions, error::Error};

/// Target of an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// So many revisions.
    Steps(usize),
    /// Up to this number and with it.
    To(i64),
}

/// Target of a downgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// So many revisions.
    Steps(usize),
    /// Down to this number, which stays; 0 is the base.
    To(i64),
}

/// Reads the argument of `upgrade`.
///
/// # Errors
/// It names no revision, or a way down.
pub fn up(wanted: &str, revisions: &Revisions) -> Result<Up, Error> {
    // Before names: a sign means a number of steps.
    if let Some(steps) = wanted.strip_prefix('+') {
        return steps_of(steps).map(Up::Steps);
    }
    if wanted == "head" || wanted == "heads" {
        return Ok(Up::To(revisions.head().map_or(0, |head| head.version)));
    }
    if let Some((from, steps)) = wanted.rsplit_once('+') {
        let from = if from == "base" { 0 } else { revisions.named(from)?.version };
        return steps_after(from, steps, wanted, revisions).map(Up::To);
    }
    if wanted == "base" || wanted.starts_with('-') {
        return Err(Error::usage(
            format!("`{wanted}` is the way down"),
            format!("`migrate downgrade {wanted}`"),
        ));
    }
    Ok(Up::To(revisions.named(wanted)?.version))
}

/// Reads the argument of `downgrade`.
///
/// # Errors
/// It names no revision, or a way up.
pub fn down(wanted: &str, revisions: &Revisions) -> Result<Down, Error> {
    if let Some(steps) = wanted.strip_prefix('-') {
        return steps_of(steps).map(Down::Steps);
    }
    if wanted == "base" {
        return Ok(Down::To(0));
    }
    if wanted == "head" || wanted.starts_with('+') {
        return Err(Error::usage(
            format!("`{wanted}` is the way up"),
            format!("`migrate upgrade {wanted}`"),
        ));
    }
    Ok(Down::To(revisions.named(wanted)?.version))
}

/// Reads the argument of `stamp`: a number, 0 for the base.
///
/// # Errors
/// It names no revision.
pub fn stamp(wanted: &str, revisions: &Revisions) -> Result<i64, Error> {
    match wanted {
        "base" => Ok(0),
        "heads" => Ok(revisions.named("head")?.version),
        wanted => Ok(revisions.named(wanted)?.version),
    }
}

/// Reads `A:B`, two revisions and what is between; an end that is left out is `base` or `head`.
///
/// # Errors
/// One of them names no revision, or they stand the wrong way round.
pub fn range(wanted: &str, revisions: &Revisions) -> Result<(i64, i64), Error> {
    let usage =
        |why: &str| Error::usage(format!("`{wanted}` {why}"), "`OLDER:NEWER`, like `base:head`");
    let (from, to) = wanted.split_once(':').ok_or_else(|| usage("is not two revisions"))?;
    let end = |name: &str, otherwise: &str| {
        stamp(if name.is_empty() { otherwise } else { name }, revisions)
    };
    let from = end(from, "base")?;
    let to = end(to, "head")?;
    if from <= to { Ok((from, to)) } else { Err(usage("goes down")) }
}

/// The number of the revision so many steps behind another.
fn steps_after(from: i64, steps: &str, wanted: &str, revisions: &Revisions) -> Result<i64, Error> {
    let steps = steps_of(steps)?;
    let mut later = revisions.iter().filter(|revision| revision.version > from);
    let there_are = later.clone().count();
    // `steps` is at least 1, see `steps_of`.
    let found = later.nth(steps - 1).map(|revision| revision.version);
    found.ok_or_else(|| {
        Error::Name(format!("`{wanted}` is too far: {there_are} come after it").into())
    })
}

fn steps_of(text: &str) -> Result<usize, Error> {
    let steps = text.parse().ok().filter(|steps| *steps > 0);
    steps.ok_or_else(|| {
        Error::usage(format!("`{text}` is not a number of steps"), "`upgrade +1`, `downgrade -1`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in::{BuiltIn, Roles};

    const FILES: [(&str, &str); 4] = [
        ("10_create_people.up.sql", "SELECT 1"),
        ("11_sessions.up.sql", "SELECT 1"),
        ("12_create_roles.up.sql", "SELECT 1"),
        ("20_audit_log.up.sql", "SELECT 1"),
    ];

    fn revisions() -> Revisions {
        Revisions::built_in(BuiltIn { files: &FILES, roles: Roles::NONE }).expect("revisions")
    }

    #[test]
    fn target_up_is_head_steps_name_or_beginning() {
        for (wanted, expected) in [
            ("head", Up::To(20)),
            ("+2", Up::Steps(2)),
            ("sessions+2", Up::To(20)),
            ("base+1", Up::To(10)),
            ("11", Up::To(11)),
            ("2", Up::To(20)),
            ("audit", Up::To(20)),
        ] {
            assert_eq!(up(wanted, &revisions()).expect(wanted), expected, "{wanted}");
        }
        assert!(
            up("sessions+99", &revisions())
                .expect_err("too far")
                .to_string()
                .contains("2 come after it")
        );
    }

    #[test]
    fn target_down_is_base_steps_or_name() {
        assert_eq!(down("base", &revisions()).expect("fine"), Down::To(0));
        assert_eq!(down("-1", &revisions()).expect("fine"), Down::Steps(1));
        assert_eq!(down("10", &revisions()).expect("fine"), Down::To(10));
    }

    #[test]
    fn range_is_from_the_older_to_the_newer() {
        let read = |wanted: &str| range(wanted, &revisions());
        assert_eq!(read("base:head").expect("fine"), (0, 20));
        assert_eq!(read(":").expect("fine"), (0, 20));
        assert_eq!(read("sessions:").expect("fine"), (11, 20));
        assert_eq!(stamp("heads", &revisions()).expect("fine"), 20);
        for wrong in ["sessions", "head:base", "audit:sessions"] {
            assert_eq!(read(wrong).expect_err(wrong).exit_code(), 2, "{wrong}");
        }
    }

    #[test]
    fn target_of_the_wrong_way_is_a_usage_error() {
        for wrong in ["-1", "base", "+0", "+x"] {
            assert_eq!(up(wrong, &revisions()).expect_err(wrong).exit_code(), 2);
        }
        for wrong in ["+1", "head", "-0", "-"] {
            assert_eq!(down(wrong, &revisions()).expect_err(wrong).exit_code(), 2);
        }
    }

    #[test]
    fn target_name_must_mean_one_revision() {
        let several = up("create", &revisions()).expect_err("two").to_string();
        assert!(
            several.starts_with("`create` could be `10_create_people` or `12_create_roles`"),
            "{several}"
        );
        let none = up("nothing", &revisions()).expect_err("none").to_string();
        assert!(none.starts_with("no revision begins with `nothing`"), "{none}");
    }
}
