//! Lies about what follows on an epoch, and to who joins: offers, hand-overs and chunks.

use genesis::ValidatorSet;
use ledger::{
    block::{Header, View},
    certificate::Certificate,
    hand_over::{ClosingProof, HandOver},
    shell::transport::{PeerReply, PeerRequest},
    snapshot::{ChunkPath, Offer},
    vote::{Ballot, Vote, VoteKind},
};
use openraft::EntryPayload;
use wallet::{
    codec,
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use crate::{Liar, lie::Lie};

/// What was handed out truly is kept to be handed out again for something else, so often.
const CHUNKS_KEPT: usize = 20;

impl Liar {
    /// What it hands out in place of `found` to a node that joins: the chunk at `path`, or its offer. None is that it has
    /// none.
    pub fn gives(&mut self, to: NodeId, path: Option<ChunkPath>, found: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if self.has(Lie::Silence) {
            return None;
        }
        let lie = match path {
            None => Lie::OfferForged,
            Some(_) if self.has(Lie::ChunksWithheld) && self.rng.percent(70) => Lie::ChunksWithheld,
            Some(ChunkPath::HandOvers { .. }) => Lie::HandOversForged,
            Some(_) => Lie::ChunksForged,
        };
        if !self.has(lie) || !self.rng.percent(70) {
            return found;
        }
        self.tell(lie, to);
        match lie {
            Lie::ChunksWithheld => None,
            Lie::OfferForged => found.and_then(|bytes| self.false_offer(&bytes)),
            Lie::HandOversForged => found.and_then(|bytes| self.false_hand_overs(&bytes)),
            _ => found.map(|bytes| self.false_chunk(bytes)),
        }
    }

    fn false_offer(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut offer: Offer = codec::decode(bytes).ok()?;
        match self.rng.range(0..7) {
            0 => offer.raft_index += self.rng.range(1..3),
            1 => offer.raft_index = offer.raft_index.saturating_sub(self.rng.range(1..3)),
            2 => offer.states = vec![BlockHeight::new(1), offer.tip.height],
            3 => offer.proof.certificate.signatures.truncate(1),
            4 => offer.tip.state_root = Digest([7; 32]),
            5 => {
                offer.tip = self.own_block(&offer.tip);
                offer.proof = self.own_word(&offer.tip);
            }
            _ => offer.tip.epoch += 1,
        }
        Some(codec::encode(&offer))
    }

    /// A block of its own that nobody else knows, on the tip: the first of an epoch in which it votes alone.
    fn own_block(&self, tip: &Header) -> Header {
        let set = self.own_set(tip.epoch + 1);
        Header {
            height: BlockHeight::new(tip.height.get() + 1),
            epoch: set.epoch,
            view: View { term: View::first_term(set.epoch), number: 1 },
            parent: tip.digest(),
            leader: self.me,
            time: Timestamp::new(tip.time.get() + 1),
            validators: set.hash(),
            next_validators: Digest::ZERO,
            ..tip.clone()
        }
    }

    /// A validator set of itself alone.
    fn own_set(&self, epoch: u64) -> ValidatorSet {
        ValidatorSet { epoch, members: vec![(self.me, self.signer.key.public_key())] }
    }

    /// A certificate that it signed alone.
    fn own_word(&self, header: &Header) -> ClosingProof {
        let vote = Vote::sign(Ballot::for_header(VoteKind::Finalize, header), &self.signer);
        let Ballot { kind, view, height, block, .. } = vote.statement;
        Certificate { kind, view, height, block, signatures: vec![(self.me, vote.signature)] }.into()
    }

    fn false_hand_overs(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut hand_overs: Vec<HandOver> = codec::decode(bytes).ok()?;
        let last = hand_overs.last_mut()?;
        match self.rng.range(0..6) {
            0 => last.proof.certificate.signatures.truncate(1),
            1 => last.next = self.own_set(last.next.epoch),
            2 => {
                last.next = self.own_set(last.next.epoch);
                last.closing.next_validators = last.next.hash();
                last.proof = self.own_word(&last.closing);
            }
            3 => last.closing.epoch += 1,
            4 => hand_overs.clear(),
            _ => {
                let first = hand_overs[0].clone();
                hand_overs.insert(0, first);
            }
        }
        Some(codec::encode(&hand_overs))
    }

    fn false_chunk(&mut self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self.chunks.len() < CHUNKS_KEPT {
            self.chunks.push(bytes.clone());
        }
        match self.rng.range(0..4) {
            0 => self.rng.pick(&self.chunks).clone(),
            1 => {
                bytes.truncate(bytes.len() / 2);
                bytes
            }
            _ => {
                let at = self.rng.range(0..bytes.len().max(1) as u64);
                let byte = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at));
                byte.into_iter().for_each(|byte| *byte ^= 1);
                bytes
            }
        }
    }

    /// In place of where it stands: that the block with which the epoch may end is final, by a carrier that it made up and
    /// signed alone.
    pub(super) fn false_closing(&mut self, to: NodeId) -> Option<PeerReply> {
        let closing = self.remembered.iter().rev().find_map(|request| {
            let PeerRequest::Append { rpc, .. } = request else { return None };
            let mut blocks = rpc.entries.iter().filter_map(|entry| match &entry.payload {
                EntryPayload::Normal(packed) => Some(&packed.block().header),
                _ => None,
            });
            blocks.find(|header| header.is_closing() && Some(header.epoch) == self.epoch()).cloned()
        })?;
        self.tell(Lie::ClosingForged, to);
        let carrier = Header {
            height: closing.height.next()?,
            view: closing.view.next()?,
            parent: closing.digest(),
            next_validators: Digest::ZERO,
            ..closing
        };
        let mut proof = self.own_word(&carrier);
        proof.carriers.push(carrier);
        Some(PeerReply::Closing(Box::new(proof)))
    }

    /// The epoch of its own final state.
    fn epoch(&self) -> Option<u64> {
        Some(self.tip.as_ref()?.state.epoch())
    }
}
