//! A final chain for which no validator had to run: an archive, written block by block, all of it in one term.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use genesis::Consortium;
use ledger::{
    archive::{self, ArchiveReader, End},
    block::{Block, FinalBlock, View},
    certificate::Certificate,
    event::Entry,
    execute::{Executed, Place, propose},
    shell::restore::place_of,
    vote::{Ballot, Signer, Vote, VoteKind},
};
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{NodeId, Timestamp},
};

use super::member::wrong;
use crate::bench::BenchFault;

/// The archive while it is written.
pub(super) struct ChainFile {
    to: BufWriter<File>,
    consortium: Arc<Consortium>,
    signers: Vec<Signer>,
    tip: Executed,
    certificate: Option<Certificate>,
    after: Digest,
    blocks: u64,
}

impl ChainFile {
    /// A chain without a block. `keys` are those of the validators of genesis, in their order; the first leads.
    pub(super) fn create(file: &Path, consortium: &Arc<Consortium>, keys: &[SecretKey]) -> Result<Self, BenchFault> {
        let signer = |(key, node): (&SecretKey, u32)| Signer { node: NodeId::new(node), key: key.clone() };
        let mut to = BufWriter::new(File::create(file)?);
        to.write_all(&archive::head(consortium))?;
        Ok(Self {
            to,
            consortium: consortium.clone(),
            signers: keys.iter().zip(0..).map(signer).collect(),
            tip: Executed::genesis(consortium),
            certificate: None,
            // Before the first block, its leader began the term.
            after: Digest([1; 32]),
            blocks: 0,
        })
    }

    /// What stands after the last block.
    pub(super) const fn tip(&self) -> &Executed {
        &self.tip
    }

    /// The next block, with these entries and no others.
    pub(super) fn push(&mut self, entries: Vec<Entry>) -> Result<(), BenchFault> {
        let [leader, ..] = &self.signers[..] else { return Err(BenchFault::Wrong("a consortium of nobody".into())) };
        self.blocks += 1;
        let (count, now) = (entries.len(), Timestamp::new(self.tip.time.get() + 10));
        let view = View { term: 1, number: self.blocks };
        let (parent, certificate) = (self.tip.clone(), self.certificate.take());
        let place = Place { parent, certificate, carriers: Vec::new(), skipped: None, view, after: self.after };
        let proposal = propose(&self.consortium, place, leader, now, entries);
        if let Some((_, refusal)) = proposal.refused.first() {
            return Err(wrong(refusal));
        }
        if proposal.block.entries.len() != count {
            return Err(BenchFault::Wrong(format!("a block does not take {count} entries")));
        }
        let quorum = &self.signers[..self.consortium.validators().quorum()];
        let certify = |kind| certified(kind, &proposal.block, quorum);
        self.after = place_of(&proposal.block, self.blocks + 1).chain;
        let (block, last) = (proposal.block.clone(), certify(VoteKind::Finalize));
        self.to.write_all(&archive::block(FinalBlock { block, certificate: last, carriers: Vec::new() }))?;
        self.certificate = Some(certify(VoteKind::Notarize));
        self.tip = proposal.executed;
        Ok(())
    }

    /// The whole archive is on the disk when this returns.
    pub(super) fn finish(mut self) -> Result<(), BenchFault> {
        self.to.write_all(&archive::end(End { height: self.tip.height, raft_index: 1 + self.blocks }))?;
        Ok(self.to.into_inner().map_err(wrong)?.sync_all()?)
    }
}

/// The archive to be read.
pub(super) fn open(file: &Path, consortium: &Consortium) -> Result<ArchiveReader<BufReader<File>>, BenchFault> {
    ArchiveReader::open(BufReader::new(File::open(file)?), &consortium.id()).map_err(wrong)
}

pub(super) fn certified(kind: VoteKind, block: &Block, signers: &[Signer]) -> Certificate {
    let ballot = Ballot::for_header(kind, &block.header);
    let signatures = signers.iter().map(|signer| (signer.node, Vote::sign(ballot, signer).signature)).collect();
    Certificate { kind, view: ballot.view, height: ballot.height, block: ballot.block, signatures }
}
