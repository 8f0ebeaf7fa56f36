//! Judges: functions that take any bytes and fail when a property does not hold that must hold for
//! all of them. Tests give them the files of `fuzz/kept`, and fuzz targets what libFuzzer makes.

pub mod access;
pub mod blocks;
pub mod connection;
pub mod decision;
pub mod endpoint;
pub mod fields;
pub mod frames;
pub mod import;
pub mod parsers;
pub mod rewrite;
pub mod zones;
