//! The command line: `batchmind COMMAND`.
//!
//! Each command is a module with its arguments (a clap type) and a `run` that returns an [`Output`] or a [`Failure`].
//! Nothing else writes to standard output; long work shows its progress on standard error. The exit status is 0 for
//! success, 1 for a failure, and 2 for a command line that makes no sense.

mod admin;
mod audit;
mod bench;
pub mod client;
mod credits;
mod demo;
mod fields;
mod genesis;
mod governance;
mod join;
mod key;
mod keys;
mod ledger;
mod node;
mod output;
#[cfg(test)]
mod pages;
mod progress;
mod re_geneses;
mod scheduler;
mod wallet;

use std::{
    io::{IsTerminal as _, stderr},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::hardening;

pub use output::{Failure, Output};

/// What is logged to standard error when `BATCHMIND_LOG` says nothing else. openraft calls every acknowledgement that
/// waits for finality an error; what ends it is told as the replica's fault.
const LOG_DEFAULT: &str = "warn,node=info,openraft=off";

/// The node of a Batchmind consortium, and the tools of its operators and auditors.
///
/// A consortium is a group of datacenter operators that move live LLM sessions between their GPUs and record each move
/// on a ledger that all of them keep. It begins with a genesis document that every operator signs.
#[derive(Debug, Parser)]
#[command(name = "batchmind", version, max_term_width = 100)]
struct CommandLine {
    /// Print one JSON object: the result on standard output, or {code, title, detail} on standard error.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Audit(audit::Command),
    Bench(bench::Command),
    /// Is the second process of a bench; the bench starts it
    #[command(hide = true)]
    BenchSide(crate::bench::streams::SideArgs),
    #[command(subcommand)]
    Credits(credits::Command),
    Demo(demo::Command),
    /// Runs the engine of a node; the node starts it
    #[command(hide = true)]
    EngineWorker(crate::engine::WorkerArgs),
    #[command(subcommand)]
    Genesis(genesis::Command),
    #[command(subcommand)]
    Governance(governance::Command),
    Join(join::Arguments),
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Is a validator of a bench; the bench starts it
    #[command(hide = true)]
    LedgerMember(crate::bench::ledger::MemberArgs),
    #[command(subcommand)]
    Node(node::Command),
    #[command(subcommand)]
    Scheduler(scheduler::Command),
    /// Runs one session of a bench or test; what drives it starts it
    #[command(hide = true)]
    SessionRunner(crate::bench::sessions::RunnerArgs),
    /// Is one end of a bench's transfer; the bench starts it
    #[command(hide = true)]
    TransferSide(crate::bench::transfer::TransferSideArgs),
    #[command(subcommand)]
    Wallet(wallet::Command),
}

impl Command {
    async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Audit(command) => command.run(),
            // They wait for threads and processes, so they must not stand on the runtime's threads.
            Self::Bench(command) => apart(move || command.run()).await,
            Self::BenchSide(args) => {
                apart(move || {
                    let side = crate::bench::streams::side(&args);
                    side.map(|()| Output::new(&String::new())).map_err(|fault| Failure::new("N-171", fault, "bench"))
                })
                .await
            }
            Self::Credits(command) => command.run().await,
            Self::Demo(command) => command.run().await,
            // It sleeps on a futex, so it must not stand on the runtime's threads.
            Self::EngineWorker(args) => match tokio::task::spawn_blocking(|| crate::engine::work(args)).await {
                Ok(Ok(())) => Ok(Output::new(&String::new())),
                Ok(Err(fault)) => Err(Failure::new(fault.code(), fault, "engine worker")),
                Err(error) => Err(Failure::new("N-220", error, "engine worker")),
            },
            Self::Genesis(command) => command.run(),
            Self::Governance(command) => command.run().await,
            Self::Join(arguments) => arguments.run().await,
            Self::Keys(command) => command.run(),
            Self::Ledger(command) => command.run().await,
            Self::LedgerMember(args) => {
                let run = crate::bench::ledger::run_member::<crate::bench::ledger::Honest>(args).await;
                run.map(|()| Output::new(&String::new())).map_err(|fault| Failure::new("N-171", fault, "ledger"))
            }
            Self::Node(command) => command.run().await,
            Self::Scheduler(command) => command.run().await,
            Self::SessionRunner(args) => {
                apart(move || {
                    let run = crate::bench::sessions::run_session(&args);
                    run.map(|()| Output::new(&String::new())).map_err(|fault| Failure::new("N-171", fault, "session"))
                })
                .await
            }
            Self::TransferSide(args) => {
                let run = crate::bench::transfer::run_side(args).await;
                run.map(|()| Output::new(&String::new())).map_err(|fault| Failure::new("N-171", fault, "transfer"))
            }
            Self::Wallet(command) => command.run().await,
        }
    }
}

/// Runs `work` on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure::new("N-154", error, "a command")),
    }
}

/// Runs a command as the program does that is called with these words.
#[cfg(test)]
pub(crate) async fn run(words: impl IntoIterator<Item = String>) -> Result<Output, Failure> {
    let words = ["batchmind".to_owned()].into_iter().chain(words);
    CommandLine::try_parse_from(words).expect("it parses").command.run().await
}

/// From now on this process logs to standard error, what `BATCHMIND_LOG` says.
pub fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("BATCHMIND_LOG").unwrap_or_else(|_| EnvFilter::new(LOG_DEFAULT));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal()).init();
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    log_to_stderr();
    let line = CommandLine::try_parse().unwrap_or_else(|error| refuse(&error));
    // Before any secret is read.
    if let Err(error) = hardening::forbid_core_dumps() {
        return output::print(Err(Failure::new("N-154", error, "forbidding core dumps")), line.json);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return output::print(Err(Failure::new("N-154", error, "starting the runtime")), line.json),
    };
    output::print(runtime.block_on(line.command.run()), line.json)
}

/// Ends with the help or version that was asked for, or with what makes no sense in the command line.
fn refuse(error: &clap::Error) -> ! {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let title = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        output::print(Err(Failure::new("N-153", title, "command line")), true);
        std::process::exit(error.exit_code());
    }
    error.exit()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_and_every_argument_says_what_it_is_for() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&CommandLine::command());
    }
}
