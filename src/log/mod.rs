//! Access log: its record, sampling and writer; and a warning when clients seem hidden.

pub mod access;
pub mod entry;
pub mod gateway;
pub mod json;
pub mod line_format;
pub mod record;
pub mod sample;
pub mod settings;
pub mod throttle;
pub mod writer;
