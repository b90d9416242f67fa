//! The binary `batchmind`.

use std::process::ExitCode;

/// A block is thousands of small values that one thread makes and another drops, which libc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    node::cli::main()
}
