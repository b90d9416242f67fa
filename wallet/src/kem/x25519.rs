//! X25519 as a key encapsulation: the encapsulation is the sender's ephemeral key.

use super::{Kem, KemId, KemSecret};
use crate::{
    entropy::Entropy,
    prekey::{ExchangeKey, ExchangeSecret, SharedSecret},
    refusal::Refusal,
};

/// X25519, RFC 7748. Keys and encapsulations have 32 bytes and stand for themselves.
#[derive(Clone, Copy, Debug)]
pub struct X25519;

impl Kem for X25519 {
    fn id(&self) -> KemId {
        KemId::X25519
    }

    fn public_key(&self, secret: &KemSecret) -> Vec<u8> {
        ExchangeSecret::from_bytes(secret.expose()).public_key().0.to_vec()
    }

    fn key_name(&self, public: &[u8]) -> Result<ExchangeKey, Refusal> {
        key(public, "key")
    }

    fn encapsulation_name(&self, encapsulation: &[u8]) -> Result<ExchangeKey, Refusal> {
        key(encapsulation, "encapsulation")
    }

    fn encapsulate(&self, public: &[u8], entropy: &mut dyn Entropy) -> Result<(Vec<u8>, SharedSecret), Refusal> {
        let public = key(public, "key")?;
        let ephemeral = ExchangeSecret::draw(entropy);
        let shared = ephemeral.agree(&public)?;
        Ok((ephemeral.public_key().0.to_vec(), shared))
    }

    fn decapsulate(&self, secret: &KemSecret, encapsulation: &[u8]) -> Result<SharedSecret, Refusal> {
        ExchangeSecret::from_bytes(secret.expose()).agree(&key(encapsulation, "encapsulation")?)
    }
}

fn key(bytes: &[u8], what: &'static str) -> Result<ExchangeKey, Refusal> {
    bytes.try_into().map(ExchangeKey).map_err(|_| Refusal::KemMalformed { what })
}
