//! The second round: a share on its way from one member to another, off the ledger.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{ceremony::Ceremony, contribution::Contribution};
use crate::{
    aead::{self, TAG_BYTES},
    codec::encode,
    digest::{Digest, hex_newtype},
    gate::{Element, GateCiphertext, GateLabel, GateSecret, GateShare, Opening, Partial, SecretNumber, key::evaluate},
    identity::{PublicKey, SecretKey, Signature, context},
    refusal::Refusal,
    units::NodeId,
};

/// A share and its tag.
const SEALED_BYTES: usize = 32 + TAG_BYTES;

/// A sealed share: AES-256-GCM under what its ciphertext encapsulates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct SealedShare(pub(super) [u8; SEALED_BYTES]);
hex_newtype!(SealedShare);

/// A share sealed to its receiver's one-time key, signed by its sender's node key.
///
/// The signature makes a false share its sender's; the label, to which the ciphertext is bound, makes it worthless in
/// another run or for another receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPackage {
    pub(super) package: Box<Package>,
    signature: Signature,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Package {
    /// The run.
    pub ceremony: Digest,
    pub from: NodeId,
    pub to: NodeId,
    pub ciphertext: GateCiphertext,
    pub sealed: SealedShare,
}

impl Package {
    pub fn sign(self, key: &SecretKey) -> SignedPackage {
        let signature = key.sign(context::GATE_PACKAGE, &encode(&self));
        SignedPackage { package: Box::new(self), signature }
    }

    fn label(&self) -> GateLabel {
        GateLabel::package(&self.ceremony, self.from, self.to)
    }
}

/// Why a package is not good.
pub(super) enum Bad {
    /// The ciphertext was not made for this receiver in this run.
    Ciphertext,
    /// What is in it is not the sender's share for this receiver. With the receiver's release, which shows it to all.
    Share(Box<Partial>),
}

impl SignedPackage {
    /// Seals `share`, which `from` has for `to`, whose contribution is given.
    pub(super) fn seal(
        ceremony: &Ceremony,
        (from, to): (NodeId, NodeId),
        theirs: &Contribution,
        share: &SecretNumber,
        (key, seed): (&SecretKey, &[u8; 32]),
    ) -> Self {
        let ceremony = ceremony.hash();
        let label = GateLabel::package(&ceremony, from, to);
        let (ciphertext, secret) = theirs.packages.encapsulate_from(&label, seed);
        // With room for the tag, so that sealing in place leaves no copy of the share behind.
        let mut bytes = Vec::with_capacity(SEALED_BYTES);
        bytes.extend_from_slice(share.expose());
        let sealed = aead::seal(secret.expose(), label.digest().as_bytes(), bytes);
        let sealed = SealedShare(sealed.try_into().expect("a share and its tag"));
        Package { ceremony, from, to, ciphertext, sealed }.sign(key)
    }

    /// Who made it.
    pub const fn from(&self) -> NodeId {
        self.package.from
    }

    /// For whom it is.
    pub const fn to(&self) -> NodeId {
        self.package.to
    }

    /// Checks run, names and signature.
    ///
    /// # Errors
    /// [`Refusal::PackageMismatch`], [`Refusal::SignatureInvalid`].
    pub(super) fn check(&self, ceremony: &Digest, from: NodeId, to: NodeId, key: &PublicKey) -> Result<(), Refusal> {
        if (self.package.ceremony, self.package.from, self.package.to) != (*ceremony, from, to) {
            return Err(Refusal::PackageMismatch);
        }
        key.verify(context::GATE_PACKAGE, &encode(&self.package), &self.signature)
            .map_err(|_| Refusal::SignatureInvalid { what: "package" })
    }

    /// Opens it with the receiver's one-time key: the share, or what shows to all that it is none.
    pub(super) fn open(
        &self,
        from: &Contribution,
        to: &Contribution,
        one_time: &GateShare,
    ) -> Result<SecretNumber, Bad> {
        let verified =
            to.packages.verify(&self.package.label(), &self.package.ciphertext).map_err(|_| Bad::Ciphertext)?;
        // The one-time key is the receiver's own, so it releases.
        let partial = one_time.release(&verified).map_err(|_| Bad::Ciphertext)?;
        self.opened(from, to, partial).ok().flatten().ok_or_else(|| Bad::Share(Box::new(partial)))
    }

    /// What is in it, by the receiver's release: the share, or nothing if there is none in it.
    ///
    /// # Errors
    /// Whether ciphertext or release is false: [`Refusal::CiphertextInvalid`], [`Refusal::PartialInvalid`],
    /// [`Refusal::NotMember`].
    pub(super) fn opened(
        &self,
        from: &Contribution,
        to: &Contribution,
        partial: Partial,
    ) -> Result<Option<SecretNumber>, Refusal> {
        let mut opening = Opening::new(to.packages.verify(&self.package.label(), &self.package.ciphertext)?);
        opening.add(partial)?;
        let secret: GateSecret = opening.secret()?;
        let label = self.package.label();
        let sealed = self.package.sealed.0.to_vec();
        let Ok(bytes) = aead::open(secret.expose(), label.digest().as_bytes(), sealed, "package").map(Zeroizing::new)
        else {
            return Ok(None);
        };
        let share = <&[u8; 32]>::try_from(bytes.as_slice()).ok().and_then(|bytes| SecretNumber::decode(bytes).ok());
        // It must be the value of the sender's polynomial at the receiver's place.
        let expected = evaluate(from.polynomial.iter().map(|element| *element.point()), self.package.to);
        Ok(share.filter(|share| share.times(&Element::generator()) == expected && expected.is_some()))
    }
}
