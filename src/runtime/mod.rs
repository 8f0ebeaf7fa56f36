//! Clock, timers, byte streams and hints of errors, below everything else.

pub mod clock;
pub mod coarse_timer;
pub mod decimal;
pub mod expression;
pub mod hint;
pub mod io;
pub mod pem;
pub mod rare;
pub mod release_timer;
pub mod sys;
pub mod write_buffer;
