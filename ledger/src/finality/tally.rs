//! The valid votes that arrived for heights that are not final, bounded whatever a liar signs.

use std::collections::BTreeMap;

use wallet::units::{BlockHeight, NodeId};

use crate::block::{Ballot, Certificate, View, Vote, VoteKind};

/// Of each validator, votes in at most this many views are kept for a height and kind: the latest.
const VIEWS_KEPT: usize = 8;

/// Verified votes by what they are for and whose they are.
#[derive(Debug, Default)]
pub(super) struct Tally {
    votes: BTreeMap<(BlockHeight, VoteKind, NodeId), BTreeMap<View, Vote>>,
}

impl Tally {
    /// Whether this very vote is here.
    pub(super) fn holds(&self, vote: &Vote) -> bool {
        let ballot = &vote.ballot;
        let of_node = self.votes.get(&(ballot.height, ballot.kind, vote.validator));
        of_node.and_then(|views| views.get(&ballot.view)) == Some(vote)
    }

    /// Adds a verified vote. If its author voted for another block in that view, the first vote stays and both come
    /// back as evidence.
    pub(super) fn insert(&mut self, vote: Vote) -> Option<[Vote; 2]> {
        let ballot = vote.ballot;
        let views = self.votes.entry((ballot.height, ballot.kind, vote.validator)).or_default();
        if let Some(first) = views.get(&ballot.view) {
            return (first.ballot != ballot).then(|| [first.clone(), vote]);
        }
        views.insert(ballot.view, vote);
        if views.len() > VIEWS_KEPT {
            views.pop_first();
        }
        None
    }

    /// How many validators cast exactly this ballot.
    pub(super) fn count(&self, ballot: &Ballot) -> usize {
        self.of(ballot).count()
    }

    /// Who cast exactly this ballot, ascending.
    pub(super) fn voters(&self, ballot: &Ballot) -> Vec<NodeId> {
        self.of(ballot).map(|vote| vote.validator).collect()
    }

    /// The certificate that all votes for this finalize ballot make.
    pub(super) fn certificate(&self, ballot: &Ballot) -> Certificate {
        Certificate {
            view: ballot.view,
            height: ballot.height,
            block: ballot.block,
            signatures: self.of(ballot).map(|vote| (vote.validator, vote.signature)).collect(),
        }
    }

    /// The highest height that somebody voted at.
    pub(super) fn highest(&self) -> Option<BlockHeight> {
        self.votes.keys().next_back().map(|(height, _, _)| *height)
    }

    /// Drops the votes up to a height that is final.
    pub(super) fn forget_up_to(&mut self, height: BlockHeight) {
        self.votes.retain(|(voted, _, _), _| *voted > height);
    }

    fn of<'a>(&'a self, ballot: &'a Ballot) -> impl Iterator<Item = &'a Vote> {
        let nodes = (ballot.height, ballot.kind, NodeId::ZERO)..=(ballot.height, ballot.kind, NodeId::new(u32::MAX));
        self.votes.range(nodes).filter_map(|(_, views)| views.get(&ballot.view)).filter(|vote| vote.ballot == *ballot)
    }
}
