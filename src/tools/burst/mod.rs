//! Burst bench: sends a schedule of requests to any HTTP server and judges from outside what its
//! limit did.
//!
//! [`schedule`] is when to send, [`target`] what and where. [`mod@fire`] sends and records the
//! outcome as a list of [`trace::Shot`]s, [`mod@judge`] compares the list with a limit, and
//! [`mod@draw`], [`mod@svg`] and [`data`] show it. Only [`mod@fire`] does I/O and reads a clock.
//! The rest is a pure function of the trace, so a recorded trace can be judged again.

pub mod class;
pub mod data;
pub mod draw;
pub mod envelope;
pub mod expect;
pub mod fire;
pub mod judge;
pub mod lane;
pub mod limit;
pub mod oracle;
pub mod report;
pub mod schedule;
pub mod svg;
pub mod target;
pub mod trace;

pub use class::{Class, Counts};
pub use expect::Expectation;
pub use fire::{BurstPlan, FireError, Tally, fire};
pub use judge::{Breach, Lateness, TraceJudgement, View, judge};
pub use limit::Limit;
pub use report::Report;
pub use schedule::Schedule;
pub use target::{BurstTarget, RequestTemplate};
pub use trace::{Cause, End, Shot};
