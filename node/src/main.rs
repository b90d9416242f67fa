//! The binary `batchmind`.

use std::process::ExitCode;

fn main() -> ExitCode {
    node::cli::main()
}
