//! The operator's tools.

pub mod burst;
pub mod import;
pub mod ingress;
