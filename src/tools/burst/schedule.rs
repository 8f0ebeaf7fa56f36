//! Schedule of a burst: `40 every 20ms, pause 2s, 8 every 20ms` as a list of instants.
//!
//! Guarantee: a schedule is finite, with at least one and at most [`MAX_REQUESTS`] requests within
//! [`MAX_LENGTH`]. A group starts one step of its predecessor after the last request of that; a
//! pause takes the place of this step.

use std::{str::FromStr, time::Duration};

use crate::{
    limit::rate::{PeriodError, parse_period},
    runtime::hint::Hinted,
};

/// Limit on the requests of a schedule.
pub const MAX_REQUESTS: usize = 100_000;

/// Limit on the length of a schedule.
pub const MAX_LENGTH: Duration = Duration::from_secs(600);

/// Instants to send at, in microseconds since the start, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    offsets_us: Vec<u64>,
}

/// Error of a text that is not a schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A part has none of the known forms.
    #[error("`{0}` is not a part of a schedule")]
    Part(String),
    /// The number of requests is not a number.
    #[error("`{0}` is not a number of requests")]
    Count(String),
    /// A duration cannot be parsed.
    #[error("{0}")]
    Period(#[from] PeriodError),
    /// The schedule has no request.
    #[error("`{0}` sends nothing")]
    Nothing(String),
    /// The schedule has too many requests.
    #[error("`{0}` sends more than {MAX_REQUESTS} requests")]
    TooMany(String),
    /// The schedule is too long.
    #[error("`{0}` lasts longer than 10 minutes")]
    TooLong(String),
}

impl Hinted for ScheduleError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Part(_) => "write `30`, `30 at once`, `40 every 20ms` or `pause 2s`",
            Self::Count(_) => "write digits, like `40 every 20ms`",
            Self::Period(error) => return error.hint(),
            Self::Nothing(_) => "name at least one request, like `30 at once`",
            Self::TooMany(_) => "fire several shorter schedules, one after the other",
            Self::TooLong(_) => "shorten the pauses or the steps",
        };
        Some(text.to_owned())
    }
}

impl Schedule {
    /// Schedule as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Instants in microseconds since the start, ascending.
    #[must_use]
    pub fn offsets_us(&self) -> &[u64] {
        &self.offsets_us
    }

    /// Time from the start to the last request.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_micros(self.offsets_us.last().copied().unwrap_or(0))
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let mut pen = ScheduleBuilder::default();
        for part in text.split(',') {
            pen.write(&part.split_whitespace().collect::<Vec<_>>(), part.trim())?;
            // After each part, so that a long text cannot grow the list without a bound.
            if pen.offsets_us.len() > MAX_REQUESTS {
                return Err(ScheduleError::TooMany(text.to_owned()));
            }
        }
        match pen.offsets_us.last() {
            None => Err(ScheduleError::Nothing(text.to_owned())),
            Some(last) if u128::from(*last) > MAX_LENGTH.as_micros() => {
                Err(ScheduleError::TooLong(text.to_owned()))
            }
            Some(_) => Ok(Self { text: text.trim().to_owned(), offsets_us: pen.offsets_us }),
        }
    }
}

/// Position at which the next request would be added.
#[derive(Default)]
struct ScheduleBuilder {
    offsets_us: Vec<u64>,
    next_us: u64,
    /// Part of `next_us` that is the step of the last group, which a pause replaces.
    step_us: u64,
}

impl ScheduleBuilder {
    fn write(&mut self, words: &[&str], part: &str) -> Result<(), ScheduleError> {
        match words {
            ["pause", period] => {
                let pause_us = micros(period)?;
                // `step_us` is a part of `next_us`, so this does not go below zero.
                self.next_us = (self.next_us - self.step_us).saturating_add(pause_us);
                self.step_us = 0;
                Ok(())
            }
            [count] | [count, "at", "once"] => self.group(count, 0),
            [count, "every", period] => self.group(count, micros(period)?),
            _ => Err(ScheduleError::Part(part.to_owned())),
        }
    }

    fn group(&mut self, count: &str, step_us: u64) -> Result<(), ScheduleError> {
        let count: usize = count.parse().map_err(|_| ScheduleError::Count(count.to_owned()))?;
        // One more than allowed is enough to detect the excess, and bounds the memory.
        for _ in 0..count.min(MAX_REQUESTS + 1) {
            self.offsets_us.push(self.next_us);
            self.next_us = self.next_us.saturating_add(step_us);
        }
        // A group of none has no last request whose step could follow.
        if count > 0 {
            self.step_us = step_us;
        }
        Ok(())
    }
}

/// Parses a duration as the configuration writes it, or a whole number of `us`.
///
/// # Errors
/// When the text has no unit or is not a duration.
pub fn parse_time(text: &str) -> Result<Duration, PeriodError> {
    match text.strip_suffix("us").map(str::parse) {
        Some(Ok(micros)) => Ok(Duration::from_micros(micros)),
        _ => parse_period(text),
    }
}

fn micros(text: &str) -> Result<u64, ScheduleError> {
    Ok(u64::try_from(parse_time(text)?.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use crate::{runtime::hint::one_line, tools::burst::schedule::*};

    fn offsets_ms(text: &str) -> Vec<u64> {
        let schedule: Schedule = text.parse().expect(text);
        schedule.offsets_us().iter().map(|offset| offset / 1_000).collect()
    }

    #[test]
    fn every_shape_is_a_list_of_instants() {
        assert_eq!(offsets_ms("3"), [0, 0, 0]);
        assert_eq!(offsets_ms("3 at once"), [0, 0, 0]);
        assert_eq!(offsets_ms("3 every 20ms"), [0, 20, 40]);
        assert_eq!(offsets_ms("  2   every 1s "), [0, 1_000]);
        assert_eq!(offsets_ms("pause 50ms, 2"), [50, 50]);
        let fine: Schedule = "3 every 250us".parse().expect("a schedule");
        assert_eq!(fine.offsets_us(), [0, 250, 500]);
    }

    #[test]
    fn schedule_pause_replaces_preceding_step() {
        assert_eq!(offsets_ms("3 every 20ms, 2 every 10ms"), [0, 20, 40, 60, 70]);
        assert_eq!(offsets_ms("3 every 20ms, pause 2s, 2 every 20ms"), [0, 20, 40, 2_040, 2_060]);
        assert_eq!(offsets_ms("2, pause 1s, pause 1s, 1"), [0, 0, 2_000]);
        assert_eq!(offsets_ms("2 every 20ms, 0 every 1s, 1"), [0, 20, 40]);
    }

    #[test]
    fn scratch_text_is_kept_and_its_length_known() {
        let schedule: Schedule =
            " 40 every 20ms, pause 2s, 8 every 20ms".parse().expect("a schedule");
        assert_eq!(schedule.text(), "40 every 20ms, pause 2s, 8 every 20ms");
        assert_eq!(schedule.offsets_us().len(), 48);
        assert_eq!(schedule.length(), Duration::from_millis(2_920));
    }

    #[test]
    fn schedule_error_says_what_to_write() {
        for (text, says) in [
            ("", "`` is not a part"),
            ("30 in a row", "`30 in a row` is not a part of a schedule, hint: write `30`"),
            ("many", "`many` is not a number of requests"),
            ("-1 at once", "`-1` is not a number"),
            ("5 every 20", "`20` has no unit, hint: did you mean `20s` or `20ms`?"),
            ("5 every often", "`often` is not a duration"),
            ("0", "`0` sends nothing"),
            ("pause 2s", "`pause 2s` sends nothing"),
            ("100001", "more than 100000 requests"),
            ("99999999999999", "more than 100000 requests"),
            ("2 every 601s", "longer than 10 minutes"),
            ("pause 900000000d, 1", "longer than 10 minutes"),
        ] {
            let error = one_line(&text.parse::<Schedule>().expect_err(text));
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
