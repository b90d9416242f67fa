//! Parts of a file that one writer fills from front to back and that are read in any order: the segments of a stream on
//! a node's own disk.
//!
//! All parts of a file are sealed under LE(rest key, "segment", salt, 32), with a salt that was drawn for this file. The
//! nonce is the place in the file at which the sealed bytes begin, as 8 bytes, and 4 zeros. So no two parts share one,
//! if nothing is written twice at the same place: whoever goes on after a crash begins another file.

use ring::aead::NONCE_LEN;
use zeroize::Zeroizing;

use crate::{aead, chain::RestKey, kdf, refusal::Refusal};

pub use crate::aead::TAG_BYTES;

/// Bytes of a file's salt.
pub const SALT_BYTES: usize = 32;

/// Seals and opens the parts of one file.
#[derive(Clone)]
pub struct SegmentSeal {
    key: Zeroizing<[u8; 32]>,
}

impl SegmentSeal {
    /// For the file with this salt.
    pub fn new(rest: &RestKey, salt: &[u8; SALT_BYTES]) -> Self {
        Self { key: kdf::expand(rest.expose(), "segment", salt) }
    }

    /// Seals `part` in place and returns the tag, which belongs behind it. The sealed bytes must come to stand at `place`,
    /// where nothing was ever sealed before.
    pub fn seal(&self, place: u64, associated: &[u8], part: &mut [u8]) -> [u8; TAG_BYTES] {
        aead::seal_at(&self.key, nonce(place), associated, part)
    }

    /// Opens, in place, the part with its tag that stands at `place`, and returns what was sealed.
    ///
    /// # Errors
    /// [`Refusal::SealBroken`] if it is not what was sealed at this place of this file, with the same associated data.
    pub fn open<'a>(&self, place: u64, associated: &[u8], sealed: &'a mut [u8]) -> Result<&'a mut [u8], Refusal> {
        aead::open_at(&self.key, nonce(place), associated, sealed, "part of a segment")
    }
}

impl std::fmt::Debug for SegmentSeal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SegmentSeal(redacted)")
    }
}

fn nonce(place: u64) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    nonce[..8].copy_from_slice(&place.to_le_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::to_hex;
    use proptest::prelude::*;

    fn seal(salt: u8) -> SegmentSeal {
        SegmentSeal::new(&RestKey::from_bytes([1; 32]), &[salt; SALT_BYTES])
    }

    fn sealed(place: u64, associated: &[u8], part: &[u8]) -> Vec<u8> {
        let mut bytes = part.to_vec();
        let tag = seal(2).seal(place, associated, &mut bytes);
        [bytes.as_slice(), &tag].concat()
    }

    #[test]
    fn a_sealed_part_is_pinned() {
        assert_eq!(to_hex(&sealed(7, b"page", b"part")), "2eacd6e0ce208b485e500cac8e8ae7ad9cde2ed7");
    }

    #[test]
    fn equal_parts_at_two_places_share_no_bytes() {
        let (first, second) = (sealed(0, b"", &[5; 32]), sealed(80, b"", &[5; 32]));
        assert!(first.chunks(8).zip(second.chunks(8)).all(|(left, right)| left != right));
    }

    #[test]
    fn a_part_opens_at_its_place_in_its_file_and_nowhere_else() {
        let whole = sealed(7, b"page", b"part");
        assert_eq!(seal(2).open(7, b"page", &mut whole.clone()).expect("what was sealed"), b"part");
        let broken = Refusal::SealBroken { what: "part of a segment" };
        let open = |salt, place, associated: &[u8], mut bytes: Vec<u8>| {
            seal(salt).open(place, associated, &mut bytes).map(|part| part.to_vec())
        };
        for verdict in [
            open(3, 7, b"page", whole.clone()),
            open(2, 8, b"page", whole.clone()),
            open(2, 7, b"mark", whole.clone()),
            open(2, 7, b"page", whole[1..].to_vec()),
            open(2, 7, b"page", whole[..3].to_vec()),
            open(2, 7, b"page", Vec::new()),
        ] {
            assert_eq!(verdict, Err(broken.clone()));
        }
    }

    proptest! {
        #[test]
        fn a_part_with_a_flipped_bit_does_not_open(bit in 0..(4 + TAG_BYTES) * 8) {
            let mut whole = sealed(7, b"page", b"part");
            whole[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(seal(2).open(7, b"page", &mut whole).is_err());
        }
    }
}
