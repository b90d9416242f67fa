//! What a hand-over commits to: a keyed chain over the pages, closed with the tail.
//!
//! The chain grows by one hash for each page, when the page is full, so that the freeze costs the same whatever the
//! length of the session.

use crate::{
    chain::PageHashKey,
    digest::{Digest, blake3},
    ticket::{Blind, ContentCommitment},
};

const PAGE_DOMAIN: &str = "batchmind/v1/wallet/content-page";
const PAGES_DOMAIN: &str = "batchmind/v1/wallet/content-pages";
const TAIL_DOMAIN: &str = "batchmind/v1/wallet/content-tail";
const PART_DOMAIN: &str = "batchmind/v1/wallet/content-part";

/// The hashes of a wallet's full pages so far, in order.
#[derive(Clone, Debug)]
pub struct ContentChain {
    key: PageHashKey,
    pages: u64,
    last: Digest,
}

/// Keyed hashes of the parts of a tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailDigests {
    /// The page that was not full, head included; of no bytes if there is none.
    pub page: Digest,
    /// The continuation.
    pub continuation: Digest,
    /// All that stands in the journal.
    pub journal: Digest,
    /// The batch record, C1 to C5.
    pub record: Digest,
}

impl ContentChain {
    /// The chain of no page.
    pub const fn new(key: PageHashKey) -> Self {
        Self { key, pages: 0, last: Digest::ZERO }
    }

    /// Appends the hash in the next full page's head.
    pub fn push(&mut self, page_hash: &Digest) {
        self.last = blake3(PAGE_DOMAIN, Some(self.key.expose()), &[self.last.as_bytes(), page_hash.as_bytes()]);
        self.pages += 1;
    }

    /// How many pages the chain covers.
    pub const fn pages(&self) -> u64 {
        self.pages
    }

    /// What an offer commits to: the full pages so far.
    pub fn pages_root(&self) -> Digest {
        blake3(PAGES_DOMAIN, Some(self.key.expose()), &[&self.pages.to_le_bytes(), self.last.as_bytes()])
    }

    /// What a ticket commits to: pages, tail, continuation, journal and record.
    pub fn root(&self, tail: &TailDigests) -> Digest {
        let TailDigests { page, continuation, journal, record } = tail;
        let pages = &self.pages_root();
        let parts = [pages, page, continuation, journal, record].map(|digest| digest.as_bytes().as_slice());
        blake3(TAIL_DOMAIN, Some(self.key.expose()), &parts)
    }

    /// The commitment to the pages alone, under a fresh blind.
    pub fn commit_pages(&self, blind: &Blind) -> ContentCommitment {
        ContentCommitment::new(&self.pages_root(), blind)
    }
}

impl TailDigests {
    /// Of the four parts as they travel.
    pub fn of(key: &PageHashKey, page: &[u8], continuation: &[u8], journal: &[u8], record: &[u8]) -> Self {
        let part = |name: &[u8], bytes: &[u8]| blake3(PART_DOMAIN, Some(key.expose()), &[name, bytes]);
        Self {
            page: part(b"page", page),
            continuation: part(b"continuation", continuation),
            journal: part(b"journal", journal),
            record: part(b"record", record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(key: u8, pages: &[u8]) -> ContentChain {
        let mut chain = ContentChain::new(PageHashKey::from_bytes([key; 32]));
        for page in pages {
            chain.push(&Digest([*page; 32]));
        }
        chain
    }

    #[test]
    fn order_number_and_key_of_the_pages_are_committed() {
        let base = chain(1, &[2, 3]).pages_root();
        for other in [chain(1, &[3, 2]), chain(1, &[2]), chain(1, &[2, 3, 3]), chain(9, &[2, 3])] {
            assert_ne!(base, other.pages_root());
        }
    }

    #[test]
    fn every_part_of_the_tail_is_committed_in_its_place() {
        let (key, chain) = (PageHashKey::from_bytes([1; 32]), chain(1, &[2]));
        let root = |page, continuation, journal, record| {
            chain.root(&TailDigests::of(&key, page, continuation, journal, record))
        };
        let base = root(b"a", b"b", b"c", b"d");
        let others = [
            root(b"x", b"b", b"c", b"d"),
            root(b"a", b"x", b"c", b"d"),
            root(b"a", b"b", b"x", b"d"),
            root(b"a", b"b", b"c", b"x"),
            root(b"b", b"a", b"c", b"d"),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn one_root_has_a_different_commitment_under_each_blind() {
        let chain = chain(1, &[2]);
        let commit = |blind| chain.commit_pages(&Blind::from_bytes([blind; 32]));
        assert_ne!(commit(1), commit(2));
    }
}
