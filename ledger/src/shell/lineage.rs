//! In which lineage this node is, and in which its peers say that they are.
//!
//! A node whose operator was not told of a re-genesis waits for ever for those that left its lineage. It takes none by
//! itself: that is for its operator to decide, who has to know that there is one, and its digest.

use std::collections::BTreeMap;

use genesis::ValidatorSet;
use serde::{Deserialize, Serialize};
use wallet::{digest::Digest, units::NodeId};

use super::{fault::Fault, final_store::FinalStore};
use crate::execute::Executed;

/// The lineage in which a node is, as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lineage {
    /// 1, and one more for each re-genesis.
    pub number: u32,
    /// Digest of the last re-genesis; zero in lineage 1.
    pub re_genesis: Digest,
}

impl Lineage {
    /// The first one, of every consortium.
    pub const FIRST: Self = Self { number: 1, re_genesis: Digest::ZERO };

    /// That of a final state.
    pub(crate) fn of(store: &FinalStore, executed: &Executed) -> Result<Self, Fault> {
        let Some(begun) = executed.state.re_genesis() else { return Ok(Self::FIRST) };
        let what = || format!("the re-genesis of height {}", begun.since);
        let header = store.header(begun.since)?.ok_or_else(|| Fault::Missing { store: "final", what: what() })?;
        Ok(Self { number: begun.lineage, re_genesis: header.digest() })
    }

    /// The lineage for which the others left this one: more of the validators than may lie say that they are in it, and it
    /// is not one before this. At least one of them is honest then. Where fewer went on than that, nobody can tell them from
    /// liars: their word stands in the log and in the status, and is no cause.
    pub(crate) fn left_for(self, validators: &ValidatorSet, told: &BTreeMap<NodeId, Self>) -> Option<Self> {
        let mut votes: BTreeMap<Self, usize> = BTreeMap::new();
        let of_validators = told.iter().filter(|(node, _)| validators.key(**node).is_some());
        of_validators.for_each(|(_, lineage)| *votes.entry(*lineage).or_default() += 1);
        let mut enough = votes.into_iter().filter(|(_, votes)| *votes > validators.faults_max());
        enough.find(|(lineage, _)| *lineage != self && lineage.number >= self.number).map(|(lineage, _)| lineage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::consortium;

    fn lineage(number: u32, digest: u8) -> Lineage {
        Lineage { number, re_genesis: Digest([digest; 32]) }
    }

    /// What a node in `own` makes of what nodes 1, 2 and 3 of four say.
    fn left_for(own: Lineage, told: &[(u32, Lineage)]) -> Option<Lineage> {
        let told = told.iter().map(|(node, lineage)| (NodeId::new(*node), *lineage)).collect();
        own.left_for(consortium(4).validators(), &told)
    }

    #[test]
    fn a_lineage_is_left_where_more_than_may_lie_say_so_and_name_one() {
        let (first, second) = (Lineage::FIRST, lineage(2, 7));
        assert_eq!(left_for(first, &[(1, second), (2, second), (3, first)]), Some(second));
        assert_eq!(left_for(first, &[(1, second), (2, first)]), None, "one of four may lie");
        assert_eq!(left_for(first, &[(1, second), (2, lineage(2, 8))]), None, "nobody honest need have said either");
        assert_eq!(left_for(first, &[(1, second), (9, second)]), None, "node 9 is no validator");
        assert_eq!(left_for(first, &[(1, first), (2, first), (3, first)]), None);
    }

    #[test]
    fn whoever_is_still_in_a_lineage_before_left_nothing_and_a_rival_of_the_same_number_did() {
        let (own, before, rival) = (lineage(3, 7), lineage(2, 6), lineage(3, 8));
        assert_eq!(left_for(own, &[(1, before), (2, before), (3, Lineage::FIRST)]), None);
        assert_eq!(left_for(own, &[(1, rival), (2, rival), (3, before)]), Some(rival));
    }
}
