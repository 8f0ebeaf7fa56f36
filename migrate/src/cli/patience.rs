//! Options of commands that may have to wait.

use std::time::Duration;

use clap::Args;

use crate::Patience;

/// Patience of a changing command.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Patient {
    /// Time to wait for another migration, and to retry a revision that cannot lock a table
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration)]
    wait: Duration,
    /// Time for which one statement may queue for a table before it makes way and tries again
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = duration)]
    pub(super) lock_timeout: Duration,
}

impl From<Patient> for Patience {
    fn from(patient: Patient) -> Self {
        Self { wait: patient.wait, lock_timeout: patient.lock_timeout }
    }
}

/// `60s`, `500ms`, `2m`; the unit is never left out.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("a number and `ms`, `s` or `m`".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a number and `ms`, `s` or `m`".to_owned())?;
    let milliseconds = number.checked_mul(unit_ms).filter(|ms| *ms <= 86_400_000);
    milliseconds.map(Duration::from_millis).ok_or_else(|| "at most a day".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5h",
            "99999999999999999999s",
            "18446744073709551615m",
            "1441m",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
