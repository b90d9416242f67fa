//! Why a command is not carried out, or decisions are not to be had.

use ledger::shell::fault::Fault;
use wallet::units::NodeId;

use super::log::LogFault;
use crate::{peer::PeerFault, session};

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule that binds operators as well says no.
    #[error(transparent)]
    Rule(#[from] scheduler::refusal::Refusal),
    /// The session says no.
    #[error(transparent)]
    Session(#[from] session::refusal::Refusal),
    /// The decision log failed; this node stops.
    #[error(transparent)]
    Log(#[from] LogFault),
    /// The ledger's files cannot be read; this node stops.
    #[error(transparent)]
    Ledger(#[from] Fault),
    /// What this node anchored of its log before this start is not known yet.
    #[error("no block is final here yet that was made after this start: what this node decided before is not known")]
    NotToldYet,
    /// The node is stopping.
    #[error("the node stopped before the action was done")]
    Interrupted,
    /// The node that made the decision does not hand it out, and nobody else has it.
    #[error("node {source_node} does not hand out its decision, and nobody else has it: {fault}")]
    SourceSilent {
        /// Whose decision.
        source_node: NodeId,
        /// What it answered.
        fault: PeerFault,
    },
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &str {
        match self {
            Self::Rule(refusal) => refusal.code(),
            Self::Session(refusal) => refusal.code(),
            Self::Log(fault) => fault.code(),
            Self::Ledger(_) => "N-519",
            Self::NotToldYet => "N-663",
            Self::Interrupted => "N-410",
            Self::SourceSilent { .. } => "N-411",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retry(&self) -> bool {
        match self {
            Self::Rule(refusal) => refusal.may_retry(),
            Self::Session(refusal) => refusal.retry(),
            Self::Log(_) | Self::Ledger(_) => false,
            Self::NotToldYet | Self::Interrupted | Self::SourceSilent { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use wallet::codec;

    /// The scheduler reads no files, so its codes are held against their pages here.
    #[test]
    fn every_code_of_the_scheduler_has_a_page_and_every_page_a_code() {
        let all = (0_u32..).map_while(|index| codec::decode(&codec::encode(&index)).ok());
        let codes: BTreeSet<String> =
            all.map(|refusal: scheduler::refusal::Refusal| refusal.code().to_owned()).collect();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors");
        let names = fs::read_dir(folder).expect("docs/errors").map(|file| file.expect("readable").file_name());
        let pages: BTreeSet<String> = names
            .filter_map(|name| name.to_str()?.strip_suffix(".md").map(str::to_owned))
            .filter(|code| code.starts_with("S-"))
            .collect();
        assert_eq!(codes, pages);
        for code in codes {
            let page = fs::read_to_string(format!("{folder}/{code}.md")).expect("a readable page");
            assert!(page.starts_with(&format!("# {code}: ")), "{code}.md begins with its code");
        }
    }
}
