//! Whose the blocks of the prefix cache are.

use std::collections::{BTreeMap, HashMap};

use gpu::{CacheNotice, Model};
use wallet::{digest::Digest, prefix::prefix_root};

use super::TaggedNotices;
use crate::session::request::PrefixSalt;

/// Under which salt each block of the prefix cache is. Blocks of unknown salts are nobody's to know.
#[derive(Default)]
pub(super) struct Tags {
    roots: HashMap<Digest, Digest>,
    blocks: HashMap<Digest, Digest>,
}

impl Tags {
    /// Blocks under this salt have a tag from now on.
    pub(super) fn know(&mut self, salt: &PrefixSalt, model: &Model) {
        self.roots.insert(prefix_root(&salt.0, &model.hash(), &gpu::numerics_id()), salt.tag());
    }

    /// The notice, for each salt that it concerns.
    pub(super) fn tag(&mut self, notice: CacheNotice) -> Vec<TaggedNotices> {
        match notice {
            CacheNotice::Stored { hashes, parent } => {
                let known = self.roots.get(&parent).or_else(|| self.blocks.get(&parent)).copied();
                let Some(salt_tag) = known else { return Vec::new() };
                self.blocks.extend(hashes.iter().map(|hash| (*hash, salt_tag)));
                vec![TaggedNotices { salt_tag, stored: hashes, removed: Vec::new() }]
            }
            CacheNotice::Removed { hashes } => self.removed(hashes),
            CacheNotice::Cleared => self.forget_all(),
        }
    }

    /// No block is there any more.
    pub(super) fn forget_all(&mut self) -> Vec<TaggedNotices> {
        let hashes = self.blocks.keys().copied().collect();
        self.removed(hashes)
    }

    fn removed(&mut self, hashes: Vec<Digest>) -> Vec<TaggedNotices> {
        let mut by_tag: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        for hash in hashes {
            if let Some(tag) = self.blocks.remove(&hash) {
                by_tag.entry(tag).or_default().push(hash);
            }
        }
        let tagged = |(salt_tag, removed)| TaggedNotices { salt_tag, stored: Vec::new(), removed };
        by_tag.into_iter().map(tagged).collect()
    }
}
