//! Entries with the hash of everything up to them, and places in the log.

use genesis::ValidatorSet;
use openraft::EntryPayload;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
};

use super::{ENTRIES, STORE};
use crate::{
    block::Block,
    checks::Checks,
    shell::{
        fault::Fault,
        raft::{RaftEntry, RaftLogId},
        store::key_number,
    },
};

/// A place in the log and the hash of everything up to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The entry.
    pub log_id: RaftLogId,
    /// Hash over this entry and, through its predecessor's chain hash, over all before it.
    pub chain: Digest,
}

/// How far the log is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flushed {
    /// Raised by every truncation: an index of another generation may hold another entry now.
    pub generation: u64,
    /// The last entry on the disk.
    pub last: Option<Link>,
}

impl Flushed {
    /// Index of the last entry on the disk.
    pub fn index(&self) -> Option<u64> {
        self.last.map(|last| last.log_id.index)
    }
}

/// An entry as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chained {
    /// Chain hash at this entry.
    pub chain: Digest,
    /// The entry.
    pub entry: RaftEntry,
}

/// Chain hash of `entry` after a log with chain hash `before` (zero for the empty log).
///
/// It leaves out with which signature the leader proposed a block. A key can sign one header in many ways, and votes name
/// the header: else a leader could show two signatures, and logs with the same final blocks would part below them for
/// ever. Who takes entries from others checks that signature instead: see [`is_signed`].
pub fn chain_hash(before: Digest, entry: &RaftEntry) -> Digest {
    const DOMAIN: &str = "batchmind/v1/ledger/raft-chain";
    match &entry.payload {
        EntryPayload::Normal(block) => {
            let [head, rest] = block.without_proposal();
            sha256(DOMAIN, &[before.as_bytes(), &codec::encode(&entry.log_id), head, rest])
        }
        _ => sha256(DOMAIN, &[before.as_bytes(), &codec::encode(entry)]),
    }
}

/// Whether the leader that a block names signed its header; true of entries without a block. `validators` gives the set of
/// an epoch.
pub(crate) fn is_signed(
    entry: &RaftEntry,
    validators: &impl Fn(u64) -> Option<ValidatorSet>,
    checks: &dyn Checks,
) -> bool {
    let EntryPayload::Normal(packed) = &entry.payload else { return true };
    let Block { header, proposal, .. } = packed.block();
    let key = validators(header.view.epoch()).and_then(|validators| validators.key(header.leader));
    key.is_some_and(|key| header.is_proposed_by_with(&key, proposal, checks))
}

impl Chained {
    pub(super) fn index(&self) -> u64 {
        self.entry.log_id.index
    }

    pub(super) fn link(&self) -> Link {
        Link { log_id: self.entry.log_id, chain: self.chain }
    }

    /// About how many bytes it has on the disk.
    pub(super) fn size(&self) -> usize {
        match &self.entry.payload {
            EntryPayload::Normal(block) => block.bytes().len(),
            _ => 0,
        }
    }
}

/// What is stored under `key`.
pub(super) fn decode(key: &[u8], bytes: &[u8]) -> Result<Chained, Fault> {
    let (chain, entry): (Digest, RaftEntry) =
        codec::decode(bytes).map_err(|error| Fault::undecodable(STORE, ENTRIES, key, error))?;
    if key_number(key) != Some(entry.log_id.index) {
        return Err(Fault::damaged(STORE, ENTRIES, key, "it names another index"));
    }
    Ok(Chained { chain, entry })
}
