//! What happened to each request, as the client saw it. Times are microseconds since the schedule
//! began.

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Which client sent it, counted from 0.
    pub client: u32,
    /// When it was to be sent.
    pub due_us: u64,
    /// When it was handed to the kernel, cut to the microsecond.
    pub sent_us: u64,
    /// When the first byte of its answer was read, or it was given up, not before.
    pub end_us: u64,
    /// How it ended.
    pub end: End,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With an answer of this status.
    Answer(u16),
    /// Without one.
    Failed(Cause),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The server closed the connection first.
    #[error("the connection was closed without an answer")]
    Closed,
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The answer is not HTTP/1.
    #[error("the answer is not HTTP/1.1")]
    Malformed,
    /// The network said no.
    #[error("{0}")]
    Io(String),
}

/// The status that stands for closing without an answer.
pub const CLOSED: u16 = 444;

impl Shot {
    /// The status, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.end {
            End::Answer(status) => Some(status),
            End::Failed(_) => None,
        }
    }

    /// Whether the server rejected it; with [`CLOSED`] a connection closed without an answer is the
    /// reject.
    #[must_use]
    pub fn rejected(&self, reject_status: u16) -> bool {
        match &self.end {
            End::Answer(status) => *status == reject_status,
            End::Failed(cause) => reject_status == CLOSED && *cause == Cause::Closed,
        }
    }

    /// From the send to the end.
    #[must_use]
    pub fn took_us(&self) -> u64 {
        self.end_us.saturating_sub(self.sent_us)
    }
}

#[cfg(test)]
pub(super) mod sample {
    //! Traces for the tests of this floor.

    use super::{End, Shot};
    use crate::tools::burst::{Limit, Report, View};

    /// One client's trace of `(sent, end, status)`.
    pub fn trace(rows: &[(u64, u64, u16)]) -> Vec<Shot> {
        let shot = |(sent_us, end_us, status): &(u64, u64, u16)| Shot {
            client: 0,
            due_us: *sent_us,
            sent_us: *sent_us,
            end_us: *end_us,
            end: End::Answer(*status),
        };
        rows.iter().map(shot).collect()
    }

    /// Looks for 503 against `rate, burst, delay` with 5 ms of tolerance.
    pub fn view(limit: Option<(&str, u32, u32)>) -> View {
        let limit = limit.map(|(rate, burst, delay)| {
            Limit::new(rate.parse().expect("a rate"), burst, delay).expect("a limit of the test")
        });
        View { reject_status: 503, limit, tolerance_us: 5_000 }
    }

    /// A report on such a trace.
    pub fn report(
        schedule: &str,
        rows: &[(u64, u64, u16)],
        limit: Option<(&str, u32, u32)>,
    ) -> Report {
        Report::new("http://weir.test/", schedule, 1, view(limit), trace(rows))
    }

    /// Thirty at once at `10r/s burst 20`, without a flaw.
    pub fn table_b() -> Report {
        let row = |k: u64| if k < 21 { (0, k * 100_000, 200) } else { (0, 0, 503) };
        report("30 at once", &(0..30).map(row).collect::<Vec<_>>(), Some(("10r/s", 20, 0)))
    }
}
