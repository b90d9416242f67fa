//! One run of a key generation: what it is for and who takes part.

use serde::{Deserialize, Serialize};

use crate::{
    codec::encode,
    digest::{Digest, sha256},
    gate::{GateId, GateKind},
    refusal::Refusal,
    units::NodeId,
};

const DOMAIN: &str = "batchmind/v1/wallet/gate/ceremony";

/// One run of a key generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceremony {
    /// The gate that it makes.
    pub gate: GateId,
    /// The entry with which the ledger last began anew; zero if it never did. Two branches of a ledger have no run in
    /// common, so that nothing signed for one speaks in the other.
    pub lineage: Digest,
    /// Who takes part and will be the gate's members, ascending; at least two.
    pub members: Vec<NodeId>,
    /// How many runs for this gate failed before.
    pub run: u32,
}

impl Ceremony {
    /// Names the run. One-time keys and packages are bound to it; FROST's proof of knowledge is not (`gate::dkg`).
    pub fn hash(&self) -> Digest {
        sha256(DOMAIN, &[&encode(self)])
    }

    /// How many members will have to release.
    ///
    /// # Errors
    /// [`Refusal::GateInvalid`] with too few members or too many.
    pub fn threshold(&self) -> Result<usize, Refusal> {
        self.gate.kind.threshold(self.members.len())
    }

    /// Checks that it can be run.
    ///
    /// # Errors
    /// [`Refusal::GateInvalid`].
    pub fn check(&self) -> Result<(), Refusal> {
        let invalid = |reason| Err(Refusal::GateInvalid { reason });
        if !matches!(self.gate.kind, GateKind::Global { .. } | GateKind::Region { .. }) {
            return invalid("only the global gate and regions have shared keys");
        }
        if self.threshold()? < 2 {
            return invalid("one member has a plain key");
        }
        if !self.members.is_sorted_by(|one, next| one < next) {
            return invalid("members are not in ascending order");
        }
        Ok(())
    }

    /// The gate of `member`'s one-time key in this run.
    pub(super) fn package_gate(&self) -> GateId {
        GateId {
            consortium: self.gate.consortium,
            kind: GateKind::Package { ceremony: self.hash() },
            epoch: self.gate.epoch,
        }
    }

    /// The run after this one, without those who made it fail. Its gate's threshold still counts them, as absent.
    ///
    /// # Errors
    /// As [`Self::check`]: too few are left.
    pub fn without(&self, at_fault: &std::collections::BTreeSet<NodeId>) -> Result<Self, Refusal> {
        let run = self.run.checked_add(1).ok_or(Refusal::GateInvalid { reason: "too many runs" })?;
        let members = self.members.iter().copied().filter(|node| !at_fault.contains(node)).collect();
        let next = Self { members, run, ..self.clone() };
        next.check().map(|()| next)
    }
}
