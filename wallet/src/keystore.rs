//! Where a long-lived key is kept, and how it signs from there.
//!
//! A key of an operator may be in a token (a smart card, an HSM) that never gives its secret out, so whoever signs with it
//! sees a [`KeyStore`] and not the secret. Two kinds exist: a [`SecretKey`] in memory, which came from a file, in the clear
//! or wrapped under a passphrase ([`wrapped`]), and a token, whose adapter is the node's, because it is a device.
//!
//! What follows from a secret cannot follow from one in a token. A node's key is such: its libp2p identity and the sealing
//! of its session files need the secret itself, so a node takes its key from a file and never from a token.

pub mod passphrase;
pub mod wrapped;

use crate::{
    digest::Digest,
    identity::{PublicKey, SecretKey, Signature, signed_bytes},
    refusal::Refusal,
};

/// A place that keeps one Ed25519 key and signs with it.
pub trait KeyStore {
    /// The public half.
    fn public_key(&self) -> PublicKey;

    /// Ed25519 over these 32 bytes as they are (RFC 8032, no context of its own, no hash before). For implementors; who
    /// signs calls [`Self::sign`].
    ///
    /// # Errors
    /// [`Refusal::KeyStoreFailed`].
    fn sign_digest(&self, digest: &Digest) -> Result<Signature, Refusal>;

    /// Signs `message` under a context of [`crate::identity::context`], and checks the signature before it is handed on: a
    /// token with a fault must not show two signatures of one message, from which an Ed25519 secret follows.
    ///
    /// # Errors
    /// [`Refusal::KeyStoreFailed`], and [`Refusal::SignatureInvalid`] if what the store made does not verify.
    fn sign(&self, context: &str, message: &[u8]) -> Result<Signature, Refusal> {
        let signature = self.sign_digest(&signed_bytes(context, message))?;
        let verified = self.public_key().verify(context, message, &signature);
        verified.map_err(|_| Refusal::SignatureInvalid { what: "key store" })?;
        Ok(signature)
    }
}

impl KeyStore for SecretKey {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Signature, Refusal> {
        Ok(Self::sign_digest(self, digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::context;

    /// A token that signs with another key than it says, or not at all.
    struct Faulty(Option<SecretKey>);

    impl KeyStore for Faulty {
        fn public_key(&self) -> PublicKey {
            SecretKey::from_seed(&[1; 32]).public_key()
        }

        fn sign_digest(&self, digest: &Digest) -> Result<Signature, Refusal> {
            let key = self.0.as_ref().ok_or_else(|| Refusal::KeyStoreFailed { reason: "it was removed".to_owned() })?;
            KeyStore::sign_digest(key, digest)
        }
    }

    #[test]
    fn a_key_in_memory_signs_as_it_does_without_a_store() {
        let key = SecretKey::from_seed(&[1; 32]);
        let store: &dyn KeyStore = &key;
        let signature = store.sign(context::GOVERNANCE_BALLOT, b"ballot");
        assert_eq!(signature, Ok(key.sign(context::GOVERNANCE_BALLOT, b"ballot")));
        assert_eq!(store.public_key(), key.public_key());
    }

    #[test]
    fn a_signature_that_does_not_verify_is_not_handed_on() {
        let faulty = |key| Faulty(key).sign(context::GENESIS, b"document");
        assert_eq!(faulty(Some(SecretKey::from_seed(&[2; 32]))), Err(Refusal::SignatureInvalid { what: "key store" }));
        assert!(faulty(Some(SecretKey::from_seed(&[1; 32]))).is_ok());
        assert_eq!(faulty(None), Err(Refusal::KeyStoreFailed { reason: "it was removed".to_owned() }));
    }
}
