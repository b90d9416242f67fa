//! Small files on a node's own disk: keys, continuation, tail page.
//!
//! Each record is sealed under LE(rest key, "record", salt, 32) with a salt drawn for it. Its associated data names
//! the file, the record's sequence number and the tag of the record before it, so that a record that was altered,
//! moved, dropped from the middle or taken from an older copy of the file does not open. A file cut after a whole
//! record cannot be told from a shorter one; what must not be lost is final on the ledger.

use serde::Serialize;

use crate::{
    aead::{self, TAG_BYTES},
    chain::RestKey,
    codec::encode,
    entropy::{Entropy, draw},
    kdf,
    refusal::Refusal,
};

/// Bytes of salt before the ciphertext.
const SALT_BYTES: usize = 32;

/// Bytes that a sealed record has beyond its plaintext.
pub const RECORD_OVERHEAD_BYTES: usize = SALT_BYTES + TAG_BYTES;

/// The records of one file, in order. One value both reads what is there and appends to it.
#[derive(Clone, Debug)]
pub struct RestFile {
    key: RestKey,
    name: String,
    sequence: u64,
    previous: [u8; TAG_BYTES],
}

impl RestFile {
    /// At the start of the file. `name` must differ between files under one key.
    pub fn new(key: RestKey, name: &str) -> Self {
        Self { key, name: name.to_owned(), sequence: 0, previous: [0; TAG_BYTES] }
    }

    /// How many records were read or written.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The next record, sealed. Append it to the file before sealing another.
    pub fn seal(&mut self, record: &[u8], entropy: &mut dyn Entropy) -> Vec<u8> {
        let salt: [u8; SALT_BYTES] = draw(entropy);
        let key = kdf::expand(self.key.expose(), "record", &salt);
        let sealed = aead::seal(&key, &self.label(), record.to_vec());
        self.advance(&sealed);
        [salt.as_slice(), &sealed].concat()
    }

    /// Opens the next record.
    ///
    /// # Errors
    /// [`Refusal::SealBroken`] if it is not the record that was sealed at this place; the place does not advance.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let broken = Refusal::SealBroken { what: "record on disk" };
        let (salt, sealed) = sealed.split_first_chunk::<SALT_BYTES>().ok_or(broken)?;
        let key = kdf::expand(self.key.expose(), "record", salt);
        let record = aead::open(&key, &self.label(), sealed.to_vec(), "record on disk")?;
        self.advance(sealed);
        Ok(record)
    }

    fn label(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct RecordLabel<'a> {
            file: &'a str,
            sequence: u64,
            previous: [u8; TAG_BYTES],
        }
        encode(&RecordLabel { file: &self.name, sequence: self.sequence, previous: self.previous })
    }

    /// `sealed` ends with its tag.
    fn advance(&mut self, sealed: &[u8]) {
        self.previous = *sealed.last_chunk().expect("a sealed record holds its tag");
        self.sequence += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> RestFile {
        RestFile::new(RestKey::from_bytes([1; 32]), name)
    }

    /// Two records, and a way to make others: `seed` stands for the random bytes.
    fn journal(seed: u8, records: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut next = seed;
        let mut entropy = move |bytes: &mut [u8]| {
            bytes.fill(next);
            next = next.wrapping_add(1);
        };
        let mut file = file("journal");
        records.iter().map(|record| file.seal(record, &mut entropy)).collect()
    }

    #[test]
    fn records_read_back_in_order_and_more_can_follow() {
        let sealed = journal(1, &[b"a", b"b"]);
        let mut reader = file("journal");
        assert_eq!(reader.open(&sealed[0]), Ok(b"a".to_vec()));
        assert_eq!(reader.open(&sealed[1]), Ok(b"b".to_vec()));
        let third = reader.clone().seal(b"c", &mut |bytes: &mut [u8]| bytes.fill(9));
        assert_eq!(reader.open(&third), Ok(b"c".to_vec()));
        assert_eq!(reader.sequence(), 3);
    }

    #[test]
    fn a_record_that_was_altered_moved_dropped_or_spliced_does_not_open() {
        let (sealed, older) = (journal(1, &[b"a", b"b"]), journal(50, &[b"x", b"b"]));
        let broken = Err(Refusal::SealBroken { what: "record on disk" });
        let mut reader = file("journal");
        assert_eq!(reader.open(&sealed[1]), broken, "the first was dropped");
        let mut altered = sealed[0].clone();
        altered[40] ^= 1;
        for bytes in [altered.as_slice(), &altered[..20], b""] {
            assert_eq!(reader.open(bytes), broken);
        }
        assert_eq!(file("keys").open(&sealed[0]), broken, "another file");
        assert_eq!(reader.open(&sealed[0]), Ok(b"a".to_vec()), "a failure does not advance");
        assert_eq!(reader.open(&older[1]), broken, "the same place in an older copy");
        assert_eq!(reader.open(&sealed[0]), broken, "the same record twice");
    }
}
