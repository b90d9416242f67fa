//! AES-256-GCM with keys that seal exactly one message, so that the nonce can be zero.
//!
//! Whoever calls [`seal`] must have derived `key` for this one message. ring does not wipe its key schedule when it is
//! dropped; it lives on the stack of these two functions only.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::refusal::Refusal;

/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;

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
}
