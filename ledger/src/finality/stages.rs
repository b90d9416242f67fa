//! The blocks of the own raft log above the final one: a tree of those that were executed, and those that wait.

use std::{collections::BTreeMap, sync::Arc};

use wallet::{
    digest::Digest,
    identity::Signature,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{EARLY_BLOCKS_MAX, PENDING_BLOCKS_MAX};
use crate::{
    block::{Block, Header, View},
    evidence::Evidence,
    execute::{BlockInvalid, Executed},
};

/// Of each leader, proposals in at most this many views are remembered: the latest.
const PROPOSALS_KEPT: usize = 64;

/// Where the own raft log holds a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) log_index: u64,
    pub(super) term: u64,
    pub(super) leader: NodeId,
    pub(super) after: Digest,
}

/// A block in the raft log.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    pub(super) term: u64,
    pub(super) header: Header,
    pub(super) digest: Digest,
    /// By the own clock, when it was flushed.
    pub(super) arrived: Timestamp,
    /// Ticks that it has seen, up to those at which a late one is complained of.
    pub(super) ticks: u32,
    pub(super) outcome: Outcome,
}

/// What became of a block so far.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// Not judged yet.
    Waiting(Arc<Block>),
    /// Its time is ahead of the clock.
    Early(Arc<Block>, BlockInvalid),
    /// It is valid on its parent, which is the tip or executed as well.
    Executed(Arc<Block>, Executed),
    /// Waiting cannot make it valid.
    Refused(BlockInvalid),
}

impl Staged {
    pub(super) fn executed(&self) -> Option<&Executed> {
        match &self.outcome {
            Outcome::Executed(_, executed) => Some(executed),
            _ => None,
        }
    }

    /// The block, unless it was refused.
    pub(super) fn block(&self) -> Option<&Arc<Block>> {
        match &self.outcome {
            Outcome::Waiting(block) | Outcome::Early(block, _) | Outcome::Executed(block, _) => Some(block),
            Outcome::Refused(_) => None,
        }
    }

    /// Why waiting cannot make it valid.
    pub(super) fn refused(&self) -> Option<&BlockInvalid> {
        match &self.outcome {
            Outcome::Refused(reason) => Some(reason),
            _ => None,
        }
    }

    /// Why it is not voted for.
    pub(super) fn reason(&self) -> Option<&BlockInvalid> {
        match &self.outcome {
            Outcome::Early(_, reason) | Outcome::Refused(reason) => Some(reason),
            Outcome::Waiting(_) | Outcome::Executed(..) => None,
        }
    }

    /// Whether it was refused for the time, or for what this log holds beside it or in its place, and not for what a
    /// quorum votes for.
    pub(super) fn is_out_of_place(&self) -> bool {
        use BlockInvalid::{Misplaced, OtherBody};
        self.may_come_right() || self.refused().is_some_and(|reason| matches!(reason, Misplaced | OtherBody))
    }

    /// Whether it was refused for something that a certificate may set right, of itself or of its parent.
    fn may_come_right(&self) -> bool {
        use BlockInvalid::{Parent, TimeAhead, ViewTaken};
        self.refused().is_some_and(|reason| matches!(reason, ViewTaken | Parent { .. } | TimeAhead { .. }))
    }
}

/// See the module. A block's parent stands before it in the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Stages {
    by_index: BTreeMap<u64, Staged>,
    /// What leaders were seen to propose, be it cut from the log since. By leader, so that nobody takes the views of
    /// another, or the room for them.
    proposed: BTreeMap<(NodeId, View), (Header, Signature)>,
    /// Between which indices, both included, refused blocks were forgotten.
    pruned: Option<(u64, u64)>,
    /// When those came that are read once more.
    arrived: BTreeMap<Digest, Timestamp>,
}

impl Stages {
    /// Whether as many blocks wait as may. Only those count that were executed, for which a quorum must have voted but
    /// for the last in a row: the others cost a liar nothing.
    pub(super) fn is_full(&self) -> bool {
        self.executed().count() >= PENDING_BLOCKS_MAX
    }

    /// Whether another block may wait for its time.
    pub(super) fn may_be_early(&self) -> bool {
        let early = self.by_index.values().filter(|staged| matches!(staged.outcome, Outcome::Early(..)));
        early.count() < EARLY_BLOCKS_MAX
    }

    /// Whether this very entry is here.
    pub(super) fn holds(&self, place: &Place, digest: &Digest) -> bool {
        let held = self.by_index.get(&place.log_index);
        held.is_some_and(|held| held.digest == *digest && held.term == place.term)
    }

    /// Adds a block of the log.
    pub(super) fn insert(&mut self, place: Place, block: Box<Block>, digest: Digest, arrived: Timestamp) {
        let Place { log_index, term, leader, after } = place;
        let arrived = self.arrived.remove(&digest).unwrap_or(arrived);
        let header = block.header.clone();
        let placed = (term, leader, after) == (header.view.term, header.leader, header.after);
        let outcome =
            if placed { Outcome::Waiting(Arc::from(block)) } else { Outcome::Refused(BlockInvalid::Misplaced) };
        self.by_index.insert(log_index, Staged { term, header, digest, arrived, ticks: 0, outcome });
    }

    /// Forgets refused blocks beyond the first that say enough.
    pub(super) fn prune(&mut self) {
        let refused = self.by_index.iter().filter(|(_, staged)| staged.refused().is_some()).map(|(index, _)| *index);
        let beyond: Vec<u64> = refused.skip(PENDING_BLOCKS_MAX).collect();
        for index in beyond {
            self.by_index.remove(&index);
            let (first, last) = self.pruned.unwrap_or((index, index));
            self.pruned = Some((first.min(index), last.max(index)));
        }
    }

    /// Notes a proposal whose signature holds. If its leader proposed another one in that view, both come back.
    pub(super) fn note_proposal(&mut self, block: &Block) -> Option<Evidence> {
        let (leader, view) = (block.header.leader, block.header.view);
        let first = self.proposed.entry((leader, view)).or_insert_with(|| (block.header.clone(), block.proposal));
        let (header, signature) = first;
        let evidence = (*header != block.header).then(|| Evidence::DoubleProposal {
            headers: Box::new([header.clone(), block.header.clone()]),
            signatures: [*signature, block.proposal],
        });
        let last = View { term: u64::MAX, number: u64::MAX };
        let mut of_leader = self.proposed.range((leader, View::START)..=(leader, last)).map(|(key, _)| *key);
        if let Some(oldest) = of_leader.next().filter(|_| of_leader.count() >= PROPOSALS_KEPT) {
            self.proposed.remove(&oldest);
        }
        evidence
    }

    /// Whether its leader proposed another block than this one in its view.
    pub(super) fn is_second(&self, header: &Header) -> bool {
        self.first_proposal(header).is_some_and(|first| first != header)
    }

    /// What was seen to be proposed, and where.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn outline(&self) -> impl Iterator<Item = ((NodeId, View), Digest)> {
        self.proposed.iter().map(|(place, (header, _))| (*place, header.digest()))
    }

    /// Whether this proposal was noted.
    pub(super) fn has_noted(&self, header: &Header) -> bool {
        self.first_proposal(header) == Some(header)
    }

    fn first_proposal(&self, header: &Header) -> Option<&Header> {
        self.proposed.get(&(header.leader, header.view)).map(|(first, _)| first)
    }

    /// Where the first block stands that the log holds or held and that was forgotten.
    pub(super) fn first_index(&self) -> Option<u64> {
        let held = self.by_index.keys().next().copied();
        held.into_iter().chain(self.pruned.map(|(first, _)| first)).min()
    }

    /// The log was cut from this index on.
    pub(super) fn truncate(&mut self, from: u64) {
        self.by_index.split_off(&from);
        let last = from.saturating_sub(1);
        self.pruned = self.pruned.map(|(first, end)| (first, end.min(last))).filter(|(first, end)| first <= end);
    }

    /// As [`Self::truncate`], of a log that is read once more.
    pub(super) fn reread(&mut self, from: u64) {
        let later = self.by_index.split_off(&from);
        self.truncate(from);
        if self.arrived.len() > PENDING_BLOCKS_MAX {
            self.arrived.clear();
        }
        self.arrived.extend(later.into_values().map(|staged| (staged.digest, staged.arrived)));
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &Staged)> {
        self.by_index.iter().map(|(index, staged)| (*index, staged))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Staged> {
        self.by_index.values_mut()
    }

    pub(super) fn get_mut(&mut self, log_index: u64) -> Option<&mut Staged> {
        self.by_index.get_mut(&log_index)
    }

    /// The blocks that were executed.
    pub(super) fn executed(&self) -> impl DoubleEndedIterator<Item = (u64, &Staged, &Executed)> {
        self.iter().filter_map(|(index, staged)| Some((index, staged, staged.executed()?)))
    }

    /// The block with this digest, if it was executed.
    pub(super) fn find(&self, digest: &Digest) -> Option<(u64, &Staged, &Executed)> {
        self.executed().find(|(_, staged, _)| staged.digest == *digest)
    }

    /// Whether the log holds the block where it belongs.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.iter().any(|(_, staged)| staged.digest == *digest && !staged.is_out_of_place())
    }

    /// The first entry that contradicts this final block, which the log does not hold in its place: another block of its
    /// height, or itself or its ancestors where they do not belong.
    pub(super) fn first_against(&self, height: BlockHeight, digest: &Digest) -> Option<u64> {
        let other = |staged: &Staged| staged.refused().is_none() && staged.header.height == height;
        let other = self.iter().find(|(_, staged)| other(staged) && staged.digest != *digest).map(|(index, _)| index);
        let mut out_of_place = None;
        let mut searched = *digest;
        for (index, staged) in self.iter().rev() {
            if staged.digest == searched && staged.is_out_of_place() {
                out_of_place = Some(index);
                searched = staged.header.parent;
            }
        }
        other.into_iter().chain(out_of_place).min()
    }

    /// Where the log holds this block, or the lowest of its ancestors without others between, if these were refused for
    /// something that a certificate may set right. A block that is not here may be one that was forgotten.
    pub(super) fn lowest_to_reread(&self, digest: &Digest) -> Option<u64> {
        let (mut lowest, mut searched) = (None, *digest);
        for (index, staged) in self.iter().rev() {
            if staged.digest == searched && staged.may_come_right() {
                lowest = Some(index);
                searched = staged.header.parent;
            }
        }
        let is_here = || self.iter().any(|(_, staged)| staged.digest == *digest);
        lowest.or_else(|| self.pruned.map(|(first, _)| first).filter(|_| !is_here()))
    }

    /// Takes the block at this index, which became final, and drops everything up to it. What does not descend from it
    /// is refused from now on.
    pub(super) fn advance(&mut self, log_index: u64) -> Option<(Arc<Block>, Executed)> {
        let later = self.by_index.split_off(&log_index.saturating_add(1));
        let outcome = std::mem::replace(&mut self.by_index, later).remove(&log_index)?.outcome;
        let Outcome::Executed(block, executed) = outcome else { return None };
        self.proposed.retain(|(_, view), _| *view > executed.view);
        self.pruned = self.pruned.map(|(first, end)| (first.max(log_index), end)).filter(|(first, end)| first < end);
        let mut alive = vec![executed.digest];
        for staged in self.by_index.values_mut().filter(|staged| staged.refused().is_none()) {
            if alive.contains(&staged.header.parent) {
                alive.push(staged.digest);
            } else {
                let (found, expected) = (staged.header.parent, executed.digest);
                staged.outcome = Outcome::Refused(BlockInvalid::Parent { found, expected });
            }
        }
        Some((block, executed))
    }

    /// Who leads `term`, as a block in its place shows.
    pub(super) fn leader_of(&self, term: u64) -> Option<NodeId> {
        let of_term = self.by_index.values().filter(|staged| staged.term == term && !staged.is_out_of_place());
        of_term.map(|staged| staged.header.leader).next()
    }
}
