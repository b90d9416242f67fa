//! What this node's key has signed: durable before a signature leaves, so that a restart signs nothing else.
//!
//! The rules make every honest signature harmless. In a view the key votes for one block, and finalizes only what it
//! notarized. It votes in no view that it gave up, and gives up no view in which it finalized. In a term it follows one
//! leader. What is forgotten lies in views at or below a floor, or in views that were given up: nothing is signed there
//! ever again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use crate::{
    block::{View, epoch_of},
    planted::planted,
    vote::{Ballot, Grant, Nullify, VoteKind},
};

/// A record holds at most this many votes, and this many spans of views that were given up. When there are more, the
/// floor rises above the oldest.
pub const RECORD_MAX: usize = 256;

/// What one key signed that still matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VoteRecord {
    /// Nothing is ever signed in this view or an earlier one.
    pub(super) floor: View,
    /// Blocks are voted for and candidates granted in this term at the earliest. Above zero only for a key that may have
    /// signed more than its record says.
    pub(super) terms_from: u64,
    /// The term that the node has entered.
    pub(super) term: u64,
    /// The votes for blocks, by view.
    pub(super) voted: BTreeMap<View, Voted>,
    /// The views given up: spans in ascending order, with others between them.
    pub(super) nullified: Vec<Span>,
    /// The last term in which a candidate was granted, and who.
    pub(super) granted: Option<(u64, NodeId)>,
}

/// A vote for a block. It notarizes, and may finalize as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Voted {
    pub(super) height: BlockHeight,
    pub(super) block: Digest,
    pub(super) finalized: bool,
}

/// All views from one up to the end of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) from: View,
    pub(super) through: u64,
}

impl Span {
    fn covers(&self, view: View) -> bool {
        self.from <= view && view.term <= self.through
    }

    /// Whether no view lies between this and the later `next`.
    fn meets(&self, next: &Self) -> bool {
        let first_after = View { term: self.through.saturating_add(1), number: 1 };
        next.from <= first_after
    }
}

/// Signing would contradict what this key has signed, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WouldEquivocate {
    /// The view is final, or an earlier one, or what was signed there is forgotten.
    #[error("the view is at or below the floor {floor:?}")]
    BelowFloor {
        /// The highest silent view.
        floor: View,
    },
    /// The key came back without all that it had signed.
    #[error("the term is before {from}, from which on this key is used again")]
    BeforeReturn {
        /// The first term.
        from: u64,
    },
    /// The key gave this view up.
    #[error("the view was given up")]
    GivenUp,
    /// Another block has this key's vote in this view.
    #[error("voted for {other} in this view")]
    SameView {
        /// The other block.
        other: Digest,
    },
    /// A block is notarized before it is finalized.
    #[error("did not notarize it")]
    NotNotarized,
    /// The key finalized a block in one of these views.
    #[error("finalized a block in view {view:?}")]
    Finalized {
        /// The view.
        view: View,
    },
    /// There is no view between the two ends.
    #[error("the span is empty")]
    Empty,
    /// Another candidate has this key's grant for this term.
    #[error("granted the term to node {other}")]
    SameTerm {
        /// The other candidate.
        other: NodeId,
    },
    /// The term is over.
    #[error("the term is before {term}, which was entered")]
    TermOver {
        /// The term that was entered.
        term: u64,
    },
}

impl VoteRecord {
    /// Whether exactly this was signed, as far as the record goes back.
    pub fn has_signed(&self, ballot: &Ballot) -> bool {
        self.voted.get(&ballot.view).is_some_and(|voted| {
            (voted.height, voted.block) == (ballot.height, ballot.block)
                && (voted.finalized || ballot.kind == VoteKind::Notarize)
        })
    }

    /// Notes that `ballot` is signed. The same ballot may be noted again.
    ///
    /// # Errors
    /// [`WouldEquivocate`] if it must not be; the record is unchanged then.
    pub fn sign(&mut self, ballot: &Ballot) -> Result<(), WouldEquivocate> {
        let view = ballot.view;
        if view <= self.floor {
            return Err(WouldEquivocate::BelowFloor { floor: self.floor });
        }
        if view.term < self.terms_from {
            return Err(WouldEquivocate::BeforeReturn { from: self.terms_from });
        }
        let finalized = ballot.kind == VoteKind::Finalize;
        let may_all_the_same = match ballot.kind {
            VoteKind::Notarize => planted!(NotarizeAfterNullify),
            VoteKind::Finalize => planted!(FinalizeAfterNullify),
        };
        if !may_all_the_same && self.nullified.iter().any(|span| span.covers(view)) {
            return Err(WouldEquivocate::GivenUp);
        }
        match self.voted.get_mut(&view) {
            Some(voted) if (voted.height, voted.block) != (ballot.height, ballot.block) && !planted!(NotarizeTwice) => {
                return Err(WouldEquivocate::SameView { other: voted.block });
            }
            Some(voted) if planted!(NotarizeTwice) => {
                *voted = Voted { height: ballot.height, block: ballot.block, finalized };
            }
            Some(voted) => voted.finalized |= finalized,
            None if finalized => return Err(WouldEquivocate::NotNotarized),
            None => {
                self.voted.insert(view, Voted { height: ballot.height, block: ballot.block, finalized });
            }
        }
        while self.voted.len() > RECORD_MAX
            && let Some((oldest, _)) = self.voted.pop_first()
        {
            self.floor = self.floor.max(oldest);
        }
        Ok(())
    }

    /// Notes that all views from `from` up to the end of term `through` are given up. Votes that do not finalize are
    /// forgotten there.
    ///
    /// # Errors
    /// [`WouldEquivocate`] if one of them must not be given up; the record is unchanged then.
    pub fn nullify(&mut self, from: View, through: u64) -> Result<(), WouldEquivocate> {
        let mut span = Span { from, through };
        if through < from.term {
            return Err(WouldEquivocate::Empty);
        }
        if from <= self.floor {
            return Err(WouldEquivocate::BelowFloor { floor: self.floor });
        }
        if let Some((view, _)) = self.voted.iter().find(|(view, voted)| voted.finalized && span.covers(**view))
            && !planted!(NullifyAfterFinalize)
        {
            return Err(WouldEquivocate::Finalized { view: *view });
        }
        self.voted.retain(|view, _| !span.covers(*view) || planted!(FinalizeAfterNullify));
        let mut apart = Vec::new();
        for other in self.nullified.drain(..) {
            if other.meets(&span) && span.meets(&other) {
                span = Span { from: span.from.min(other.from), through: span.through.max(other.through) };
            } else {
                apart.push(other);
            }
        }
        let at = apart.partition_point(|other| other.from < span.from);
        apart.insert(at, span);
        self.nullified = apart;
        if self.nullified.len() > RECORD_MAX {
            let oldest = self.nullified.remove(0);
            self.raise_floor(View { term: oldest.through, number: u64::MAX });
        }
        Ok(())
    }

    /// Notes that `candidate` is followed in `term`. The same grant may be noted again.
    ///
    /// # Errors
    /// [`WouldEquivocate`] if it must not be; the record is unchanged then.
    pub fn grant(&mut self, term: u64, candidate: NodeId) -> Result<(), WouldEquivocate> {
        if term < self.terms_from {
            return Err(WouldEquivocate::BeforeReturn { from: self.terms_from });
        }
        match self.granted {
            Some((granted, other)) if granted == term && other != candidate && !planted!(SecondGrant) => {
                return Err(WouldEquivocate::SameTerm { other });
            }
            Some((granted, _)) if term < granted => return Err(WouldEquivocate::TermOver { term: granted }),
            _ if term < self.term => return Err(WouldEquivocate::TermOver { term: self.term }),
            _ => {}
        }
        self.granted = Some((term, candidate));
        Ok(())
    }

    /// Notes that the node is in `term`: it grants no earlier one any more.
    pub fn enter(&mut self, term: u64) {
        self.term = self.term.max(term);
    }

    /// The block of `view` became final: what was signed up to there is forgotten, and nothing is signed there any more.
    pub fn raise_floor(&mut self, view: View) {
        self.floor = self.floor.max(view);
        self.voted.retain(|voted, _| *voted > self.floor);
        self.nullified.retain(|span| span.through >= self.floor.term);
    }

    /// The highest term whose rest this key gave up.
    pub fn nullified_through(&self) -> Option<u64> {
        self.nullified.last().map(|span| span.through)
    }

    /// The block that `Finalize` was signed for in the highest view: the own log must not lose it.
    pub fn highest_finalized(&self) -> Option<(BlockHeight, Digest)> {
        self.finalized().map(|(_, voted)| (voted.height, voted.block))
    }

    /// The votes for blocks that the record holds: view, height, block and kind. A block that was finalized comes twice.
    pub fn votes(&self) -> impl Iterator<Item = (View, BlockHeight, Digest, VoteKind)> {
        self.voted.iter().flat_map(|(view, voted)| {
            let finalize = voted.finalized.then_some(VoteKind::Finalize);
            [Some(VoteKind::Notarize), finalize]
                .into_iter()
                .flatten()
                .map(|kind| (*view, voted.height, voted.block, kind))
        })
    }

    /// The spans of views that were given up: from a view up to the end of a term.
    pub fn given_up(&self) -> impl Iterator<Item = (View, u64)> {
        self.nullified.iter().map(|span| (span.from, span.through))
    }

    /// The highest view in which `Finalize` was signed.
    pub(super) fn finalized_view(&self) -> Option<View> {
        self.finalized().map(|(view, _)| *view)
    }

    /// All that may be sent again, as statements of `consortium`.
    pub(super) fn ballots(&self, consortium: Digest) -> Vec<Ballot> {
        self.votes()
            .map(|(view, height, block, kind)| Ballot { consortium, epoch: view.epoch(), kind, view, height, block })
            .collect()
    }

    /// See [`Self::ballots`].
    pub(super) fn nullifies(&self, consortium: Digest) -> Vec<Nullify> {
        let nullify = |&Span { from, through }: &Span| Nullify { consortium, epoch: from.epoch(), from, through };
        self.nullified.iter().map(nullify).collect()
    }

    /// See [`Self::ballots`].
    pub(super) fn last_grant(&self, consortium: Digest) -> Option<Grant> {
        self.granted.map(|(term, candidate)| Grant { consortium, epoch: epoch_of(term), term, candidate })
    }

    fn finalized(&self) -> Option<(&View, &Voted)> {
        self.voted.iter().rev().find(|(_, voted)| voted.finalized)
    }
}
