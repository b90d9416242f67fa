//! `FinalizeWithheld`: a chain of blocks that are all certified, and none of them final.
//!
//! With the liar's vote a quorum notarizes each block, and without it no quorum finalizes any. Its own software would
//! wait for finality, so the shim makes the blocks itself, and keeps from the software what others vote meanwhile.

use std::collections::BTreeMap;

use ledger::{
    block::{Block, Header, View},
    certificate::Certificate,
    execute::{Executed, Place, Proposal, propose},
    shell::{
        raft::{RaftEntry, RaftLogId, RaftVote},
        transport::{PeerReply, PeerRequest, Word},
    },
    vote::{Ballot, Vote, VoteKind},
};
use openraft::{EntryPayload, raft::AppendEntriesRequest};
use tokio::time::Instant;
use wallet::{
    identity::Signature,
    units::{NodeId, Timestamp},
};

use crate::{Liar, lie::Lie};

/// More blocks than a voter looks ahead. Then the leader falls silent.
const BLOCKS: usize = 80;

/// The chain of one term.
pub(super) struct Unfinal {
    /// Where its last block stands in the log that the followers are shown.
    at: RaftLogId,
    header: Header,
    executed: Executed,
    /// Who notarized the last block.
    notarized: BTreeMap<NodeId, Signature>,
    blocks: usize,
    begun: (Instant, Timestamp),
}

impl Liar {
    /// Whether a follower is among those that make a quorum with the liar.
    pub(super) fn serves(&self, to: NodeId) -> bool {
        let quorum = self.consortium.validators().quorum();
        self.others().iter().take(quorum.saturating_sub(1)).any(|node| *node == to)
    }

    /// Whether the chain of `term` is as long as it gets.
    pub(super) fn fell_silent(&self, term: u64) -> bool {
        self.unfinal.as_ref().is_some_and(|chain| chain.at.leader_id.term == term && chain.blocks >= BLOCKS)
    }

    /// Whether the chain grows now.
    pub(super) fn withholds(&self) -> bool {
        let grows = |chain: &Unfinal| chain.at.leader_id.term == self.term && chain.blocks < BLOCKS;
        self.unfinal.as_ref().is_some_and(grows)
    }

    /// Begins a chain with the first block of a term that a follower is shown.
    pub(super) fn begin_unfinal(&mut self, term: u64, entries: &[RaftEntry]) {
        if self.unfinal.as_ref().is_some_and(|chain| chain.at.leader_id.term >= term) {
            return;
        }
        let first = entries.iter().filter(|entry| entry.log_id.leader_id.term == term).find_map(|entry| {
            let EntryPayload::Normal(packed) = &entry.payload else { return None };
            Some((entry.log_id, packed.block().clone()))
        });
        let Some((at, block)) = first else { return };
        let Some(parent) = self.tip.as_ref().filter(|tip| tip.digest == block.header.parent) else { return };
        let Block { header, parent_certificate: certificate, carriers, skipped, entries, .. } = block;
        let (parent, after) = (Executed::clone(parent), header.after);
        let place = Place { parent, certificate, carriers, skipped, view: header.view, after };
        let Proposal { block, executed, .. } = propose(&self.consortium, place, &self.signer, header.time, entries);
        if block.header == header {
            let (begun, notarized) = ((Instant::now(), header.time), BTreeMap::new());
            self.led.insert(term);
            self.unfinal = Some(Unfinal { at, header, executed, notarized, blocks: 1, begun });
        }
    }

    /// Drops what it does not say to `to`.
    pub(super) fn withhold_words(&self, to: NodeId, words: &mut Vec<Word>) {
        let grows = self.withholds();
        words.retain(|word| match word {
            Word::Vote(Vote { statement, .. }) => {
                let own = self.led.contains(&statement.view.term);
                !own || (statement.kind == VoteKind::Notarize && self.serves(to))
            }
            Word::Nullify { .. } => !grows,
        });
    }

    /// Hears votes while its chain grows: its own software never does.
    pub(super) fn gather(&mut self, words: &[Word]) -> Option<PeerReply> {
        if !self.withholds() {
            return None;
        }
        let final_height = self.tip.as_ref()?.height;
        let chain = self.unfinal.as_mut()?;
        let ballot = Ballot::for_header(VoteKind::Notarize, &chain.header);
        for word in words {
            if let Word::Vote(vote) = word
                && vote.statement == ballot
            {
                chain.notarized.insert(vote.validator, vote.signature);
            }
        }
        chain.notarized.insert(self.me, Vote::sign(ballot, &self.signer).signature);
        if chain.notarized.len() >= self.consortium.validators().quorum() {
            self.grow(ballot);
        }
        Some(PeerReply::Votes { final_height, permit: None })
    }

    /// The next block, on the last one that is certified.
    fn grow(&mut self, ballot: Ballot) -> Option<()> {
        let served: Vec<NodeId> = self.others().into_iter().filter(|node| self.serves(*node)).collect();
        let chain = self.unfinal.as_mut()?;
        let (last, signatures) = (chain.at, std::mem::take(&mut chain.notarized).into_iter());
        let Ballot { kind, view, height, block, .. } = ballot;
        let certificate = Certificate { kind, view, height, block, signatures: signatures.collect() };
        let after = self.shown.get(served.first()?)?.chain(last)?;
        let (begun, time) = chain.begun;
        let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = Timestamp::new(time.get().saturating_add(passed));
        let (parent, view) = (chain.executed.clone(), View { number: view.number + 1, ..view });
        let place = Place { parent, certificate: Some(certificate), carriers: Vec::new(), skipped: None, view, after };
        let Proposal { block, executed, .. } = propose(&self.consortium, place, &self.signer, now, Vec::new());
        (chain.header, chain.executed) = (block.header.clone(), executed);
        chain.at = RaftLogId::new(last.leader_id, last.index + 1);
        chain.blocks += 1;
        let vote = Vote::sign(Ballot::for_header(VoteKind::Notarize, &block.header), &self.signer);
        for to in served {
            self.tell(Lie::FinalizeWithheld, to);
            self.show_next(to, last, &block);
            self.extra.push((to, PeerRequest::Votes(vec![Word::Vote(vote)])));
        }
        Some(())
    }

    fn show_next(&mut self, to: NodeId, last: RaftLogId, block: &Block) -> Option<()> {
        let shown = self.shown.get_mut(&to)?;
        shown.go_on(last, |_, _| block.clone())?;
        let rpc = AppendEntriesRequest {
            vote: RaftVote::new_committed(last.leader_id.term, u64::from(self.me.get())),
            prev_log_id: Some(last),
            entries: shown.after(last),
            leader_commit: None,
        };
        let prev_chain = shown.chain(last)?;
        self.extra.push((to, PeerRequest::Append { rpc, prev_chain, proof: self.proof.clone() }));
        Some(())
    }
}
