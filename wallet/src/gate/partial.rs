//! A member's part of a release, with the proof that it is the right one.

use serde::{Deserialize, Serialize};

use super::{
    ciphertext::VerifiedCiphertext,
    group::{Element, SecretNumber},
    proof::{Proof, Statement},
};
use crate::{codec::encode, refusal::Refusal, units::NodeId};

const PROOF_DOMAIN: &str = "batchmind/v1/wallet/gate/partial";
const NONCE_DOMAIN: &str = "batchmind/v1/wallet/gate/partial-nonce";

/// u times one member's share: i, u_i, e_i, f_i of the paper. 100 bytes.
///
/// It is secret from all but whom the label names. It says nothing about the share, nor about any other ciphertext.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partial {
    node: NodeId,
    pub(super) point: Element,
    proof: Proof,
}

impl Partial {
    /// The part, and its proof with a nonce derived from the share and everything that the challenge covers.
    ///
    /// As in RFC 6979 and RFC 8032 the nonce is a hash of the secret and the message: whoever does not know the share
    /// cannot tell it from a random number, and it meets one challenge only, since what the challenge covers decides
    /// it.
    pub(super) fn make(
        of: &VerifiedCiphertext<'_>,
        node: NodeId,
        secret: &SecretNumber,
        public: Element,
    ) -> Result<Self, Refusal> {
        // u is no identity and the group's order is prime: only a share of 0 makes one, and no gate has a member with
        // it.
        let zero = Refusal::GateInvalid { reason: "a member's share is 0" };
        let point = secret.times(&of.ciphertext().u).ok_or(zero)?;
        let bytes = encode(of.ciphertext());
        let parts: [&[u8]; 5] = [
            secret.expose(),
            of.gate().hash().as_bytes(),
            of.label().digest().as_bytes(),
            &bytes,
            &node.get().to_le_bytes(),
        ];
        let nonce = SecretNumber::hash(NONCE_DOMAIN, &parts);
        let proof = proved(of, node, public, point, |statement| statement.prove(secret, &nonce));
        Ok(Self { node, point, proof })
    }

    /// Whose part it is.
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Checks that it is the part of the member whose number it bears.
    ///
    /// # Errors
    /// [`Refusal::NotMember`]; [`Refusal::PartialInvalid`] with the member's number.
    pub fn verify(&self, of: &VerifiedCiphertext<'_>) -> Result<(), Refusal> {
        let public = of.gate().verification_share(self.node)?;
        if proved(of, self.node, public, self.point, |statement| statement.holds(&self.proof)) {
            Ok(())
        } else {
            Err(Refusal::PartialInvalid { node: self.node })
        }
    }
}

/// (G, X_i) and (u, u_i) have the same multiple.
fn proved<T>(
    of: &VerifiedCiphertext<'_>,
    node: NodeId,
    public: Element,
    point: Element,
    act: impl FnOnce(&Statement<'_>) -> T,
) -> T {
    let (bytes, node) = (encode(of.ciphertext()), node.get().to_le_bytes());
    let context: [&[u8]; 4] = [of.gate().hash().as_bytes(), of.label().digest().as_bytes(), &bytes, &node];
    let pairs = [(Element::generator(), public), (of.ciphertext().u, point)];
    act(&Statement { domain: PROOF_DOMAIN, context: &context, pairs: &pairs })
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partial({}, redacted)", self.node)
    }
}
