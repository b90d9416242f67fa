//! Where a leader's log and the local one part, by chain hash.

use openraft::raft::AppendEntriesRequest;
use wallet::digest::Digest;

use super::{
    fault::Fault,
    log_store::chain_hash,
    raft::{RaftLogId, TypeConfig},
    shared::Shared,
};

/// Where the leader's log and the local one part.
pub(crate) struct Divergence {
    pub(crate) index: u64,
    /// Term of the leader's entry.
    pub(crate) term: u64,
    /// Whether the ids are equal, so that raft alone would not notice.
    pub(crate) same_id: bool,
    /// Whether it is the entry before those that the request brings.
    pub(crate) is_previous: bool,
}

impl Shared {
    /// The first entry of a request that is here too, with another content or id than the leader has.
    pub(crate) fn divergence(
        &self,
        rpc: &AppendEntriesRequest<TypeConfig>,
        prev_chain: Digest,
    ) -> Result<Option<Divergence>, Fault> {
        let diverges = |log_id: RaftLogId, chain: Digest, is_previous| -> Result<Option<Option<Divergence>>, Fault> {
            Ok(self.log.link(log_id.index)?.map(|own| {
                let (index, term, same_id) = (log_id.index, log_id.leader_id.term, own.log_id == log_id);
                (!same_id || own.chain != chain).then_some(Divergence { index, term, same_id, is_previous })
            }))
        };
        if let Some(prev) = rpc.prev_log_id
            && let Some(Some(found)) = diverges(prev, prev_chain, true)?
        {
            return Ok(Some(found));
        }
        let (mut chain, purged) = (prev_chain, self.log.purged());
        for entry in &rpc.entries {
            let is_purged = purged.is_some_and(|purged| entry.log_id.index < purged.log_id.index);
            // What is new here has nothing to differ from; its hash is not needed.
            if !is_purged && self.log.link(entry.log_id.index)?.is_none() {
                break;
            }
            chain = chain_hash(chain, entry);
            if is_purged {
                continue;
            }
            match diverges(entry.log_id, chain, false)? {
                Some(None) => {}
                Some(found) => return Ok(found),
                None => break,
            }
        }
        Ok(None)
    }
}
