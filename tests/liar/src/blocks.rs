//! Lies of a leader: what it shows to its followers in place of its log.

use ledger::{
    block::{Block, View},
    event::EntryParts,
    execute::{Executed, Place, propose},
    shell::{
        raft::{RaftEntry, RaftLogId, TypeConfig},
        terms::Proof,
        transport::{PeerRequest, Word},
    },
    vote::{Ballot, Vote, VoteKind},
};
use openraft::{CommittedLeaderId, EntryPayload, raft::AppendEntriesRequest};
use wallet::{
    digest::{Digest, sha256},
    units::{NodeId, Timestamp},
};

use crate::{Liar, lie::Lie};

/// Lies that change a block.
const CHANGES: &[Lie] = &[
    Lie::Equivocate,
    Lie::BlockForEach,
    Lie::WrongStateRoot,
    Lie::WrongLogRoot,
    Lie::TimeAhead,
    Lie::TimeBehind,
    Lie::WithholdCertificate,
    Lie::RepeatedSigner,
    Lie::WrongParent,
    Lie::SkipViews,
    Lie::OtherLeader,
    Lie::ForgedEntry,
    Lie::WrongNextSet,
];

impl Liar {
    /// The append that is sent in place of an honest one, if any.
    pub(super) fn append(
        &mut self,
        to: NodeId,
        mut rpc: AppendEntriesRequest<TypeConfig>,
        prev_chain: Digest,
        mut proof: Option<Box<Proof>>,
    ) -> Option<PeerRequest> {
        let term = rpc.vote.leader_id.term;
        if self.fell_silent(term) {
            return None;
        }
        // To whom it has shown another log than its own, it shows that one to the end of the term.
        if self.lies.is_empty() && !self.shown.values().any(|shown| shown.is_of(term)) {
            self.shown.clear();
            return Some(PeerRequest::Append { rpc, prev_chain, proof });
        }
        let is_block = |entry: &RaftEntry| matches!(entry.payload, EntryPayload::Normal(_));
        if rpc.entries.iter().any(is_block)
            && (self.has(Lie::Stall)
                || (self.has(Lie::WithholdBlocks) && to != self.favourite())
                || (self.has(Lie::FinalizeWithheld) && !self.serves(to)))
        {
            rpc.entries.truncate(rpc.entries.iter().position(is_block).unwrap_or(0));
        }
        if self.has(Lie::FalseCommit) {
            let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
            rpc.leader_commit = last.map(|last| RaftLogId::new(last.leader_id, last.index + self.rng.range(0..3)));
        }
        let mut shown = self.shown.remove(&to).unwrap_or_default();
        self.shorten(term, &mut rpc.entries, &shown);
        let (entries, prev_chain) =
            shown.show(rpc.prev_log_id, prev_chain, rpc.entries, |entry| self.change_entry(to, entry));
        if self.has(Lie::FinalizeWithheld) {
            self.begin_unfinal(term, &entries);
        }
        rpc.entries = entries;
        self.lengthen(to, &mut rpc, &mut shown);
        self.shown.insert(to, shown);
        if self.has(Lie::Truncate) && self.rng.percent(30) {
            self.truncate(to, &rpc, prev_chain);
        }
        if self.has(Lie::WithholdProof) {
            proof = proof.filter(|_| self.rng.percent(50)).map(|mut proof| {
                proof.leadership.grants.truncate(1);
                proof
            });
        }
        Some(PeerRequest::Append { rpc, prev_chain, proof })
    }

    fn change_entry(&mut self, to: NodeId, mut entry: RaftEntry) -> RaftEntry {
        if let EntryPayload::Normal(packed) = &mut entry.payload {
            let mut block = packed.block().clone();
            for lie in CHANGES {
                if self.has(*lie) {
                    self.change(*lie, to, &mut block);
                }
            }
            if block.header.digest() != packed.block().header.digest() {
                block.proposal = block.header.sign(&self.signer.key);
                self.vote_for(to, &block);
            }
            if self.has(Lie::OtherBody) && to == self.favourite() {
                self.tell(Lie::OtherBody, to);
                self.change_body(&mut block);
            }
            *packed = block.into();
        } else if self.has(Lie::Junk) && to == self.favourite() && self.rng.percent(50) {
            // Its blank becomes something else under the same id.
            entry.payload = EntryPayload::Membership(openraft::Membership::new(vec![[1, 2, 3].into()], ()));
        } else if self.has(Lie::Membership) && self.rng.percent(50) {
            entry.payload =
                EntryPayload::Membership(openraft::Membership::new(vec![[u64::from(self.me.get())].into()], ()));
        }
        entry
    }

    fn change(&mut self, lie: Lie, to: NodeId, block: &mut Block) {
        let header = &mut block.header;
        let later = |time: Timestamp, ms: u64| Timestamp::new(time.get().saturating_add(ms));
        match lie {
            Lie::Equivocate if self.others().iter().position(|node| *node == to).is_some_and(|at| at % 2 == 1) => {
                header.time = later(header.time, 1)
            }
            Lie::BlockForEach => header.time = later(header.time, u64::from(to.get()) + 1),
            Lie::WrongStateRoot => header.state_root = sha256("liar", &[header.state_root.as_bytes()]),
            Lie::WrongLogRoot => header.log_root = sha256("liar", &[header.log_root.as_bytes()]),
            Lie::TimeAhead => header.time = later(header.time, 3_600_000),
            Lie::TimeBehind => header.time = Timestamp::new(self.consortium.created().get() + 1 + header.height.get()),
            Lie::WithholdCertificate => {
                block.parent_certificate = None;
                header.parent_certificate = Digest::ZERO;
            }
            Lie::RepeatedSigner => {
                if let Some(certificate) = &mut block.parent_certificate
                    && let [first, second, ..] = &mut certificate.signatures[..]
                {
                    *second = *first;
                    header.parent_certificate = certificate.digest();
                }
            }
            Lie::WrongParent => header.parent = sha256("liar", &[header.parent.as_bytes()]),
            Lie::SkipViews => header.view = View { number: header.view.number + 3, ..header.view },
            Lie::OtherLeader => header.leader = to,
            Lie::ForgedEntry => self.forge_entry(block),
            Lie::WrongNextSet if header.is_closing() || self.rng.percent(10) => {
                header.next_validators = sha256("liar", &[header.validators.as_bytes()]);
                self.tell(lie, to);
            }
            _ => {}
        }
    }

    /// Changes what an author signed, with roots that follow from it. Where the rules refuse the forged entry it is left
    /// out of the block.
    fn forge_entry(&self, block: &mut Block) {
        let header = &block.header;
        let Some(parent) = self.tip.as_ref().filter(|tip| tip.digest == header.parent) else { return };
        let (parent, certificate) = (Executed::clone(parent), block.parent_certificate.clone());
        let place = Place {
            parent,
            certificate,
            carriers: block.carriers.clone(),
            skipped: block.skipped.clone(),
            view: header.view,
            after: header.after,
        };
        let mut entries = block.entries.clone();
        if let Some(entry) = entries.iter_mut().find(|entry| entry.body.author != self.me) {
            let mut forged = EntryParts::clone(entry);
            forged.body.nonce[15] ^= 1;
            *entry = forged.into();
        }
        *block = propose(&self.consortium, place, &self.signer, header.time, entries).block;
    }

    /// The liar's votes for a block that only `to` was shown.
    fn vote_for(&mut self, to: NodeId, block: &Block) {
        let vote = |kind| Vote::sign(Ballot::for_header(kind, &block.header), &self.signer);
        let votes = [VoteKind::Notarize, VoteKind::Finalize].map(|kind| Word::Vote(vote(kind)));
        self.extra.push((to, PeerRequest::Votes(votes.to_vec())));
    }

    /// Another entry in place of the last one.
    fn truncate(&mut self, to: NodeId, rpc: &AppendEntriesRequest<TypeConfig>, prev_chain: Digest) {
        let mut rpc = rpc.clone();
        let Some(last) = rpc.entries.pop().map(|entry| entry.log_id).or(rpc.prev_log_id) else { return };
        let payload = EntryPayload::Blank;
        rpc.entries.push(RaftEntry { log_id: last, payload });
        self.extra.push((to, PeerRequest::Append { rpc, prev_chain, proof: None }));
    }

    /// Raft messages that it sends by itself.
    pub(super) fn spontaneous_raft(&mut self) {
        let forged = [(Lie::ForgedAppend, self.term + 1), (Lie::WildTerms, u64::MAX - self.rng.range(0..3))];
        for (lie, term) in forged {
            if !self.has(lie) || !self.rng.percent(30) {
                continue;
            }
            let prev = RaftLogId::new(CommittedLeaderId::new(term, u64::from(self.me.get())), self.rng.range(0..40));
            for to in self.others() {
                let rpc = AppendEntriesRequest {
                    vote: openraft::Vote::new_committed(term, u64::from(self.me.get())),
                    prev_log_id: self.rng.percent(50).then_some(prev),
                    entries: Vec::new(),
                    leader_commit: self.rng.percent(50).then_some(prev),
                };
                self.extra.push((to, PeerRequest::Append { rpc, prev_chain: Digest::ZERO, proof: self.proof.clone() }));
            }
        }
    }
}
