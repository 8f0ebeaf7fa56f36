//! What is told to the outside: the access log, its sampling and its writer, and that clients seem hidden.

pub mod entry;
pub mod gateway;
pub mod journal;
pub mod sample;
pub mod settings;
pub mod sparing;
pub mod writer;
