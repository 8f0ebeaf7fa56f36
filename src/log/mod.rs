//! What is told to the outside: the access log, its sampling and its writer, and that clients seem
//! hidden.

pub mod access;
pub mod entry;
pub mod gateway;
pub mod record;
pub mod sample;
pub mod settings;
pub mod throttle;
pub mod writer;
