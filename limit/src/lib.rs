//! Decision engine of weir: from a request, the state of the zones and a time to pass, delay or
//! reject.
//!
//! A leaky bucket per key, exactly as nginx's `limit_req` counts (GCRA), with a queue: a request
//! above the rate and within the burst gets the time it has to wait. Everything but [`layer`] is
//! synchronous, reads no clock and does no I/O. The proxy, the burst bench and the tests call the
//! same code.
//!
//! Ten requests per second for each client, and a burst of two that waits for its slots:
//!
//! ```
//! use std::{net::{IpAddr, Ipv4Addr}, sync::Arc};
//! use weir_limit::{
//!     Decision, Gate, Key, Millis, Part, Rule, RuleSettings, Subject, Zone, ZoneSettings,
//! };
//!
//! let zone = Arc::new(Zone::new(ZoneSettings {
//!     name: "per_ip".into(),
//!     key: Key::of(vec![Part::ClientIp]),
//!     rate: "10r/s".parse()?,
//!     capacity: 1_000,
//!     exempt: Vec::new(),
//! }));
//! let gate = Gate::new(vec![Rule::new(zone, RuleSettings::burst(2))?]).expect("few rules");
//! let (client, headers) = (IpAddr::V4(Ipv4Addr::LOCALHOST), http::HeaderMap::new());
//! let subject = Subject { path: "/login", ..Subject::of(client, &http::Method::GET, &headers) };
//! let verdicts = [(); 4].map(|()| gate.decide(&subject, Millis(0)).verdict);
//! let decisions = verdicts.map(|verdict| verdict.decision);
//! assert_eq!(
//!     decisions,
//!     [Decision::Pass, Decision::Delay, Decision::Delay, Decision::Reject]
//! );
//! assert_eq!(verdicts.map(|verdict| verdict.wait.0), [0, 100, 200, 0]);
//! assert_eq!(verdicts[3].retry, Millis(100));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod basic;
pub mod client_ip;
pub mod concurrency;
mod entries;
pub mod gate;
pub mod key;
pub mod layer;
mod line;
pub mod millis;
pub mod normal_form;
pub mod parked;
pub mod penalty;
pub mod queue;
pub mod rate;
pub mod reservation;
mod reserved;
pub mod rule;
pub mod snapshot;
mod stripe;
pub mod table;
pub mod verdict;
pub mod zone;

pub use concurrency::{
    ConcurrencyLimit, ConcurrencyPermit, ConcurrencySettings, ConcurrencyZone, Entered,
};
pub use gate::{Gate, Judgement};
pub use key::{Headers, Key, KeyFault, Missing, Part, Seed, Subject, Unkeyed};
pub use layer::LimitLayer;
pub use millis::Millis;
pub use parked::{Next, Parked};
pub use penalty::Penalty;
pub use queue::{Queue, QueuePermit};
pub use rate::Rate;
pub use reservation::Reservations;
pub use rule::{Mode, Rule, RuleSettings, Scope};
pub use snapshot::{Snapshot, Succession};
pub use verdict::{Decision, MAX_RULES, Reason, Verdict};
pub use zone::{Zone, ZoneSettings};
