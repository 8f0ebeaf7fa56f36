//! What is told to the outside: the access log, its sampling and its writer.

pub mod entry;
pub mod journal;
pub mod sample;
pub mod settings;
pub mod writer;
