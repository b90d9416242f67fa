//! The keys of this node: the one that it has, and the one to which that is to be rotated, or was.

use wallet::identity::{PublicKey, SecretKey};

/// One key, or two while it is rotated. Which of them the node has, the ledger says.
#[derive(Clone, Debug)]
pub struct NodeKeys {
    key: SecretKey,
    next: Option<SecretKey>,
}

impl NodeKeys {
    /// From `key-file` and `next-key-file`. A checked configuration has the one first that the ledger names.
    pub const fn new(key: SecretKey, next: Option<SecretKey>) -> Self {
        Self { key, next }
    }

    /// The first.
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The other one, while the key is rotated.
    pub const fn next(&self) -> Option<&SecretKey> {
        self.next.as_ref()
    }

    /// The one with this public half.
    pub fn named(&self, key: PublicKey) -> Option<&SecretKey> {
        self.all().find(|own| own.public_key() == key)
    }

    /// The one with another public half.
    pub fn other_than(&self, key: PublicKey) -> Option<&SecretKey> {
        self.all().find(|own| own.public_key() != key)
    }

    /// The same keys, that with this public half first.
    #[must_use]
    pub fn with_first(&self, key: PublicKey) -> Self {
        match &self.next {
            Some(next) if next.public_key() == key => Self { key: next.clone(), next: Some(self.key.clone()) },
            _ => self.clone(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &SecretKey> {
        [Some(&self.key), self.next.as_ref()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_key_is_found_by_its_public_half_and_no_other_is() {
        let keys = NodeKeys::new(key(1), Some(key(2)));
        for seed in [1, 2] {
            assert_eq!(keys.named(key(seed).public_key()).map(SecretKey::public_key), Some(key(seed).public_key()));
            assert_eq!(keys.with_first(key(seed).public_key()).key().public_key(), key(seed).public_key());
            assert_eq!(
                keys.other_than(key(seed).public_key()).map(SecretKey::public_key),
                Some(key(3 - seed).public_key())
            );
        }
        assert!(keys.named(key(3).public_key()).is_none());
        assert!(NodeKeys::new(key(1), None).other_than(key(1).public_key()).is_none());
    }
}
