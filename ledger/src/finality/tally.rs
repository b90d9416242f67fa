//! The valid votes that arrived in views above the final one, bounded whatever a liar signs.

use std::collections::BTreeMap;

use wallet::units::{BlockHeight, NodeId};

use crate::{
    block::View,
    certificate::Certificate,
    evidence::Evidence,
    vote::{Ballot, Vote, VoteKind},
};

/// Of each validator, votes of one kind are kept in at most this many views: the latest.
const VIEWS_KEPT: usize = 16;

/// Verified votes by what they are for and whose they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    votes: BTreeMap<(View, VoteKind, NodeId), Vote>,
}

impl Tally {
    /// Whether this very vote is here.
    pub(super) fn holds(&self, vote: &Vote) -> bool {
        let Ballot { view, kind, .. } = vote.statement;
        self.votes.get(&(view, kind, vote.validator)) == Some(vote)
    }

    /// Adds a verified vote. If its author voted for another block in that view, both votes come back as evidence, and a
    /// second one of the same kind does not count.
    pub(super) fn insert(&mut self, vote: Vote) -> Option<Evidence> {
        let Ballot { view, kind, .. } = vote.statement;
        let node = vote.validator;
        let same = |other: &Vote| {
            (other.statement.block, other.statement.height) == (vote.statement.block, vote.statement.height)
        };
        let kinds = [VoteKind::Notarize, VoteKind::Finalize];
        let contradicting =
            kinds.iter().find_map(|kind| self.votes.get(&(view, *kind, node)).filter(|other| !same(other)));
        let evidence = contradicting.map(|other| Evidence::DoubleVote(Box::new([*other, vote])));
        self.votes.entry((view, kind, node)).or_insert(vote);
        let of_node = self.votes.keys().filter(|(_, of_kind, of)| (*of_kind, *of) == (kind, node));
        if of_node.clone().count() > VIEWS_KEPT
            && let Some(oldest) = of_node.min().copied()
        {
            self.votes.remove(&oldest);
        }
        evidence
    }

    /// How many validators cast exactly this ballot.
    pub(super) fn count(&self, ballot: &Ballot) -> usize {
        self.of(ballot).count()
    }

    /// Who cast exactly this ballot, ascending.
    pub(super) fn voters(&self, ballot: &Ballot) -> Vec<NodeId> {
        self.of(ballot).map(|vote| vote.validator).collect()
    }

    /// The certificate that all votes for this ballot make.
    pub(super) fn certificate(&self, ballot: &Ballot) -> Certificate {
        Certificate {
            kind: ballot.kind,
            view: ballot.view,
            height: ballot.height,
            block: ballot.block,
            signatures: self.of(ballot).map(|vote| (vote.validator, vote.signature)).collect(),
        }
    }

    /// The votes of one validator.
    pub(super) fn of_node(&self, node: NodeId) -> impl Iterator<Item = &Vote> {
        self.votes.values().filter(move |vote| vote.validator == node)
    }

    /// The highest height that somebody voted at.
    pub(super) fn highest(&self) -> Option<BlockHeight> {
        self.votes.values().map(|vote| vote.statement.height).max()
    }

    /// Drops the votes up to a view that is final.
    pub(super) fn forget_up_to(&mut self, view: View) {
        self.votes.retain(|(voted, _, _), _| *voted > view);
    }

    /// What tells two tallies apart: who voted for what.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn outline(&self) -> impl Iterator<Item = (View, VoteKind, NodeId, wallet::digest::Digest)> {
        self.votes.iter().map(|((view, kind, node), vote)| (*view, *kind, *node, vote.statement.block))
    }

    fn of<'a>(&'a self, ballot: &'a Ballot) -> impl Iterator<Item = &'a Vote> {
        let (view, kind) = (ballot.view, ballot.kind);
        let nodes = (view, kind, NodeId::ZERO)..=(view, kind, NodeId::new(u32::MAX));
        self.votes.range(nodes).map(|(_, vote)| vote).filter(|vote| vote.statement == *ballot)
    }
}
