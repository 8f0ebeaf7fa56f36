//! Tunnel after a 101, before its bytes are relayed.

use super::drain::Drain;
use crate::{
    log::record::Record,
    runtime::{coarse_timer::Deadline, io::Switched},
};

/// Protocol switch that both sides accepted.
pub struct Tunnel {
    /// Log record of the request that asked for it.
    pub record: Box<Record>,
    /// Connection of the endpoint.
    pub far: Switched,
    /// Longest silence of both sides.
    pub silence: Deadline,
    /// Drain state.
    pub drain: Drain,
}
