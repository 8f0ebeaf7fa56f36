//! Conditions for passing a route beside its limits: networks of clients, users with passwords, and
//! the memory of verdicts.

pub mod apr1;
pub mod expiring_map;
pub mod keyed_digest;
pub mod networks;
pub mod password_check;
pub mod password_hash;
pub mod users;
