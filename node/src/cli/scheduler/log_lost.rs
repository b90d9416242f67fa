//! `batchmind scheduler log-lost`: a node goes on whose decision log is lost.

use std::{fmt, path::PathBuf};

use ledger::shell::{disk::Disk, fault::Fault, final_store::FinalStore};
use scheduler::decision::LogHead;
use serde::Serialize;

use super::super::{Failure, Output, ledger::stopped};
use crate::{
    config::LedgerConfig,
    schedule::{
        self, anchored,
        log::{GivenUp, LogFault, give_up},
    },
};

/// Gives up the log of a stopped node.
pub(super) fn run(config: &LedgerConfig) -> Result<Output, Failure> {
    let (folder, log) = (stopped::folder(config)?, config.data_dir.join(schedule::FILE));
    let not_open = |fault: Fault| Failure::new("N-665", fault, folder.display());
    let store = Disk::from(folder.join("final"));
    if !store.has_store() {
        return Err(not_open(Fault::Missing { store: "final", what: folder.display().to_string() }));
    }
    // Open until the end: the node does not start meanwhile.
    let (_store, tip) = FinalStore::open(store, &config.consortium).map_err(not_open)?;
    let whose = "the ledger has no node with the key of this configuration: it may be older than the node or its key";
    let node = config.own_node(&tip.executed.state).ok_or_else(|| Failure::new("N-664", whose, folder.display()))?;
    let given_up = give_up(&log, anchored(&tip.executed, node));
    let given_up = given_up.map_err(|fault: LogFault| Failure::new(fault.code(), fault, log.display()))?;
    let whole = "the decision log is whole, and has what the ledger here says that this node anchored";
    let GivenUp { after, found, kept } = given_up.ok_or_else(|| Failure::new("N-664", whole, log.display()))?;
    Ok(Output::new(&LogLost { log, after, found, kept }))
}

#[derive(Serialize)]
struct LogLost {
    log: PathBuf,
    /// The last decision of which the ledger here says that it was anchored.
    after: LogHead,
    /// How many decisions after that were found in lost files, and are in the log again.
    found: u64,
    /// The old file.
    kept: Option<PathBuf>,
}

impl fmt::Display for LogLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, after: LogHead { length, hash }, found, kept } = self;
        write!(f, "{}: goes on after {length} decisions, the last {hash}", log.display())?;
        if *found > 0 {
            write!(f, ", with {found} that were found undamaged behind it")?;
        }
        if let Some(kept) = kept {
            write!(f, "\nthe old file is kept as {}", kept.display())?;
        }
        write!(f, "\nnote: where the others know of a later anchor of this node, it goes on after that")
    }
}
