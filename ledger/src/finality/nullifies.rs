//! The valid votes against views that arrived, bounded whatever a liar signs, and what a quorum of them proves.

use std::collections::BTreeMap;

use wallet::units::NodeId;

use crate::{
    block::View,
    certificate::Nullification,
    vote::{Nullify, SignedNullify},
};

/// Of each validator at most this many votes are kept: those through the latest terms. An honest one has more than one
/// only if blocks were certified between two that it signed.
const VOTES_KEPT: usize = 4;

/// Verified nullify votes by whose they are: none of a validator's says no more than another, so both ends ascend.
#[derive(Clone, Debug, Default)]
pub(super) struct Nullifies {
    votes: BTreeMap<NodeId, Vec<SignedNullify>>,
}

impl Nullifies {
    /// Whether this vote says nothing that is not known.
    pub(super) fn knows(&self, vote: &SignedNullify) -> bool {
        self.of_node(vote.validator).any(|held| implies(&held.statement, &vote.statement))
    }

    /// Adds a verified vote.
    pub(super) fn insert(&mut self, vote: SignedNullify) {
        if self.knows(&vote) {
            return;
        }
        let votes = self.votes.entry(vote.validator).or_default();
        votes.retain(|held| !implies(&vote.statement, &held.statement));
        let at = votes.partition_point(|held| held.statement.through < vote.statement.through);
        votes.insert(at, vote);
        if votes.len() > VOTES_KEPT {
            votes.remove(0);
        }
    }

    /// The highest term whose rest at least `count` validators gave up.
    pub(super) fn through(&self, count: usize) -> Option<u64> {
        let last = |votes: &Vec<SignedNullify>| votes.last().map(|vote| vote.statement.through);
        let mut through: Vec<u64> = self.votes.values().filter_map(last).collect();
        through.sort_unstable_by(|one, other| other.cmp(one));
        through.get(count.checked_sub(1)?).copied()
    }

    /// Why `term` may have a leader, if `quorum` validators gave up all terms before it.
    pub(super) fn permit(&self, term: u64, quorum: usize) -> Option<Nullification> {
        let permits = |vote: &Nullify| vote.through.checked_add(1).is_some_and(|next| term <= next);
        self.quorum_of(permits, quorum)
    }

    /// Why a block in `(term, 1)` may follow one in `parent`, if `quorum` validators gave up what lies between.
    pub(super) fn bridge(&self, parent: View, term: u64, quorum: usize) -> Option<Nullification> {
        let next = parent.next()?;
        let permits = |vote: &Nullify| vote.through.checked_add(1).is_some_and(|after| term <= after);
        self.quorum_of(|vote| vote.from <= next && permits(vote), quorum)
    }

    /// Who gave up the rest of `term`.
    pub(super) fn who_ended(&self, term: u64) -> Vec<NodeId> {
        let ended = |votes: &[SignedNullify]| votes.iter().any(|vote| vote.statement.through >= term);
        self.votes.iter().filter(|(_, votes)| ended(votes)).map(|(node, _)| *node).collect()
    }

    /// The votes of one validator.
    pub(super) fn of_node(&self, node: NodeId) -> impl Iterator<Item = &SignedNullify> {
        self.votes.get(&node).into_iter().flatten()
    }

    /// Drops what only speaks of terms before one in which a block is final.
    pub(super) fn forget_before(&mut self, term: u64) {
        self.votes.values_mut().for_each(|votes| votes.retain(|vote| vote.statement.through >= term));
        self.votes.retain(|_, votes| !votes.is_empty());
    }

    /// What tells two of these apart.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn outline(&self) -> impl Iterator<Item = (NodeId, View, u64)> {
        let of = |vote: &SignedNullify| (vote.validator, vote.statement.from, vote.statement.through);
        self.votes.values().flatten().map(of)
    }

    /// A fitting vote of each of `quorum` validators, the first in order.
    fn quorum_of(&self, fits: impl Fn(&Nullify) -> bool, quorum: usize) -> Option<Nullification> {
        let of_validator = |votes: &Vec<SignedNullify>| votes.iter().find(|vote| fits(&vote.statement)).copied();
        let votes: Vec<SignedNullify> = self.votes.values().filter_map(of_validator).take(quorum).collect();
        (votes.len() == quorum).then_some(Nullification { votes })
    }
}

/// Whether whoever said `one` has said `other` with it.
fn implies(one: &Nullify, other: &Nullify) -> bool {
    one.from <= other.from && other.through <= one.through
}
