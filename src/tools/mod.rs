//! The operator's tools.

pub mod burst;
pub mod import;
