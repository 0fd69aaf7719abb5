//! The `hitc` command.

fn main() {}
