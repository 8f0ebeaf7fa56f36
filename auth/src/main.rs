//! The `auth` command.

fn main() {}
