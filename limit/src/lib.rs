//! Decision engine of weir: from a request, the state of the zones and a time to pass, delay or
//! reject.
//!
//! A leaky bucket per key, exactly as nginx's `limit_req` counts (GCRA), with a queue: a request
//! above the rate and within the burst gets the time it has to wait. Everything but [`layer`] is
//! synchronous, reads no clock and does no I/O. The proxy, the burst bench and the tests call the
//! same code.

pub mod client_ip;
pub mod gate;
pub mod key;
pub mod layer;
mod line;
pub mod millis;
pub mod normal_form;
pub mod parked;
pub mod queue;
pub mod rate;
pub mod rule;
pub mod snapshot;
pub mod table;
pub mod verdict;
pub mod zone;

pub use gate::{Gate, Judgement};
pub use key::{Key, KeyFault, Missing, Part, Seed, Subject, Unkeyed};
pub use layer::LimitLayer;
pub use millis::Millis;
pub use parked::{Next, Parked};
pub use queue::{Queue, QueuePermit};
pub use rate::Rate;
pub use rule::{Mode, Rule, RuleSettings};
pub use snapshot::{Snapshot, Succession};
pub use verdict::{Decision, MAX_RULES, Reason, Verdict};
pub use zone::{Zone, ZoneSettings};
