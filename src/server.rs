//! The client side: listeners, connections and their limits.

pub mod settings;
