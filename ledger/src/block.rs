//! Blocks: what validators vote on, and what a certificate makes final.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::{PublicKey, SecretKey, Signature, context},
    units::{BlockHeight, LogIndex, NodeId, Timestamp},
};

use crate::{
    certificate::{Certificate, Nullification},
    checks::{Checks, Direct},
    event::Entry,
    re_genesis,
};

/// Terms of one epoch: those of epoch e are e times this many and 1, and what follows. So terms, and with them views and
/// raft's log ids, rise over all epochs, and a view says of itself which validator set votes in it.
pub const TERMS_PER_EPOCH: u64 = 1_000_000_000;

/// Where a block was proposed: the raft term and the number of the block within it, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct View {
    /// Raft term of the leader that proposed.
    pub term: u64,
    /// The how manieth block of that term.
    pub number: u64,
}

impl View {
    /// Where genesis stands.
    pub const START: Self = Self { term: 0, number: 0 };

    /// Where an epoch starts: below all its views and above all of the epochs before. Nothing is proposed there.
    pub const fn start_of(epoch: u64) -> Self {
        Self { term: epoch.saturating_mul(TERMS_PER_EPOCH), number: 0 }
    }

    /// The first term of an epoch, which needs no permit.
    pub const fn first_term(epoch: u64) -> u64 {
        Self::start_of(epoch).term.saturating_add(1)
    }

    /// Where a re-genesis stands that ends an epoch: in the last of its terms. Nobody proposes or votes there.
    pub const fn re_genesis(epoch: u64) -> Self {
        Self { term: Self::start_of(epoch).term.saturating_add(TERMS_PER_EPOCH - 1), number: 1 }
    }

    /// Whether it is in a term that is kept for a re-genesis.
    pub const fn is_re_genesis(self) -> bool {
        is_kept(self.term)
    }

    /// Which validator set votes in this view.
    pub const fn epoch(self) -> u64 {
        epoch_of(self.term)
    }

    /// The view after this one when its term or a later one leads; none for an earlier term.
    pub fn next_in(self, term: u64) -> Option<Self> {
        let number = match term.cmp(&self.term) {
            Ordering::Less => return None,
            Ordering::Equal => self.number.checked_add(1)?,
            Ordering::Greater => 1,
        };
        Some(Self { term, number })
    }

    /// The view after this one in its term; none after the last number.
    pub fn next(self) -> Option<Self> {
        self.next_in(self.term)
    }
}

/// Which validator set votes in a term.
pub const fn epoch_of(term: u64) -> u64 {
    term / TERMS_PER_EPOCH
}

/// Whether a term is the last one of its epoch: in it a re-genesis may stand, and nothing that is voted on.
pub const fn is_kept(term: u64) -> bool {
    term % TERMS_PER_EPOCH == TERMS_PER_EPOCH - 1
}

/// What is signed for. Its digest is the block's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// One more than the parent's.
    pub height: BlockHeight,
    /// Where it was proposed.
    pub view: View,
    /// Who proposed it: the leader of the view's term, whose key signs the digest.
    pub leader: NodeId,
    /// Which validator set votes: 0 is that of genesis.
    pub epoch: u64,
    /// Digest of the parent's header; zero at height 1.
    pub parent: Digest,
    /// Digest of the parent's certificate, which the block carries; zero at height 1.
    pub parent_certificate: Digest,
    /// Digest of the nullification of the views between the parent's and this one; zero if there is none between.
    pub skipped: Digest,
    /// Chain hash of the leader's raft log before the entry that holds this block; zero in an empty log. So a quorum of
    /// votes proves one common log up to the block, and not only the block.
    pub after: Digest,
    /// Number of leaves after this block.
    pub log_size: u64,
    /// RFC 9162 root of these leaves.
    pub log_root: Digest,
    /// Root of the sparse Merkle state tree after this block.
    pub state_root: Digest,
    /// Hash of the validator set that votes for this block.
    pub validators: Digest,
    /// In a closing block, the hash of the set that votes for the blocks after it; else zero. So a verifier sees
    /// hand-overs without a state.
    pub next_validators: Digest,
    /// Block time: later than the parent's.
    pub time: Timestamp,
}

impl Header {
    /// Whether no chain has both: they are other blocks of one height in one epoch.
    pub fn contradicts(&self, other: &Self) -> bool {
        (self.epoch, self.height) == (other.epoch, other.height) && self != other
    }

    /// Whether another validator set votes for the blocks after this one: it closes its epoch.
    pub fn is_closing(&self) -> bool {
        self.next_validators != Digest::ZERO
    }

    /// Of a closing block: how many entries of the log are the word of its epoch. That of a re-genesis is none of the old
    /// set's.
    pub const fn ends_at(&self) -> u64 {
        self.log_size.saturating_sub(self.view.is_re_genesis() as u64)
    }

    /// How many epochs have ended with what proves it final: of a re-genesis that is its own, too, because it is final by
    /// its hand-over and not by a set.
    pub const fn epochs_ended(&self) -> u64 {
        self.epoch.saturating_add(self.view.is_re_genesis() as u64)
    }

    /// The block's digest: what votes name.
    pub fn digest(&self) -> Digest {
        sha256("batchmind/v1/ledger/header", &[&codec::encode(self)])
    }

    /// The leader's word that it proposes this block in this view. Two of them in one view are evidence.
    pub fn sign(&self, leader: &SecretKey) -> Signature {
        leader.sign(context::LEDGER_PROPOSAL, self.digest().as_bytes())
    }

    /// The name in force from this block on: the header's own, unless a re-genesis gives another.
    pub fn name(&self) -> Digest {
        match self.view.is_re_genesis() {
            true => re_genesis::name(&self.consortium, &self.digest()),
            false => self.consortium,
        }
    }

    /// Whether `leader` signed this header as its proposal. Nobody proposes a re-genesis: it is its operators' word alone.
    pub fn is_proposed_by(&self, leader: &PublicKey, proposal: &Signature) -> bool {
        self.is_proposed_by_with(leader, proposal, &Direct)
    }

    /// [`Self::is_proposed_by`] with a memory of what was checked before.
    pub(crate) fn is_proposed_by_with(&self, leader: &PublicKey, proposal: &Signature, checks: &dyn Checks) -> bool {
        !self.view.is_re_genesis()
            && checks.verify_vote(leader, context::LEDGER_PROPOSAL, self.digest().as_bytes(), proposal).is_ok()
    }
}

/// A header with what it covers. One raft log entry holds one block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What is signed for.
    pub header: Header,
    /// By the leader's key, over the header's digest; zero in a re-genesis.
    pub proposal: Signature,
    /// A quorum's word for the parent, notarized or final; none at height 1.
    pub parent_certificate: Option<Certificate>,
    /// In the first block of an epoch, the carriers from the closing block up to the block that `parent_certificate` names:
    /// none if that is the closing block itself. In all others there are none.
    pub carriers: Vec<Header>,
    /// Why no view between the parent's and this one can make another block final; none if there is none between.
    pub skipped: Option<Nullification>,
    /// The leaves that this block adds.
    pub entries: Vec<Entry>,
}

/// A final block with its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalBlock {
    /// The block.
    pub block: Block,
    /// What made it final; of kind `Notarize` where a later block's certificate did. Of a block that closes its epoch,
    /// that of the last of the carriers if there are any.
    pub certificate: Certificate,
    /// Above a block that closes its epoch, up to what the certificate names; see [`crate::hand_over`].
    pub carriers: Vec<Header>,
}

impl FinalBlock {
    /// The place of the block's first leaf.
    pub fn first_index(&self) -> LogIndex {
        LogIndex::new(self.block.header.log_size - self.block.entries.len() as u64)
    }
}
