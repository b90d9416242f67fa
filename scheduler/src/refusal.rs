//! Why an option was refused: one list of codes for decisions, commands and routing.

use serde::{Deserialize, Serialize};

use crate::rules::RuleId;

/// Why an option was refused.
///
/// Part of the wire form of a decision: append only. The first digit of a code is the rule's number; 0 is for what no
/// rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// An earlier rule, or a cheaper destination, came first.
    #[error("another option came first")]
    Outranked,
    /// The batch is not one that this node holds.
    #[error("this node does not hold the batch")]
    BatchUnknown,
    /// The batch is being moved already.
    #[error("a move of the batch is in flight")]
    HopInFlight,
    /// None of the nodes that the tenant's policy allows can take the request.
    #[error("no node that the tenant's policy allows can take the request now")]
    NobodyEligible,
    /// Keep is not a command.
    #[error("there is nothing to do")]
    NothingToDo,
    /// R1: the pause at the cut-over would exceed its budget.
    #[error("the pause at the cut-over would exceed its budget")]
    BlackoutTooLong,
    /// R1: tiering never interrupts a decoding sequence.
    #[error("the batch is decoding")]
    Decoding,
    /// R2: the tenant's policy does not allow that node.
    #[error("the tenant's policy does not allow that node")]
    NotAllowed,
    /// R2: the node does not serve the batch's model.
    #[error("the node does not serve the batch's model")]
    ModelDiffers,
    /// R2: the node computes with other numerics, so the tokens could differ.
    #[error("the node computes with other numerics")]
    NumericsDiffer,
    /// R2: fewer free blocks than needed, with the reserve.
    #[error("the node has too few free blocks")]
    NoRoom,
    /// R2: the node's load was measured too long ago.
    #[error("the node's load was measured too long ago")]
    LoadStale,
    /// R2: nothing is known about the node's load.
    #[error("the node's load was never measured")]
    LoadUnknown,
    /// R7: the source is not full enough to move anything.
    #[error("the source is not full")]
    SourceNotFull,
    /// R7: the move would not bring the two loads closer, or would swap them.
    #[error("the move would not bring the two loads closer")]
    NothingGained,
    /// R7: the destination would be too full.
    #[error("the destination would be too full")]
    DestinationTooFull,
    /// R7: a move between the two nodes is in flight.
    #[error("a move between the two nodes is in flight")]
    PairBusy,
    /// R7: the session moved a moment ago.
    #[error("the session moved a moment ago")]
    CoolingDown,
    /// R7: the batch holds no blocks here, so that moving it frees none.
    #[error("the batch holds no blocks in the engine")]
    HoldsNoBlocks,
    /// R9: the batch has not been idle for long enough.
    #[error("the batch has not been idle for long enough")]
    NotDue,
    /// R9: a request waits for the batch.
    #[error("a request waits for the batch")]
    RequestWaits,
    /// R9: no request waits for the batch.
    #[error("no request waits for the batch")]
    NoRequestWaits,
}

impl Refusal {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Outranked => "S-001",
            Self::BatchUnknown => "S-002",
            Self::HopInFlight => "S-003",
            Self::NobodyEligible => "S-004",
            Self::NothingToDo => "S-005",
            Self::BlackoutTooLong => "S-101",
            Self::Decoding => "S-102",
            Self::NotAllowed => "S-201",
            Self::ModelDiffers => "S-202",
            Self::NumericsDiffer => "S-203",
            Self::NoRoom => "S-204",
            Self::LoadStale => "S-205",
            Self::LoadUnknown => "S-206",
            Self::SourceNotFull => "S-701",
            Self::NothingGained => "S-702",
            Self::DestinationTooFull => "S-703",
            Self::PairBusy => "S-704",
            Self::CoolingDown => "S-705",
            Self::HoldsNoBlocks => "S-706",
            Self::NotDue => "S-901",
            Self::RequestWaits => "S-902",
            Self::NoRequestWaits => "S-903",
        }
    }

    /// The rule that refuses for this reason, or none where no rule is asked.
    pub fn rule(self) -> Option<RuleId> {
        match self.code().as_bytes()[2] {
            b'1' => Some(RuleId::R1),
            b'2' => Some(RuleId::R2),
            b'7' => Some(RuleId::R7),
            b'9' => Some(RuleId::R9),
            _ => None,
        }
    }

    /// Whether the same request may succeed later with nothing but time gone by.
    pub fn may_retry(self) -> bool {
        !matches!(
            self,
            Self::BatchUnknown | Self::NothingToDo | Self::NotAllowed | Self::ModelDiffers | Self::NumericsDiffer
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wallet::codec;

    use super::*;

    #[test]
    fn every_refusal_has_a_code_of_its_own_that_names_its_rule() {
        let all = (0_u32..).map_while(|index| codec::decode::<Refusal>(&codec::encode(&index)).ok());
        let by_code: BTreeMap<&str, Refusal> = all.clone().map(|refusal| (refusal.code(), refusal)).collect();
        assert_eq!((by_code.len(), all.count()), (22, 22));
        assert_eq!(Refusal::NotAllowed.rule(), Some(RuleId::R2));
        assert_eq!(Refusal::Outranked.rule(), None);
        assert!(Refusal::NoRoom.may_retry() && !Refusal::NotAllowed.may_retry());
    }
}
