//! Small files on a node's own disk, each written as a whole: keys, continuation, tail page.
//!
//! A file is sealed under LE(rest key, "record", salt, 32) with a salt drawn each time that it is written. Its associated
//! data is its name, so that one file does not open as another. An older copy of the same file does open: what must not
//! be taken back is final on the ledger. What grows lies in streams, which [`super::segment`] seals.

use crate::{
    aead,
    chain::RestKey,
    codec::encode,
    entropy::{Entropy, draw},
    kdf,
    refusal::Refusal,
};

/// Bytes of salt before the ciphertext.
const SALT_BYTES: usize = 32;

/// A file and its key.
#[derive(Clone, Debug)]
pub struct RestFile {
    key: RestKey,
    name: String,
}

impl RestFile {
    /// The file `name`, which must differ between files under one key.
    pub fn new(key: RestKey, name: &str) -> Self {
        Self { key, name: name.to_owned() }
    }

    /// What stands in the file.
    pub fn seal(&self, plain: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let salt: [u8; SALT_BYTES] = draw(entropy);
        let key = kdf::expand(self.key.expose(), "record", &salt);
        let sealed = aead::seal(&key, &encode(&self.name), plain.to_vec());
        [salt.as_slice(), &sealed].concat()
    }

    /// Opens what stands in the file.
    ///
    /// # Errors
    /// [`Refusal::SealBroken`] if it is not what was sealed for this file.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let broken = Refusal::SealBroken { what: "record on disk" };
        let (salt, sealed) = sealed.split_first_chunk::<SALT_BYTES>().ok_or(broken)?;
        let key = kdf::expand(self.key.expose(), "record", salt);
        aead::open(&key, &encode(&self.name), sealed.to_vec(), "record on disk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> RestFile {
        RestFile::new(RestKey::from_bytes([1; 32]), name)
    }

    fn sealed(salt: u8) -> Vec<u8> {
        file("keys").seal(b"secret", &mut |bytes: &mut [u8]| bytes.fill(salt))
    }

    #[test]
    fn the_bytes_are_pinned_and_read_back() {
        let hash = crate::digest::sha256("golden", &[&sealed(1)]).to_string();
        assert_eq!(&hash[..16], "8b126370d61d5f63");
        assert_eq!(file("keys").open(&sealed(1)), Ok(b"secret".to_vec()));
        assert_ne!(sealed(1)[32..], sealed(2)[32..], "each time under another key");
    }

    #[test]
    fn another_file_another_key_and_any_flipped_bit_or_cut_do_not_open() {
        let (sealed, broken) = (sealed(1), Err(Refusal::SealBroken { what: "record on disk" }));
        assert_eq!(file("hop").open(&sealed), broken);
        assert_eq!(RestFile::new(RestKey::from_bytes([2; 32]), "keys").open(&sealed), broken);
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert_eq!(file("keys").open(&flipped), broken, "byte {at}");
            assert_eq!(file("keys").open(&sealed[..at]), broken, "cut at {at}");
        }
    }
}
