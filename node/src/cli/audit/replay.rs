//! `batchmind audit replay`: whether a whole ledger follows from its genesis.

use std::{fmt, fs::File, io::BufReader, path::Path};

use ledger::{
    archive::ArchiveReader,
    replay::{Replay, Signatures},
};
use serde::Serialize;
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::genesis::Genesis;
use crate::cli::{Failure, Output, progress::Progress};

pub(super) fn run(archive: &Path, genesis: &Genesis, named: &[Digest]) -> Result<Output, Failure> {
    let genesis = genesis.hash()?;
    let file = File::open(archive).map_err(|error| Failure::new("N-150", error, archive.display()))?;
    let invalid = |reason: &dyn fmt::Display| Failure::new("N-156", reason, archive.display());
    let mut reader = ArchiveReader::open(BufReader::new(file), &genesis).map_err(|error| invalid(&error))?;
    let consortium = reader.consortium().clone();
    let mut replay = Replay::new(consortium.clone(), Signatures::Verified).naming(named);
    let mut progress = Progress::new("blocks");
    while let Some(block) = reader.next_block().map_err(|error| invalid(&error))? {
        replay.step(&block).map_err(|error| invalid(&error))?;
        progress.at(block.block.header.height.get());
    }
    let mut decisions = 0;
    while reader.next_grounds().map_err(|error| invalid(&error))?.is_some() {
        decisions += 1;
    }
    drop(progress);
    let replayed = replay.finish().map_err(|error| invalid(&error))?;
    let signers = replayed.certificate.into_iter().flat_map(|certificate| certificate.signatures);
    Ok(Output::new(&Replayed {
        verified: true,
        consortium: genesis,
        name: consortium.name().to_owned(),
        lineage: replayed.executed.state.lineage(),
        height: replayed.executed.height,
        time: replayed.executed.time,
        entries: replayed.executed.log.size(),
        entry_signatures: replayed.verified,
        log_root: replayed.executed.log.root(),
        state_root: replayed.executed.state.root(),
        decisions,
        decisions_named: reader.named() as u64,
        signers: signers.map(|(node, _)| node).collect(),
    }))
}

#[derive(Serialize)]
struct Replayed {
    verified: bool,
    consortium: Digest,
    name: String,
    /// 1, and one more for each re-genesis.
    lineage: u32,
    height: BlockHeight,
    time: Timestamp,
    entries: u64,
    /// Of authors and holders; one over a batch counts once.
    entry_signatures: u64,
    log_root: Digest,
    state_root: Digest,
    /// How many of the decisions that entries name are in the archive.
    decisions: u64,
    /// How many they name.
    decisions_named: u64,
    /// Who made the last block final.
    signers: Vec<NodeId>,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signers: Vec<_> = self.signers.iter().map(ToString::to_string).collect();
        writeln!(f, "replayed     every block, every signature, both roots of each")?;
        writeln!(f, "consortium   {:?} {}", self.name, self.consortium)?;
        writeln!(f, "lineage      {}", self.lineage)?;
        writeln!(f, "height       {} at {} ms, final by nodes {}", self.height, self.time, signers.join(", "))?;
        writeln!(f, "entries      {}, with {} signatures", self.entries, self.entry_signatures)?;
        writeln!(f, "decisions    {} of {} that entries name", self.decisions, self.decisions_named)?;
        writeln!(f, "log root     {}", self.log_root)?;
        write!(f, "state root   {}", self.state_root)
    }
}

#[cfg(test)]
mod tests {
    use ledger::{
        archive::{self, End},
        bundle::Grounds,
        testing::{self, Chain, Session, decision},
    };
    use wallet::digest::Digest;

    use super::*;

    /// With a decision whose sequence number is `decided`; an offer names that with 0.
    fn sample(decided: u64) -> (Vec<u8>, Digest, Digest) {
        let consortium = testing::consortium(4);
        let (mut chain, session) = (Chain::new(consortium.clone()), Session::in_eu(&consortium, 0));
        chain.push(session.created()).expect("valid");
        session.hop(&mut chain, 1, None).expect("valid");
        let end = End { height: chain.tip.height, raft_index: 9 };
        let blocks = chain.final_blocks().into_iter().map(archive::block);
        let decided = Grounds { decision: decision(decided, Digest::ZERO), later: Vec::new() };
        let decided = archive::grounds(NodeId::ZERO, decided);
        let frames = [archive::head(&consortium)].into_iter().chain(blocks).chain([decided]);
        (frames.chain([archive::end(end)]).flatten().collect(), consortium.id(), chain.tip.state.root())
    }

    fn replay(bytes: &[u8], genesis: Digest) -> Result<Output, Failure> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ledger.archive");
        std::fs::write(&file, bytes).expect("our own folder");
        run(&file, &Genesis::Hash(genesis), &[])
    }

    #[test]
    fn a_whole_ledger_is_replayed_from_the_genesis_hash_alone() {
        let (bytes, genesis, state_root) = sample(0);
        let output = replay(&bytes, genesis).expect("it follows");
        assert_eq!(output.json()["state_root"], state_root.to_string());
        assert_eq!((&output.json()["height"], &output.json()["entries"]), (&4.into(), &4.into()));
        assert_eq!((&output.json()["decisions"], &output.json()["decisions_named"]), (&1.into(), &1.into()));
    }

    #[test]
    fn an_archive_with_a_decision_that_no_entry_names_is_refused() {
        let (bytes, genesis, _) = sample(1);
        assert_eq!(replay(&bytes, genesis).expect_err("refused").code, "N-156");
    }

    #[test]
    fn an_archive_that_is_damaged_torn_or_of_another_consortium_is_refused() {
        let (bytes, genesis, _) = sample(0);
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        let cases = [(&damaged[..], genesis), (&bytes[..bytes.len() - 1], genesis), (&bytes[..], Digest([1; 32]))];
        for (bytes, genesis) in cases {
            assert_eq!(replay(bytes, genesis).expect_err("refused").code, "N-156");
        }
    }
}
