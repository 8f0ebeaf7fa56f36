//! The operator's tools.

pub mod burst;
