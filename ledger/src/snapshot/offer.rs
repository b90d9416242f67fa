//! What a node says that it has.

use serde::{Deserialize, Serialize};
use wallet::units::BlockHeight;

use super::STATES_MAX;
use crate::{
    block::Header,
    certificate::CertificateInvalid,
    hand_over::{ClosingProof, HandOverInvalid, ValidatorSets},
};

/// A node's last final block, and where it can hand out the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Of the last block that a certificate of its own made final.
    pub tip: Header,
    /// Why it is final.
    pub proof: ClosingProof,
    /// Index of that block in the raft log. No certificate covers it, but the header may prove it.
    pub raft_index: u64,
    /// Heights up to that block whose whole state it keeps for a while, ascending.
    pub states: Vec<BlockHeight>,
}

impl Offer {
    /// How many hand-overs lead from genesis to the validators that it is checked by, and to those after it if it closes
    /// their epoch. Only a claim until it is verified.
    pub fn hand_overs(&self) -> u64 {
        self.tip.epoch.saturating_add(u64::from(self.tip.is_closing()))
    }

    /// Checks it by the validator sets from genesis on, to which its [`Self::hand_overs`] led.
    ///
    /// # Errors
    /// [`OfferInvalid`] says what is wrong.
    pub fn verify(self, sets: ValidatorSets) -> Result<Verified, OfferInvalid> {
        if self.hand_overs() != sets.last().epoch {
            return Err(OfferInvalid::OtherEpoch { claimed: self.tip.epoch });
        }
        sets.check_all_taken().map_err(OfferInvalid::HandOvers)?;
        let (tip, states) = (&self.tip, &self.states);
        let voters = sets.of(tip.epoch).map_err(OfferInvalid::NotFinal)?;
        // One that closes its epoch is what the last hand-over stands on.
        let is_of_it = tip.consortium == sets.name_of(tip.epoch)
            && tip.validators == voters.hash()
            && (!tip.is_closing() || sets.began_on() == Some(tip.digest()));
        if !is_of_it || self.proof.closes() != Some((tip.height, tip.digest())) {
            return Err(OfferInvalid::OtherBlock);
        }
        // Above another block they would make it final, too; but only that of a closing block is kept with them.
        if !tip.is_closing() && !self.proof.carriers.is_empty() {
            return Err(OfferInvalid::Carriers);
        }
        sets.verify_final(tip.epoch, &self.proof.certificate).map_err(OfferInvalid::NotFinal)?;
        let within = states.last().is_none_or(|last| *last <= tip.height) && states.first() != Some(&BlockHeight::ZERO);
        if states.len() > STATES_MAX || !within || !states.is_sorted_by(|one, next| one < next) {
            return Err(OfferInvalid::States);
        }
        Ok(Verified { offer: self, sets })
    }
}

/// An offer whose block a quorum made final, with all validator sets up to there. It may still be a carrier, which is no
/// part of the chain: only the headers below it say that its epoch ended there.
#[derive(Clone, Debug)]
pub struct Verified {
    pub(super) offer: Offer,
    pub(super) sets: ValidatorSets,
}

impl Verified {
    /// Whether its node says that it has the state at a height.
    pub fn has_state(&self, height: BlockHeight) -> bool {
        self.offer.states.contains(&height)
    }

    /// Leaves out that its node has the state at a height: it turned out that nobody sends it.
    pub fn without_state(&mut self, height: BlockHeight) {
        self.offer.states.retain(|state| *state != height);
    }

    /// Two blocks of which no chain has both, this offer's and another one's, if they show such: how one epoch ended, or
    /// what is at one height of it. Then a quorum of the validators of that time signed two histories, and neither offer says
    /// which of them holds. Of an offer that ends earlier, only the headers below the other's last block show it.
    pub fn fork(&self, other: &Self) -> Option<[Header; 2]> {
        let [ours, theirs] = [self, other].map(|verified| verified.sets.closings());
        let [tip, their_tip] = [self, other].map(|verified| &verified.offer.tip);
        let ends = ours.iter().filter_map(|(epoch, end)| Some((end, theirs.get(epoch)?)));
        let ended = ends.filter(|(end, their_end)| end != their_end);
        let tips = Some((tip, their_tip)).filter(|(tip, their_tip)| tip.contradicts(their_tip));
        let beyond = theirs.get(&tip.epoch).map(|end| (tip, end)).filter(|(tip, end)| leads_past(tip, end));
        let short = ours.get(&their_tip.epoch).map(|end| (end, their_tip)).filter(|(end, tip)| leads_past(tip, end));
        let (one, another) = ended.chain(tips).chain(beyond).chain(short).next()?;
        Some([one.clone(), another.clone()])
    }

    /// The offer. That its block is final is proven; what it says of raft and of states is not.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }
}

/// Whether a last block is no part of an epoch that ended like this, nor a carrier above it, which holds nothing.
fn leads_past(tip: &Header, end: &Header) -> bool {
    let held = |header: &Header| (header.log_size, header.log_root, header.state_root);
    tip.contradicts(end) || (tip.height > end.height && held(tip) != held(end))
}

/// Why an offer is nothing to build on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OfferInvalid {
    /// The hand-overs lead elsewhere.
    #[error("its hand-overs lead elsewhere than to its epoch {claimed}")]
    OtherEpoch {
        /// The offer's.
        claimed: u64,
    },
    /// The hand-overs are of another lineage than the one that is asked for.
    #[error("its hand-overs: {0}")]
    HandOvers(#[source] HandOverInvalid),
    /// What is proven is another block.
    #[error("its proof is of another block, consortium or validator set")]
    OtherBlock,
    /// There are carriers above a block that does not close its epoch.
    #[error("its proof names carriers above a block that does not close its epoch")]
    Carriers,
    /// No quorum made its block final.
    #[error("its last block is not final: {0}")]
    NotFinal(#[source] CertificateInvalid),
    /// The heights of its states are too many, in disorder or beyond its last block.
    #[error("the heights of its states are too many, in disorder or beyond its last block")]
    States,
}
