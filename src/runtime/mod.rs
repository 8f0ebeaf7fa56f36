//! Clock, timers and byte streams below everything else.

pub mod clock;
pub mod coarse_timer;
pub mod io;
pub mod pem;
pub mod release_timer;
pub mod sys;
