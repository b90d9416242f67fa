//! A final chain for which no validator had to run: an archive, written block by block, each epoch of it in one term.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use genesis::{Consortium, OperatorId};
use ledger::{
    archive::{self, ArchiveReader, End},
    block::{Block, FinalBlock, View},
    certificate::Certificate,
    event::Entry,
    execute::{Executed, Place, propose},
    governance::Action,
    shell::restore::place_of,
    vote::{Ballot, Signer, Vote, VoteKind},
};
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{NodeId, Timestamp},
};

use super::{decided::decided, member::wrong};
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
    /// A chain without a block. `keys` are those of the validators of genesis, in their order; the first of those who vote
    /// leads.
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
        let (validators, epoch) = (self.tip.validators(), self.tip.state.epoch());
        let votes = self.signers.iter().filter(|signer| validators.key(signer.node).is_some());
        let quorum: Vec<Signer> = votes.take(validators.quorum()).cloned().collect();
        let [leader, ..] = &quorum[..] else { return Err(wrong("a consortium of nobody")) };
        self.blocks += 1;
        let (count, now) = (entries.len(), Timestamp::new(self.tip.time.get() + 10));
        let stands = self.tip.view.max(View::start_of(epoch));
        let view = stands.next_in(stands.term.max(View::first_term(epoch))).ok_or_else(|| wrong("the last view"))?;
        let (parent, certificate) = (self.tip.clone(), self.certificate.take());
        let place = Place { parent, certificate, carriers: Vec::new(), skipped: None, view, after: self.after };
        let proposal = propose(&self.consortium, place, leader, now, entries);
        if let Some((_, refusal)) = proposal.refused.first() {
            return Err(wrong(refusal));
        }
        if proposal.block.entries.len() != count {
            return Err(BenchFault::Wrong(format!("a block does not take {count} entries")));
        }
        let certify = |kind| certified(kind, &proposal.block, &quorum);
        self.after = place_of(&proposal.block, self.blocks + 1).chain;
        let (block, last) = (proposal.block.clone(), certify(VoteKind::Finalize));
        // The next epoch begins on what is final.
        let parent = if proposal.executed.is_closing() { last.clone() } else { certify(VoteKind::Notarize) };
        self.certificate = Some(parent);
        self.to.write_all(&archive::block(FinalBlock { block, certificate: last, carriers: Vec::new() }))?;
        self.tip = proposal.executed;
        Ok(())
    }

    /// Blocks in which enough of `operators` decide that `actions` are done, and these are: locks have to be over at once.
    pub(super) fn decide(
        &mut self,
        operators: &[(OperatorId, SecretKey)],
        actions: Vec<Action>,
    ) -> Result<(), BenchFault> {
        let electorate = self.tip.state.governance().map_or(0, |record| record.electorate);
        let author = self.signers.first().ok_or_else(|| wrong("a consortium of nobody"))?.key.clone();
        let entries = decided(self.consortium.id(), electorate, operators, actions, &author)?;
        entries.into_iter().try_for_each(|entries| self.push(entries))
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

#[cfg(test)]
mod tests {
    use ledger::{
        governance::Member,
        replay::{Replay, Signatures},
    };
    use wallet::digest::from_hex;

    use super::*;
    use crate::bench::ledger::{author::Author, consortium::Unsigned};

    #[test]
    fn a_chain_over_changes_of_its_validators_is_executed_again_with_every_signature() {
        let unsigned = Unsigned::without_lock().expect("a draft");
        let consortium = Arc::new(unsigned.sign().expect("signed").verify().expect("valid"));
        let Unsigned { operators, seeds, .. } = unsigned;
        let key = |seed: &String| SecretKey::from_seed(&from_hex(seed).expect("a seed"));
        let keys: Vec<SecretKey> = seeds.iter().map(key).collect();
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("archive");
        let mut chain = ChainFile::create(&file, &consortium, &keys).expect("writes");
        let author = Author::new(consortium.id(), NodeId::ZERO, keys[0].clone());
        let last = Member::Node(NodeId::new(3));
        for (epoch, action) in
            [(1, Action::Suspend(last.clone())), (2, Action::Reinstate { member: last, key: keys[3].public_key() })]
        {
            chain.push(author.next(3, |entries| entries)).expect("valid");
            chain.decide(&operators, vec![action]).expect("decided");
            assert_eq!((chain.tip().state.epoch(), chain.tip().is_closing()), (epoch, true));
        }
        chain.push(author.next(3, |entries| entries)).expect("valid");
        let (height, size) = (chain.tip().height, chain.tip().log.size());
        chain.finish().expect("writes");
        let mut archive = open(&file, &consortium).expect("an archive");
        let mut replay = Replay::new(archive.consortium().clone(), Signatures::Verified);
        while let Some(block) = archive.next_block().expect("a block") {
            replay.step(&block).expect("it follows");
        }
        replay.finish().expect("every signature is good");
        assert_eq!((height.get(), size), (3 + 2 * 2, 3 * 3 + 2 * 4));
    }
}
