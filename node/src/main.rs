//! The binary `batchmind`.

fn main() {}
