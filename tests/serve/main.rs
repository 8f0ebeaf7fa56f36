//! The real binary over real sockets: what it lets through, what it holds, how it starts and how it
//! stops.

use weir_test::{certificates, decode, frames, http1, nginx, process, programs, python, upstream};

mod abuse;
mod admin;
mod clock;
mod commands;
mod faults;
mod goaway;
mod handover;
mod identical;
mod idle;
mod keepalive;
mod leaving;
mod listeners;
mod load;
mod log;
mod memory;
mod real;
mod reload;
mod restarts;
mod scarce;
mod slow;
mod spellings;
mod start;
mod state;
mod stop;
mod streams;
mod stuck;
mod tls;
