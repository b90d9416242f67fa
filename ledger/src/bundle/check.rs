//! The checks of a bundle, by the names that never change.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A check. They stand in the order in which they are made; those of a move (`Grant` to `Continuity`) are made together,
/// entry by entry. `docs/formats/bundle.md` says what each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Check {
    /// The file is of a version that this build knows.
    Version,
    /// The bytes are the one encoding of a bundle.
    Decode,
    /// Each re-genesis between the genesis document and what is proven is one that the auditor named.
    Lineage,
    /// The genesis document keeps its rules.
    GenesisDocument,
    /// Its hash is the auditor's.
    GenesisHash,
    /// Every operator signed it.
    GenesisSignatures,
    /// Each validator set was named by the one before, from genesis up to the header's epoch.
    HandOvers,
    /// The header names this consortium and the validators of its epoch.
    HeaderConsortium,
    /// A quorum made the header final.
    Certificate,
    /// The records of nodes and keys are under the state root, and it is known who runs each validator.
    Members,
    /// Each entry is a leaf under the log root.
    Inclusion,
    /// What the auditor pinned is a checkpoint of this log.
    Checkpoint,
    /// The log only grew since the tree that the auditor pinned.
    Consistency,
    /// Each entry is by the node that it names.
    EntrySignature,
    /// The tenant granted the wallet to its first holder.
    Grant,
    /// The policy allows each holder's region.
    Policy,
    /// The epoch key in force signed what speaks for the holder.
    HolderSignature,
    /// The receiver signed the prekey of each offer.
    Prekey,
    /// Each confirm has a ticket of the holder for that receiver.
    Ticket,
    /// The receiver opened the hand-over.
    Confirm,
    /// The entries follow each other and end with the confirm.
    Continuity,
    /// The decision is the one that the offer names.
    DecisionHash,
    /// The source anchored a log that holds the decision.
    Anchor,
    /// The wallet's record is under the state root and goes on from the history.
    StateProof,
    /// The receiver's one-time prekey is spent, and by the confirmed offer.
    SoleRelease,
    /// The decision is about this wallet and this move.
    DecisionSubject,
}

impl Check {
    /// All of them, in their order.
    pub const ALL: [Self; 26] = [
        Self::Version,
        Self::Decode,
        Self::Lineage,
        Self::GenesisDocument,
        Self::GenesisHash,
        Self::GenesisSignatures,
        Self::HandOvers,
        Self::HeaderConsortium,
        Self::Certificate,
        Self::Members,
        Self::Inclusion,
        Self::Checkpoint,
        Self::Consistency,
        Self::EntrySignature,
        Self::Grant,
        Self::Policy,
        Self::HolderSignature,
        Self::Prekey,
        Self::Ticket,
        Self::Confirm,
        Self::Continuity,
        Self::DecisionHash,
        Self::Anchor,
        Self::StateProof,
        Self::SoleRelease,
        Self::DecisionSubject,
    ];

    /// Its name, in texts and in JSON.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Decode => "decode",
            Self::Lineage => "lineage",
            Self::GenesisDocument => "genesis-document",
            Self::GenesisHash => "genesis-hash",
            Self::GenesisSignatures => "genesis-signatures",
            Self::HandOvers => "hand-overs",
            Self::HeaderConsortium => "header-consortium",
            Self::Certificate => "certificate",
            Self::Members => "members",
            Self::Inclusion => "inclusion",
            Self::Checkpoint => "checkpoint",
            Self::Consistency => "consistency",
            Self::EntrySignature => "entry-signature",
            Self::Grant => "grant",
            Self::Policy => "policy",
            Self::HolderSignature => "holder-signature",
            Self::Prekey => "prekey",
            Self::Ticket => "ticket",
            Self::Confirm => "confirm",
            Self::Continuity => "continuity",
            Self::DecisionHash => "decision-hash",
            Self::Anchor => "anchor",
            Self::StateProof => "state-proof",
            Self::SoleRelease => "sole-release",
            Self::DecisionSubject => "decision-subject",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The first check that does not hold, and why. Nothing of the bundle is to be believed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("check {check} failed: {detail}")]
pub struct Failure {
    /// Which check.
    pub check: Check,
    /// What was found.
    pub detail: String,
}

impl Failure {
    /// `check` does not hold, because of `detail`.
    pub fn new(check: Check, detail: impl fmt::Display) -> Self {
        Self { check, detail: detail.to_string() }
    }
}

/// That `check` needs this to hold.
pub(super) fn require(holds: bool, check: Check, detail: &'static str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(check, detail)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_json_has_the_same_names() {
        assert!(Check::ALL.is_sorted_by(|one, next| one < next));
        for check in Check::ALL {
            assert_eq!(serde_json::json!(check), check.code());
        }
    }
}
