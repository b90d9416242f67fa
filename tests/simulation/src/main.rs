//! The whole ledger in one thread: real openraft, guard, voter and shell on simulated disks, network and clocks.
//!
//! `simulation SEED [--trace] [--bug NAME] [--lie NAME] [--re-genesis]` runs one seed and says how it went, with `--trace`
//! all that happened. The same seed gives the same trace hash. `--bug` switches a planted bug on (`ledger::planted`). With
//! `--lie` one validator tells this lie, and no other is told; more than one may be named. With `--re-genesis` a quorum is
//! lost for good, and those that are left begin anew.

mod entropy;
mod govern;
mod join;
mod node;
mod panics;
mod plan;
mod proof;
mod script;
mod statements;
mod watch;
mod wire;
mod world;

use std::{env, process::ExitCode};

use ledger::planted::{self, BUGS};
use liar::lie::{LIES, Lie};

use crate::plan::Asked;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|argument| argument == "--list") {
        LIES.iter().for_each(|(_, name, what)| println!("lie {name}:{what}"));
        BUGS.iter().for_each(|(_, name, what)| println!("bug {name}:{what}"));
        return ExitCode::SUCCESS;
    }
    let Some(seed) = arguments.next().and_then(|seed| seed.parse().ok()) else {
        return usage();
    };
    let (mut verbose, mut asked) = (false, Asked::default());
    while let Some(argument) = arguments.next() {
        let mut bug = || arguments.next().and_then(|name| BUGS.iter().find(|(_, bug, _)| *bug == name));
        match argument.as_str() {
            "--trace" => verbose = true,
            "--bug" => match bug() {
                Some((bug, ..)) => planted::plant(*bug),
                None => return usage(),
            },
            "--lie" => match arguments.next().and_then(|name| Lie::named(&name)) {
                Some(lie) => asked.lies.push(lie),
                None => return usage(),
            },
            "--re-genesis" => asked.re_genesis = true,
            _ => return usage(),
        }
    }
    entropy::seed(seed);
    panics::listen();
    match world::World::new(seed, &asked, verbose).run() {
        Ok(watch) => {
            let (trace, messages, blocks) = watch.summary();
            println!("seed {seed}: {blocks} final blocks, {messages} messages, trace {trace}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("seed {seed}: FAILED: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let bugs: Vec<&str> = BUGS.iter().map(|(_, name, _)| *name).collect();
    eprintln!(
        "usage: simulation SEED [--trace] [--bug NAME] [--lie NAME] [--re-genesis] | --list\nbugs: {}",
        bugs.join(" ")
    );
    ExitCode::from(2)
}
