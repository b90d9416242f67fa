//! The log that a lying leader shows to one follower: in itself it is consistent, with chain hashes of its own.

use std::collections::BTreeMap;

use ledger::{
    block::{Block, Header},
    shell::{
        log_store::chain_hash,
        raft::{RaftEntry, RaftLogId},
    },
};
use openraft::EntryPayload;
use wallet::digest::Digest;

/// What one follower was shown.
#[derive(Default)]
pub struct ShownLog(BTreeMap<u64, Shown>);

struct Shown {
    original: RaftLogId,
    entry: RaftEntry,
    chain: Digest,
}

impl ShownLog {
    /// Replaces `entries` after the entry at `prev`, whose chain hash is `prev_chain` in the own log, by what `change`
    /// makes of each that was not shown before. Returns them with the chain hash at `prev` in what was shown.
    pub fn show(
        &mut self,
        prev: Option<RaftLogId>,
        prev_chain: Digest,
        entries: Vec<RaftEntry>,
        mut change: impl FnMut(RaftEntry) -> RaftEntry,
    ) -> (Vec<RaftEntry>, Digest) {
        let first = prev.and_then(|prev| self.at(prev)).map_or(prev_chain, |shown| shown.chain);
        let mut chain = first;
        let mut changed = Vec::new();
        for entry in entries {
            let original = entry.log_id;
            let entry = match self.at(original) {
                Some(shown) => shown.entry.clone(),
                None => change(entry),
            };
            chain = chain_hash(chain, &entry);
            self.0.insert(original.index, Shown { original, entry: entry.clone(), chain });
            changed.push(entry);
        }
        (changed, first)
    }

    /// Goes on after the block at `last` with one that `make` makes of its header and the chain hash, and returns where
    /// that stands. What the own log gets there in the same term is never shown.
    pub fn go_on(&mut self, last: RaftLogId, make: impl FnOnce(&Header, Digest) -> Block) -> Option<RaftLogId> {
        let (block, chain) = (self.block(last)?, self.chain(last)?);
        let log_id = RaftLogId::new(last.leader_id, last.index + 1);
        let payload = EntryPayload::Normal(make(&block.header, chain).into());
        let entry = RaftEntry { log_id, payload };
        let chain = chain_hash(chain, &entry);
        self.0.insert(log_id.index, Shown { original: log_id, entry, chain });
        Some(log_id)
    }

    /// Whether something of this term was shown.
    pub fn is_of(&self, term: u64) -> bool {
        self.0.last_key_value().is_some_and(|(_, shown)| shown.original.leader_id.term == term)
    }

    /// The block that was shown at this place.
    pub fn block(&self, at: RaftLogId) -> Option<&Block> {
        match &self.at(at)?.entry.payload {
            EntryPayload::Normal(packed) => Some(packed.block()),
            _ => None,
        }
    }

    /// The chain hash of what was shown up to this place.
    pub fn chain(&self, at: RaftLogId) -> Option<Digest> {
        self.at(at).map(|shown| shown.chain)
    }

    /// Whether something of the same term follows what was shown at this place.
    pub fn goes_on_after(&self, at: RaftLogId) -> bool {
        self.at(RaftLogId::new(at.leader_id, at.index + 1)).is_some()
    }

    /// All of the same term that follows what was shown at this place.
    pub fn after(&self, at: RaftLogId) -> Vec<RaftEntry> {
        let later = self.0.range(at.index + 1..).map(|(_, shown)| shown);
        later.take_while(|shown| shown.original.leader_id == at.leader_id).map(|shown| shown.entry.clone()).collect()
    }

    fn at(&self, at: RaftLogId) -> Option<&Shown> {
        self.0.get(&at.index).filter(|shown| shown.original == at)
    }
}
