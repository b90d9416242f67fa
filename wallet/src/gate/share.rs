//! A member's secret side of a gate.

use super::{
    ciphertext::VerifiedCiphertext,
    group::{Element, SecretNumber},
    key::Gate,
    partial::Partial,
};
use crate::{digest::Digest, refusal::Refusal, units::NodeId};

/// One member's share of a gate's secret key. Wiped on drop, never printed.
///
/// It releases and does nothing else: no signature is ever made with it.
#[derive(Clone, Debug)]
pub struct GateShare {
    gate: Digest,
    node: NodeId,
    secret: SecretNumber,
    public: Element,
}

impl GateShare {
    /// The share of `node`, as its key generation gave it or a sealed file kept it.
    ///
    /// # Errors
    /// [`Refusal::NotMember`]; [`Refusal::GateInvalid`] if it is not this member's share of this gate.
    pub fn new(gate: &Gate, node: NodeId, secret: SecretNumber) -> Result<Self, Refusal> {
        let public = gate.verification_share(node)?;
        if secret.times(&Element::generator()) != Some(public) {
            return Err(Refusal::GateInvalid { reason: "the share is not this member's" });
        }
        Ok(Self { gate: *gate.hash(), node, secret, public })
    }

    /// Whose share it is.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// [`Gate::hash`] of its gate.
    pub const fn gate(&self) -> &Digest {
        &self.gate
    }

    /// The number, to be sealed. It is neither printed nor logged.
    pub const fn secret(&self) -> &SecretNumber {
        &self.secret
    }

    /// This member's part of what opens a ciphertext. The same ciphertext always gets the same bytes.
    ///
    /// Whether the label may be released, and whether another was released before it, is for the caller to know:
    /// [`super::ReleaseBook`].
    ///
    /// # Errors
    /// [`Refusal::GateInvalid`] if the ciphertext is another gate's.
    pub fn release(&self, ciphertext: &VerifiedCiphertext<'_>) -> Result<Partial, Refusal> {
        if *ciphertext.gate().hash() != self.gate {
            return Err(Refusal::GateInvalid { reason: "the share is of another gate" });
        }
        Partial::make(ciphertext, self.node, &self.secret, self.public)
    }
}
