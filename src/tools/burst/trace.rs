//! Trace of a burst: the outcome of each request, as the client saw it. Times are microseconds
//! since the start of the schedule.

/// Single request of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Index of the client, counted from 0.
    pub client: u32,
    /// Scheduled instant.
    pub due_us: u64,
    /// Instant at which it was passed to the kernel, cut to the microsecond.
    pub sent_us: u64,
    /// Instant at which the first byte of its response was read, or it was given up, not earlier.
    pub end_us: u64,
    /// Outcome of the request.
    pub end: End,
}

/// Outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Response with this status.
    Answer(u16),
    /// No response.
    Failed(Cause),
}

/// Reason why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// The server closed the connection first.
    #[error("the connection was closed without a response")]
    Closed,
    /// The time-out passed.
    #[error("no response in time")]
    Timeout,
    /// The response is not HTTP/1.
    #[error("the response is not HTTP/1.1")]
    Malformed,
    /// Network error.
    #[error("{0}")]
    Io(String),
}

/// Status that stands for closing without a response.
pub const CLOSED: u16 = 444;

impl Shot {
    /// Status of the response, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.end {
            End::Answer(status) => Some(status),
            End::Failed(_) => None,
        }
    }

    /// Returns true if the server rejected it; with [`CLOSED`] a connection closed without a
    /// response counts as a reject.
    #[must_use]
    pub fn rejected(&self, reject_status: u16) -> bool {
        match &self.end {
            End::Answer(status) => *status == reject_status,
            End::Failed(cause) => reject_status == CLOSED && *cause == Cause::Closed,
        }
    }

    /// Time from the send to the end.
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

    /// Trace of one client from `(sent, end, status)`.
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

    /// View with 503 as reject and 5 ms of tolerance, against `rate, burst, delay`.
    pub fn view(limit: Option<(&str, u32, u32)>) -> View {
        let limit = limit.map(|(rate, burst, delay)| {
            Limit::new(rate.parse().expect("a rate"), burst, delay).expect("a limit of the test")
        });
        View { reject_status: 503, limit, tolerance_us: 5_000 }
    }

    /// Report on such a trace.
    pub fn report(
        schedule: &str,
        rows: &[(u64, u64, u16)],
        limit: Option<(&str, u32, u32)>,
    ) -> Report {
        Report::new("http://weir.test/", schedule, 1, view(limit), trace(rows))
    }

    /// Thirty requests at the same time at `10r/s`, burst 20, without a breach.
    pub fn table_b() -> Report {
        let row = |k: u64| if k < 21 { (0, k * 100_000, 200) } else { (0, 0, 503) };
        report("30 at once", &(0..30).map(row).collect::<Vec<_>>(), Some(("10r/s", 20, 0)))
    }
}
