//! Raft entries from any peer, for a node that its leader starves.
//!
//! A lying leader can serve a quorum well and show one node another log, or nothing. That node then holds certificates of
//! blocks whose entries only the others have. A header names the chain hash of the log before its block, so the entries up
//! to a final block prove themselves: whoever gives them, they are what the quorum holds.

use std::time::Duration;

use openraft::{CommittedLeaderId, EntryPayload};
use tokio::time::timeout;
use wallet::{digest::Digest, units::NodeId};

use super::{
    fault::Fault,
    final_store::FinalStore,
    log_store::{Link, blocking, chain_hash, is_signed},
    raft::{RaftEntry, RaftLogId, block_of, raft_id},
    shared::{PEER_TIMEOUT, Shared},
    transport::{PeerRefusal, PeerReply, PeerRequest},
    validator::Message,
};
use crate::{finality::Input, hand_over::ClosingProof, vote::VoteKind};

/// Entries of one answer at most; the log store bounds their bytes as well.
pub(crate) const LOG_ENTRIES_MAX: usize = 1024;

/// How long the voter may take to make final what was adopted, before the leader is heard again.
const VOTER_TIME: Duration = Duration::from_secs(2);

impl Shared {
    /// The raft entries after `after`, up to a block that is final here and its certificate.
    pub(crate) async fn log_entries(&self, after: Link) -> Result<PeerReply, PeerRefusal> {
        let (log, store, final_at) = (self.log.clone(), self.store.clone(), *self.final_at.borrow());
        let found = blocking(move || {
            let index = after.log_id.index;
            if log.link(index)? != Some(after) || final_at.is_none_or(|at| at.index <= index) {
                return Ok(None);
            }
            let last = final_at.map_or(0, |at| at.index);
            let stored = log.entries_from(index.saturating_add(1))?.into_iter().take(LOG_ENTRIES_MAX);
            let mut entries: Vec<RaftEntry> =
                stored.map(|stored| stored.entry).take_while(|entry| entry.log_id.index <= last).collect();
            // Who asks can check no certificate of a later epoch than that of its next final block. What else the log
            // holds was judged by nobody.
            let Some(epoch) = first_epoch(&store, &entries)? else { return Ok(None) };
            let closing = store.hand_over(epoch)?;
            while let Some(entry) = entries.last() {
                let block = block_of(entry.clone()).filter(|block| block.header.view.epoch() == epoch);
                if let Some((header, closing)) = block.as_ref().map(|block| &block.header).zip(closing.as_ref())
                    && *header == closing.closing
                {
                    return Ok(Some((entries, closing.proof.clone())));
                }
                if let Some(block) = block
                    && let Some(certificate) = store.certificate(block.header.height)?
                    && (certificate.kind, certificate.block) == (VoteKind::Finalize, block.header.digest())
                {
                    return Ok(Some((entries, certificate.into())));
                }
                entries.pop();
            }
            Ok(None)
        });
        match found.await.map_err(|fault| self.not_ready(fault))? {
            Some((entries, ClosingProof { certificate, carriers })) => {
                Ok(PeerReply::LogEntries { entries, certificate, carriers })
            }
            None => Err(PeerRefusal::NotReady),
        }
    }

    /// Asks `peer` for the entries after the own final one, and adopts them.
    pub(crate) async fn fetch_entries(&self, peer: NodeId) -> Result<(), Fault> {
        let Some(after) = self.log.link(self.final_at.borrow().map_or(0, |at| at.index))? else { return Ok(()) };
        let reply = self.transport.request(peer, PeerRequest::LogEntries { after }, PEER_TIMEOUT).await;
        let Ok(PeerReply::LogEntries { entries, certificate, carriers }) = reply else { return Ok(()) };
        let proof = ClosingProof { certificate, carriers };
        if !self.proves(after, &entries, &proof) {
            tracing::warn!(node = %peer, "the entries are not those of the certified log");
            return Ok(());
        }
        self.adopt(after, entries, proof).await
    }

    /// Whether a quorum finalized the block in the last of `entries`, with the others before it in the log.
    fn proves(&self, after: Link, entries: &[RaftEntry], proof: &ClosingProof) -> bool {
        let Some(validators) = self.validators_of(proof.certificate.view.epoch()) else { return false };
        let Some((last, before)) = entries.split_last().filter(|_| entries.len() <= LOG_ENTRIES_MAX) else {
            return false;
        };
        let EntryPayload::Normal(packed) = &last.payload else { return false };
        let header = &packed.block().header;
        let chain = before.iter().fold(after.chain, chain_hash);
        let leader = CommittedLeaderId::new(header.view.term, raft_id(header.leader));
        follow(after.log_id, entries)
            && last.log_id.leader_id == leader
            && header.after == chain
            && proof.closes() == Some((header.height, header.digest()))
            && (proof.carriers.is_empty() || header.is_closing())
            && entries.iter().all(|entry| is_signed(entry, &|epoch| self.validators_of(epoch), &*self.checks))
            && proof.verify(&validators, &self.name()).is_ok()
    }

    /// Puts proven entries into the own log, in place of what differs from them.
    async fn adopt(&self, after: Link, entries: Vec<RaftEntry>, proof: ClosingProof) -> Result<(), Fault> {
        let _one_at_a_time = self.guard.lock().await;
        if self.final_at.borrow().map_or(0, |at| at.index) != after.log_id.index {
            // It went on meanwhile.
            return Ok(());
        }
        let last = entries.last().map_or(0, |entry| entry.log_id.index);
        let Some(missing) = self.first_missing(after.chain, &entries)? else { return Ok(()) };
        tracing::warn!(from = missing, to = last, "taking over entries that the leader did not show");
        self.restart_core(move |log| {
            log.cut(missing)?;
            log.append_proven(entries.into_iter().filter(|entry| entry.log_id.index >= missing).collect())
        })
        .await?;
        self.tell_validator(Message::Input(Input::Closing(Box::new(proof))));
        // The leader would cut again what is not final yet. When it takes longer that is what happens.
        let mut final_at = self.final_at.subscribe();
        let _ = timeout(VOTER_TIME, final_at.wait_for(|at| at.is_some_and(|at| last <= at.index))).await;
        Ok(())
    }

    /// Index of the first of these entries that the own log does not hold.
    fn first_missing(&self, mut chain: Digest, entries: &[RaftEntry]) -> Result<Option<u64>, Fault> {
        for entry in entries {
            chain = chain_hash(chain, entry);
            if self.log.link(entry.log_id.index)?.is_none_or(|own| (own.log_id, own.chain) != (entry.log_id, chain)) {
                return Ok(Some(entry.log_id.index));
            }
        }
        Ok(None)
    }
}

/// The epoch of the first of these entries that is final.
pub(super) fn first_epoch(store: &FinalStore, entries: &[RaftEntry]) -> Result<Option<u64>, Fault> {
    for block in entries.iter().filter_map(|entry| block_of(entry.clone())) {
        if store.header(block.header.height)?.is_some_and(|header| header == block.header) {
            return Ok(Some(block.header.view.epoch()));
        }
    }
    Ok(None)
}

/// Whether these ids follow `last` and each other, as those of one log do. None of them changes who replicates.
fn follow(last: RaftLogId, entries: &[RaftEntry]) -> bool {
    let mut before = last;
    entries.iter().all(|entry| {
        let follows =
            Some(entry.log_id.index) == before.index.checked_add(1) && before.leader_id <= entry.log_id.leader_id;
        before = entry.log_id;
        follows && !matches!(entry.payload, EntryPayload::Membership(_))
    })
}
