//! The prekey's leg of a hop's key: a key encapsulation to the receiver's one-time prekey.
//!
//! There are two, and genesis says which. X25519 (RFC 7748) is the plain one. X-Wing (draft-connolly-cfrg-xwing-kem)
//! joins it with ML-KEM-768 (FIPS 203), so that whoever keeps what travels today and has a quantum computer one day
//! still opens nothing. The rest of the wallet does not know which it is: it meets a prekey and an encapsulation as the
//! 32 bytes that stand for them in the hop's label, and a [`SharedSecret`] between these two.
//!
//! Both have secrets of 32 bytes. An encapsulation is not bound to the label by itself; the key schedule does that.

mod x25519;
mod xwing;

pub use x25519::X25519;
pub use xwing::XWing;

use serde::{Deserialize, Serialize};

use crate::{
    entropy::{Entropy, draw},
    identity::SecretKey,
    prekey::{ExchangeKey, SharedSecret, SignedPrekey},
    refusal::Refusal,
    secret::secret,
    units::NodeId,
};

/// Which key encapsulation a consortium uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum KemId {
    /// X25519.
    #[default]
    X25519,
    /// X25519 and ML-KEM-768 together.
    XWing,
}

secret! {
    /// The secret half of a prekey: an X25519 secret, or X-Wing's seed. Erased after its one use.
    KemSecret
}

/// A key encapsulation mechanism. Public keys and encapsulations are the bytes that its standard says.
pub trait Kem: Sync {
    /// Which it is.
    fn id(&self) -> KemId;

    /// The public half of a secret.
    fn public_key(&self, secret: &KemSecret) -> Vec<u8>;

    /// The 32 bytes that stand for a public key in labels and signatures.
    ///
    /// # Errors
    /// [`Refusal::KemMalformed`] if these bytes are no public key; [`Refusal::ExchangeWeak`] for an X-Wing key whose
    /// X25519 half contributes nothing.
    fn key_name(&self, public: &[u8]) -> Result<ExchangeKey, Refusal>;

    /// The 32 bytes that stand for an encapsulation in labels.
    ///
    /// # Errors
    /// [`Refusal::KemMalformed`] if these bytes are no encapsulation.
    fn encapsulation_name(&self, encapsulation: &[u8]) -> Result<ExchangeKey, Refusal>;

    /// A fresh secret for the owner of `public`, and its encapsulation.
    ///
    /// # Errors
    /// [`Refusal::KemMalformed`], [`Refusal::ExchangeWeak`].
    fn encapsulate(&self, public: &[u8], entropy: &mut dyn Entropy) -> Result<(Vec<u8>, SharedSecret), Refusal>;

    /// The secret of an encapsulation to this key.
    ///
    /// Bytes that were altered may give another secret instead of a refusal: what is sealed under it does not open
    /// then.
    ///
    /// # Errors
    /// [`Refusal::KemMalformed`], [`Refusal::ExchangeWeak`].
    fn decapsulate(&self, secret: &KemSecret, encapsulation: &[u8]) -> Result<SharedSecret, Refusal>;
}

impl KemId {
    /// The mechanism.
    pub fn kem(self) -> &'static dyn Kem {
        match self {
            Self::X25519 => &X25519,
            Self::XWing => &XWing,
        }
    }
}

impl KemSecret {
    /// A fresh one.
    pub fn draw(entropy: &mut dyn Entropy) -> Self {
        Self::from_bytes(draw(entropy))
    }

    /// The public half as a node's prekey, under the node's key. For X-Wing the key itself travels beside it.
    ///
    /// # Errors
    /// [`Refusal::ExchangeWeak`] for a secret that no honest draw gives.
    pub fn offer(&self, kem: KemId, node: NodeId, key: &SecretKey) -> Result<SignedPrekey, Refusal> {
        let kem = kem.kem();
        Ok(SignedPrekey::sign(node, kem.key_name(&kem.public_key(self))?, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(from: u8) -> impl FnMut(&mut [u8]) {
        let mut next = from;
        move |bytes: &mut [u8]| bytes.iter_mut().for_each(|byte| (*byte, next) = (next, next.wrapping_add(1)))
    }

    #[test]
    fn both_sides_of_either_mechanism_agree() {
        for id in [KemId::X25519, KemId::XWing] {
            let kem = id.kem();
            assert_eq!(kem.id(), id);
            let secret = KemSecret::draw(&mut counting(1));
            let public = kem.public_key(&secret);
            let (encapsulation, sent) = kem.encapsulate(&public, &mut counting(2)).expect("a key");
            let received = kem.decapsulate(&secret, &encapsulation).expect("whole");
            assert_eq!(sent.expose(), received.expose());
            let (key, name) = (kem.key_name(&public), kem.encapsulation_name(&encapsulation));
            let (key, name) = (key.expect("a key"), name.expect("whole"));
            assert!(sent.is_between(&key, &name) && received.is_between(&key, &name));
            let other = kem.decapsulate(&KemSecret::draw(&mut counting(9)), &encapsulation).expect("well formed");
            assert_ne!(other.expose(), sent.expose());
        }
    }

    #[test]
    fn a_prekey_of_either_mechanism_is_offered_under_the_nodes_key() {
        let (secret, key) = (KemSecret::draw(&mut counting(1)), SecretKey::from_seed(&[7; 32]));
        for id in [KemId::X25519, KemId::XWing] {
            let offered = secret.offer(id, NodeId::new(3), &key).expect("an honest draw");
            assert_eq!(offered.verify(&key.public_key()), Ok(()));
            assert_eq!(Ok(offered.key), id.kem().key_name(&id.kem().public_key(&secret)));
        }
        let plain = crate::prekey::ExchangeSecret::from_bytes(secret.expose()).offer(NodeId::new(3), &key);
        assert_eq!(secret.offer(KemId::X25519, NodeId::new(3), &key), Ok(plain), "as it was before there were two");
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        for kem in [KemId::X25519, KemId::XWing].map(KemId::kem) {
            let secret = KemSecret::draw(&mut counting(1));
            let public = kem.public_key(&secret);
            let (encapsulation, _) = kem.encapsulate(&public, &mut counting(2)).expect("a key");
            let refused = |result: Result<(), Refusal>| assert_eq!(result.map_err(|why| why.code()), Err("W-132"));
            for cut in [0, 1, 31] {
                refused(kem.encapsulate(&public[..cut], &mut counting(3)).map(drop));
                refused(kem.decapsulate(&secret, &encapsulation[..cut]).map(drop));
                refused(kem.key_name(&public[..cut]).map(drop));
                refused(kem.encapsulation_name(&encapsulation[..cut]).map(drop));
            }
            refused(kem.encapsulate(&[public.as_slice(), &[0]].concat(), &mut counting(3)).map(drop));
            refused(kem.decapsulate(&secret, &[encapsulation.as_slice(), &[0]].concat()).map(drop));
        }
    }
}
