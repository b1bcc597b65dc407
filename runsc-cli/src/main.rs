//! The `runsc` command line.

fn main() {}
