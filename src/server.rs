//! The client side: listeners, connections and their limits.

pub mod allowance;
pub mod body;
pub mod calm;
pub mod collect;
pub mod conn;
pub mod drain;
pub mod inbound;
pub mod lane;
pub mod linger;
pub mod listener;
pub mod occupancy;
pub mod portions;
pub mod proxy_protocol;
pub mod pulse;
pub mod settings;
pub mod stream;
pub mod streams;
pub mod strict;
pub mod tls;
pub mod tunnel;
pub mod turn;
pub mod watchdog;
pub mod wire;
