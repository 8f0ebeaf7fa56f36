//! Classes of requests in a burst, and their counts.

/// Class of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Forwarded immediately.
    Pass,
    /// Forwarded after a wait.
    Wait,
    /// Responded to with the reject status.
    Reject,
    /// No response.
    Failed,
}

impl Class {
    /// All classes, in the order they are shown.
    pub const ALL: [Self; 4] = [Self::Pass, Self::Wait, Self::Reject, Self::Failed];

    /// Word used on the command line and in outputs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Wait => "wait",
            Self::Reject => "reject",
            Self::Failed => "failed",
        }
    }
}

/// Number of requests of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Forwarded immediately.
    pub pass: usize,
    /// Forwarded after a wait.
    pub wait: usize,
    /// Responded to with the reject status.
    pub reject: usize,
    /// No response.
    pub failed: usize,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, class: Class) {
        match class {
            Class::Pass => self.pass += 1,
            Class::Wait => self.wait += 1,
            Class::Reject => self.reject += 1,
            Class::Failed => self.failed += 1,
        }
    }

    /// Number of requests of one class.
    #[must_use]
    pub fn of(&self, class: Class) -> usize {
        match class {
            Class::Pass => self.pass,
            Class::Wait => self.wait,
            Class::Reject => self.reject,
            Class::Failed => self.failed,
        }
    }

    /// Number of forwarded requests.
    #[must_use]
    pub fn forwarded(&self) -> usize {
        self.pass + self.wait
    }
}
