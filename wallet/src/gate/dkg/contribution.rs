//! The first round: what a member contributes, which stands on the ledger.

use serde::{Deserialize, Serialize};

use super::{
    ceremony::Ceremony,
    frost::{self, Commitments},
};
use crate::{
    gate::{Element, EncodedElement, Gate, MEMBERS_MAX, NotCanonical, Number, key::EncodedGate},
    refusal::Refusal,
    units::NodeId,
};

/// The commitments to a member's polynomial, with the proof that it knows what it contributes, and the one-time key to
/// which it is sent its shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "EncodedContribution", into = "EncodedContribution")]
pub struct Contribution {
    pub(super) polynomial: Vec<Element>,
    pub(super) commitment: Element,
    pub(super) response: Number,
    pub(super) packages: Gate,
}

/// The encoding of a [`Contribution`]. A run keeps what it checked in this form: to decode all elements of all members
/// costs far more than any notice may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EncodedContribution {
    pub polynomial: Vec<EncodedElement>,
    commitment: EncodedElement,
    response: Number,
    packages: EncodedGate,
}

impl Contribution {
    pub(super) fn commitments(&self) -> Commitments<'_> {
        Commitments { polynomial: &self.polynomial, commitment: self.commitment, response: self.response }
    }

    /// Checks that it is `node`'s in this ceremony: degree, proof of knowledge, one-time key.
    ///
    /// # Errors
    /// [`Refusal::ContributionInvalid`].
    pub(super) fn check(&self, ceremony: &Ceremony, node: NodeId) -> Result<(), Refusal> {
        let own_key = *self.packages.id() == ceremony.package_gate() && self.packages.members() == [node];
        let valid = own_key
            && Ok(self.polynomial.len()) == ceremony.threshold()
            && frost::proof_holds(node, &self.commitments());
        if valid { Ok(()) } else { Err(Refusal::ContributionInvalid { node }) }
    }
}

impl TryFrom<EncodedContribution> for Contribution {
    type Error = String;
    fn try_from(parts: EncodedContribution) -> Result<Self, String> {
        if !(1..=MEMBERS_MAX).contains(&parts.polynomial.len()) {
            return Err("a contribution has 1 to 256 coefficients".to_owned());
        }
        let not_canonical = |error: NotCanonical| error.to_string();
        let polynomial: Result<_, _> = parts.polynomial.iter().map(Element::decode).collect();
        let polynomial = polynomial.map_err(not_canonical)?;
        let commitment = Element::decode(&parts.commitment).map_err(not_canonical)?;
        Ok(Self { polynomial, commitment, response: parts.response, packages: parts.packages.try_into()? })
    }
}

impl From<Contribution> for EncodedContribution {
    fn from(of: Contribution) -> Self {
        let polynomial = of.polynomial.into_iter().map(EncodedElement::from).collect();
        Self { polynomial, commitment: of.commitment.into(), response: of.response, packages: of.packages.into() }
    }
}
