//! The burst bench: fire a described schedule of requests at any HTTP server and judge from outside
//! what its limit did.
//!
//! Parts: [`schedule`] says when to send, [`target`] what and where, [`mod@fire`] sends and writes
//! down what happened as a list of [`trace::Shot`]s, [`mod@judge`] holds the list against a limit,
//! and [`mod@draw`], [`mod@svg`] and [`data`] show it. Only [`mod@fire`] does IO and reads a clock;
//! everything else is a pure function of the trace, so a recorded trace can be judged again.

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

pub use expect::Expectation;
pub use fire::{BurstPlan, FireError, Tally, fire};
pub use judge::{Breach, Class, Counts, Lateness, TraceJudgement, View, judge};
pub use limit::Limit;
pub use report::Report;
pub use schedule::Schedule;
pub use target::{BurstTarget, RequestTemplate};
pub use trace::{Cause, End, Shot};
