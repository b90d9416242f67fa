//! A validator of the ledger's bench that tells lies when it is told to: `batchmind bench ledger --only liars` starts
//! four.
//!
//! It is started, and listens and speaks, as `batchmind ledger-member` does. Its network has the shim of the package
//! `liar` before it, which lets everything pass until an order names a lie.

mod shim;

use std::process::ExitCode;

use clap::Parser;
use liar::lie::LIES;
use node::bench::ledger::{MemberArgs, run_member};

use self::shim::Lying;

/// A validator of the ledger's bench that tells lies when it is told to
#[derive(Parser)]
enum Command {
    /// Is a validator
    LedgerMember(MemberArgs),
    /// Names the lies, each on a line, with `leader` behind those of leaders, or `elected` if they are told where a
    /// term begins
    Lies,
}

#[tokio::main]
async fn main() -> ExitCode {
    node::cli::log_to_stderr();
    match Command::parse() {
        Command::LedgerMember(args) => {
            if let Err(fault) = run_member::<Lying>(args).await {
                eprintln!("{fault}");
                return ExitCode::FAILURE;
            }
        }
        Command::Lies => {
            for (lie, name, _) in LIES {
                let of = match lie.is_of_a_leader() {
                    true if lie.is_of_a_terms_beginning() => " elected",
                    true => " leader",
                    false => "",
                };
                println!("{name}{of}");
            }
        }
    }
    ExitCode::SUCCESS
}
