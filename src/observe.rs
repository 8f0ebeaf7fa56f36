//! What is told to the outside: the access log and its sampling.

pub mod settings;
