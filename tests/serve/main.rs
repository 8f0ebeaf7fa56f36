//! The real binary over real sockets: what it lets through, what it holds, how it starts and how it
//! stops.

use weir_test::{certificates, decode, frames, http1, nginx, process, programs, python, upstream};

mod abuse;
mod admin;
mod clock;
mod commands;
mod deferred;
mod exhaustion;
mod faults;
mod goaway;
mod handover;
mod hanging_files;
mod identical;
mod idle;
mod keepalive;
mod leaving;
mod listeners;
mod load;
mod log;
mod memory;
mod path_tricks;
mod real;
mod reload;
mod restarts;
mod service_manager;
mod shutdown;
mod slow;
mod spellings;
mod start;
mod state;
mod streams;
mod tls;
mod unix_sockets;
