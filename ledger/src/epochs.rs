//! Which validator set speaks for which part of the log, for whoever has hand-overs and no state.
//!
//! The entry that changes the set is the last of its block, and the header of that closing block says how many entries
//! the log has then. So the place of an entry says in which epoch it became final, and the size of a tree says who
//! cosigns it.

use genesis::{Consortium, ValidatorSet};
use wallet::{
    digest::Digest,
    identity::PublicKey,
    units::{LogIndex, NodeId},
};

use crate::hand_over::{HandOver, HandOverInvalid, ValidatorSets};

/// The epochs of a log, from genesis up to the one to which the hand-overs lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    sets: ValidatorSets,
    /// How many entries the log had when each of them but the last ended.
    ends: Vec<u64>,
}

impl Epochs {
    /// What `hand_overs` prove, which follow each other from genesis on, by the re-geneses that are `named`.
    ///
    /// # Errors
    /// [`HandOverInvalid`] for the first of them that proves nothing.
    pub fn proven(consortium: &Consortium, hand_overs: &[HandOver], named: &[Digest]) -> Result<Self, HandOverInvalid> {
        let mut epochs = Self::genesis(consortium);
        epochs.extend(hand_overs, named)?;
        Ok(epochs)
    }

    /// The first epoch, which has not ended.
    pub fn genesis(consortium: &Consortium) -> Self {
        Self { sets: ValidatorSets::genesis(consortium), ends: Vec::new() }
    }

    /// Adds what `hand_overs` prove, which follow those before, by the re-geneses that are `named`.
    ///
    /// # Errors
    /// [`HandOverInvalid`] for the first of them that proves nothing; those before it are added.
    pub fn extend(&mut self, hand_overs: &[HandOver], named: &[Digest]) -> Result<(), HandOverInvalid> {
        self.sets.name_also(named);
        for hand_over in hand_overs {
            self.sets.take(hand_over)?;
            self.ends.push(hand_over.closing.ends_at());
        }
        Ok(())
    }

    /// How many epochs ended.
    pub const fn ended(&self) -> usize {
        self.ends.len()
    }

    /// All sets.
    pub fn sets(&self) -> &ValidatorSets {
        &self.sets
    }

    /// The set of the last epoch.
    pub fn last(&self) -> &ValidatorSet {
        self.sets.last()
    }

    /// The set of the epoch in which the log grew to `size` entries: it cosigns that tree. Of what is beyond the end of
    /// the last epoch that ended, the last set.
    pub fn of_size(&self, size: u64) -> &ValidatorSet {
        let ended = (0..).zip(&self.ends).find(|(_, end)| **end >= size);
        ended.and_then(|(epoch, _)| self.sets.of(epoch).ok()).unwrap_or(self.last())
    }

    /// The set of the epoch in which the entry at `index` became final.
    pub fn of_entry(&self, index: LogIndex) -> &ValidatorSet {
        self.of_size(index.get().saturating_add(1))
    }

    /// The keys by which `node` ever voted, the first ones first. A key may be among them several times.
    pub fn keys_of(&self, node: NodeId) -> impl Iterator<Item = PublicKey> {
        let sets = (0..=self.last().epoch).filter_map(|epoch| self.sets.of(epoch).ok());
        sets.filter_map(move |set| set.key(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        governance::{Action, Member},
        testing::{Chain, consortium, next_node_key, node_key},
    };

    #[test]
    fn the_log_s_size_says_which_set_speaks() {
        let mut chain = Chain::new(consortium(5));
        chain.enact(vec![Action::Suspend(Member::Node(NodeId::new(4)))]).expect("valid");
        let first = chain.tip.log.size();
        let rotation = chain.rotating(Member::Node(NodeId::new(1)), &node_key(1), &next_node_key(1));
        chain.enact(vec![rotation]).expect("valid");
        let second = chain.tip.log.size();
        let epochs = Epochs::proven(&chain.consortium, &chain.hand_overs, &[]).expect("proven");
        let epoch_of = |size| epochs.of_size(size).epoch;
        assert_eq!([0, 1, first, first + 1, second, second + 1, u64::MAX].map(epoch_of), [0, 0, 0, 1, 1, 2, 2]);
        assert_eq!(
            epochs.of_entry(LogIndex::new(first - 1)).epoch,
            0,
            "the entry that changes the set is of the old one"
        );
        assert_eq!(epochs.of_entry(LogIndex::new(first)).epoch, 1);
        assert_eq!(epochs.of_entry(LogIndex::new(u64::MAX)).epoch, 2);
        let keys: Vec<_> = epochs.keys_of(NodeId::new(1)).collect();
        assert_eq!(keys, [node_key(1), node_key(1), next_node_key(1)].map(|key| key.public_key()));
        assert_eq!(epochs.keys_of(NodeId::new(4)).count(), 1);
        let genesis = Epochs::proven(&chain.consortium, &[], &[]).expect("nothing to prove");
        assert_eq!((genesis.last().epoch, genesis.of_size(u64::MAX).epoch), (0, 0));
        assert!(Epochs::proven(&chain.consortium, &chain.hand_overs[1..], &[]).is_err());
    }
}
