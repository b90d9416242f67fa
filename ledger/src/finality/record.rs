//! What this node's key has signed: durable before a vote leaves, so that a restart signs nothing else.

use std::collections::BTreeMap;

use genesis::Consortium;
use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, units::BlockHeight};

use crate::block::{Ballot, View, VoteKind};

/// The votes of one key that still matter: those at heights that are not final, and below which height it is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRecord {
    /// Nothing is ever signed at this height or below.
    floor: BlockHeight,
    signed: BTreeMap<(BlockHeight, VoteKind, View), Digest>,
}

/// Signing would contradict a vote that this key has cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WouldEquivocate {
    /// The height is final, or was when the key last voted.
    #[error("height is at or below the floor {floor}")]
    BelowFloor {
        /// The highest silent height.
        floor: BlockHeight,
    },
    /// Another block has this vote in this view.
    #[error("voted for {other} in this view")]
    SameView {
        /// The other block.
        other: Digest,
    },
    /// After `Finalize` at a height no other block of it gets a vote.
    #[error("finalized {other} at this height")]
    Finalized {
        /// The other block.
        other: Digest,
    },
}

impl VoteRecord {
    /// Whether exactly this was signed.
    pub fn has_signed(&self, ballot: &Ballot) -> bool {
        self.signed.get(&(ballot.height, ballot.kind, ballot.view)) == Some(&ballot.block)
    }

    /// Notes that `ballot` is signed. The same ballot may be noted again.
    ///
    /// # Errors
    /// [`WouldEquivocate`] if it must not be; the record is unchanged then.
    pub fn sign(&mut self, ballot: &Ballot) -> Result<(), WouldEquivocate> {
        if ballot.height <= self.floor {
            return Err(WouldEquivocate::BelowFloor { floor: self.floor });
        }
        for ((height, kind, view), other) in &self.signed {
            if other == &ballot.block {
                continue;
            }
            if *kind == ballot.kind && *view == ballot.view {
                return Err(WouldEquivocate::SameView { other: *other });
            }
            if *height == ballot.height && *kind == VoteKind::Finalize {
                return Err(WouldEquivocate::Finalized { other: *other });
            }
        }
        self.signed.insert((ballot.height, ballot.kind, ballot.view), ballot.block);
        Ok(())
    }

    /// A height became final: its votes are forgotten, and nothing up to it is signed any more.
    pub fn raise_floor(&mut self, height: BlockHeight) {
        self.floor = self.floor.max(height);
        self.signed.retain(|(height, _, _), _| *height > self.floor);
    }

    /// The block that `Finalize` was signed for at the highest height: a candidate for leader must hold it.
    pub fn highest_finalized(&self) -> Option<(BlockHeight, Digest)> {
        let finalized = self.signed.iter().filter(|((_, kind, _), _)| *kind == VoteKind::Finalize);
        finalized.map(|((height, _, _), block)| (*height, *block)).next_back()
    }

    /// The ballots signed above `height`.
    pub(super) fn ballots_above(&self, height: BlockHeight, consortium: &Consortium) -> Vec<Ballot> {
        self.signed
            .iter()
            .filter(|((signed, _, _), _)| *signed > height)
            .map(|(&(height, kind, view), &block)| Ballot {
                consortium: consortium.id(),
                epoch: consortium.validators().epoch,
                kind,
                view,
                height,
                block,
            })
            .collect()
    }
}
