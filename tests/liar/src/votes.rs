//! Lies of a validator: what it signs.

use ledger::{
    block::{View, epoch_of},
    shell::{
        raft::TypeConfig,
        transport::{PeerRequest, VOTES_MAX, Word},
    },
    vote::{Ballot, Nullify, Signed, Vote, VoteKind},
};
use openraft::{EntryPayload, raft::AppendEntriesRequest};
use wallet::{
    digest::sha256,
    units::{BlockHeight, NodeId},
};

use crate::{Liar, lie::Lie};

impl Liar {
    /// The words that are sent in place of honest ones, if any.
    pub(super) fn words(&mut self, to: NodeId, mut words: Vec<Word>) -> Option<PeerRequest> {
        if self.has(Lie::NoVotes) || (self.has(Lie::VotesForOne) && to != self.favourite()) {
            return None;
        }
        if self.has(Lie::FinalizeWithheld) {
            self.withhold_words(to, &mut words);
            if words.is_empty() {
                return None;
            }
        }
        let votes: Vec<Vote> = words
            .iter()
            .filter_map(|word| match word {
                Word::Vote(vote) => Some(*vote),
                Word::Nullify { .. } => None,
            })
            .collect();
        for (lie, kind) in [(Lie::DoubleNotarize, VoteKind::Notarize), (Lie::DoubleFinalize, VoteKind::Finalize)] {
            if self.has(lie) {
                let of_kind = votes.iter().filter(|vote| vote.statement.kind == kind);
                words.extend(of_kind.map(|vote| Word::Vote(self.other_vote(&vote.statement))));
            }
        }
        if self.has(Lie::ForgedVotes) {
            words.extend(votes.iter().map(|vote| Word::Vote(Vote { validator: to, ..*vote })));
        }
        if self.has(Lie::NullifyFinalized) {
            let finalized = votes.iter().filter(|vote| vote.statement.kind == VoteKind::Finalize);
            words.extend(finalized.map(|vote| self.nullify(vote.statement.view, vote.statement.view.term)));
        }
        words.truncate(VOTES_MAX);
        Some(PeerRequest::Votes(words))
    }

    fn other_vote(&self, ballot: &Ballot) -> Vote {
        Vote::sign(Ballot { block: sha256("liar", &[ballot.block.as_bytes()]), ..*ballot }, &self.signer)
    }

    fn nullify(&self, from: View, through: u64) -> Word {
        let (consortium, epoch) = (self.consortium.id(), epoch_of(from.term));
        let vote = Signed::sign(Nullify { consortium, epoch, from, through }, &self.signer);
        Word::Nullify { vote, best: None }
    }

    fn both_votes(&self, ballot: Ballot) -> Vec<Word> {
        let vote = |kind| Word::Vote(Vote::sign(Ballot { kind, ..ballot }, &self.signer));
        [VoteKind::Notarize, VoteKind::Finalize].map(vote).to_vec()
    }

    /// Hears words of others.
    pub(super) fn sees_words(&mut self, words: &[Word]) {
        if !self.has(Lie::FinalizeUnseen) {
            return;
        }
        for word in words {
            // Once for each block: two such liars would answer each other for ever.
            if let Word::Vote(vote) = word
                && self.finalized_unseen.insert((vote.statement.view, vote.statement.block))
            {
                self.send_to_all(self.both_votes(vote.statement));
            }
        }
    }

    /// Hears an append.
    pub(super) fn sees_append(&mut self, rpc: &AppendEntriesRequest<TypeConfig>) {
        if !self.has(Lie::FinalizeUnseen) {
            return;
        }
        for entry in &rpc.entries {
            if let EntryPayload::Normal(block) = &entry.payload {
                self.send_to_all(self.both_votes(Ballot::for_header(VoteKind::Notarize, &block.block().header)));
            }
        }
    }

    /// Words that nobody asked for.
    pub(super) fn spontaneous_votes(&mut self) {
        if self.has(Lie::FarVotes) {
            let height = BlockHeight::new(self.rng.draw() >> self.rng.range(1..60));
            let view = View { term: self.rng.draw() >> self.rng.range(1..60), number: self.rng.range(1..90) };
            let ballot = Ballot {
                consortium: self.consortium.id(),
                epoch: view.epoch(),
                kind: VoteKind::Finalize,
                view,
                height,
                block: sha256("liar", &[&height.get().to_le_bytes()]),
            };
            let ballots = (0..8).map(|i| Ballot { height: BlockHeight::new(height.get().saturating_add(i)), ..ballot });
            self.send_to_all(ballots.map(|ballot| Word::Vote(Vote::sign(ballot, &self.signer))).collect());
        }
        if self.has(Lie::NullifyStorm) {
            let (from, ahead) = (View { term: self.rng.range(0..self.term + 1), number: 1 }, self.rng.range(0..40));
            let far = self.rng.draw() >> self.rng.range(0..60);
            let words = [self.term, self.term + ahead, far.max(self.term)].map(|through| self.nullify(from, through));
            self.send_to_all(words.to_vec());
        }
    }

    fn send_to_all(&mut self, words: Vec<Word>) {
        for to in self.others() {
            self.extra.push((to, PeerRequest::Votes(words.clone())));
        }
    }
}
