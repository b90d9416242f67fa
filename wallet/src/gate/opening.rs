//! Combination: from enough parts to the secret.

use std::collections::BTreeMap;

use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};
use zeroize::Zeroizing;

use super::{ciphertext::VerifiedCiphertext, group::Element, key::place, partial::Partial};
use crate::{refusal::Refusal, secret::secret, units::NodeId};

secret! {
    /// What was encapsulated to a gate: one leg of a key.
    GateSecret
}

/// Collects the parts of one ciphertext. False ones are refused as they come, with the member's number.
#[derive(Debug)]
pub struct Opening<'a> {
    of: VerifiedCiphertext<'a>,
    parts: BTreeMap<NodeId, Partial>,
}

impl<'a> Opening<'a> {
    /// Nothing released yet.
    pub const fn new(of: VerifiedCiphertext<'a>) -> Self {
        Self { of, parts: BTreeMap::new() }
    }

    /// What is being opened.
    pub const fn ciphertext(&self) -> &VerifiedCiphertext<'a> {
        &self.of
    }

    /// Takes a member's part. A second one of the same member changes nothing.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::PartialInvalid`].
    pub fn add(&mut self, partial: Partial) -> Result<(), Refusal> {
        partial.verify(&self.of)?;
        self.parts.insert(partial.node(), partial);
        Ok(())
    }

    /// The secret: the same, whichever members released.
    ///
    /// # Errors
    /// [`Refusal::ReleasesMissing`] below the threshold.
    pub fn secret(&self) -> Result<GateSecret, Refusal> {
        let (have, need) = (self.parts.len(), self.of.gate().threshold());
        if have < need {
            return Err(Refusal::ReleasesMissing { have, need });
        }
        let parts: Vec<_> = self.parts.values().take(need).collect();
        let places: Vec<_> = parts.iter().map(|part| place(part.node())).collect();
        let terms = parts.iter().zip(&places).map(|(part, at)| weight(*at, &places) * part.point.point());
        let shared = Zeroizing::new(terms.sum::<RistrettoPoint>());
        // r times the key, and neither is 0.
        let shared = Element::from_point(*shared).map(Zeroizing::new).ok_or(Refusal::CiphertextInvalid)?;
        Ok(self.of.gate().secret(self.of.label(), self.of.ciphertext(), &shared))
    }
}

/// Lagrange's coefficient at 0 for the value at `at`, among these places.
pub(super) fn weight(at: Scalar, places: &[Scalar]) -> Scalar {
    let others = || places.iter().filter(|place| **place != at);
    let above: Scalar = others().product();
    let below: Scalar = others().map(|place| place - at).product();
    // Places differ, so this is no product with 0.
    above * below.invert()
}
