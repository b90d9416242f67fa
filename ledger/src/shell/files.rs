//! What a replica's files hold when it starts, and whether they are of one time.
//!
//! Each file is sound by itself: RocksDB and our own checksums see to that. But the end of a write-ahead log can be missing
//! without a trace, and a folder can be put together from copies of several days. So the files know of each other: the
//! final store names its block's place in the raft log, the raft log notes which block is final, and the vote record notes
//! how long the raft log was. Where one of them has less than another says, the node does not start.

use genesis::Consortium;
use wallet::units::NodeId;

use super::{
    disk::Disk,
    fault::Fault,
    final_store::{FinalStore, Tip},
    log_store::LogStore,
    raft::{RaftLogId, block_of, first_entry},
    recovery::{is_restored, must_return},
    vote_record::{VoteFile, Votes},
};
use crate::{finality::VoteRecord, planted::planted};

/// See the module.
pub(super) struct Files {
    pub(super) log: LogStore,
    pub(super) store: FinalStore,
    pub(super) tip: Tip,
    pub(super) vote_file: VoteFile,
    pub(super) votes: Votes,
    /// Whether the record is complete, so that this node may vote.
    pub(super) may_vote: bool,
}

impl Files {
    /// Opens or creates the files of node `me` in `dir`.
    ///
    /// # Errors
    /// [`Fault`] if they are damaged, of several times, or somebody else's.
    pub(super) fn open(dir: &Disk, consortium: &Consortium, me: NodeId) -> Result<Self, Fault> {
        let vote_file = VoteFile::new(dir.clone());
        let mut found = vote_file.load()?;
        if let Some(votes) = found.as_mut().filter(|_| planted!(VoteRecordForgotten)) {
            votes.record = VoteRecord::default();
        }
        let (store, tip) = FinalStore::open(dir.join("final"), consortium)?;
        let name = tip.executed.name;
        if let Some(votes) = &found
            && (votes.consortium != name || votes.node != me)
        {
            return Err(Fault::OtherConsortium { expected: name, found: votes.consortium });
        }
        let log = LogStore::open(dir.join("log"))?;
        check_final(&log, &tip)?;
        if let Some(votes) = &mut found {
            check_log(&log, &tip, votes, &vote_file)?;
        }
        let is_new = tip.log_id.is_none() && log.last().is_none();
        let may_vote = is_new || found.as_ref().is_some_and(|votes| !must_return(&log, &tip, votes));
        let votes = found.unwrap_or_else(|| Votes::new(name, me));
        if is_new {
            // Before anything else, so that a folder with a log but no record is one that lost it.
            vote_file.save(&votes)?;
            log.append_first(first_entry(consortium))?;
        }
        // Before the first block, entry 0 is every log's.
        log.set_final(tip.log_id.unwrap_or(first_entry(consortium).log_id))?;
        Ok(Self { log, store, tip, vote_file, votes, may_vote })
    }
}

/// The raft log must hold the final block, or begin after it: it is on the disk before anybody votes for it. And the
/// final block must be the one that the log knows as final, or a later one.
fn check_final(log: &LogStore, tip: &Tip) -> Result<(), Fault> {
    let at = tip.log_id.map(|log_id| log_id.index);
    let has_gone_back = |noted: &RaftLogId| at < Some(noted.index) && !planted!(FinalNotCompared);
    if let Some(noted) = log.noted_final()?.filter(has_gone_back) {
        return Err(Fault::Missing { store: "final", what: format!("the block at raft index {}", noted.index) });
    }
    let Some(log_id) = tip.log_id else { return Ok(()) };
    if log.purged().is_some_and(|purged| purged.log_id == log_id) {
        return Ok(());
    }
    let stored = log.entry(log_id.index)?.filter(|stored| stored.entry.log_id == log_id);
    let digest = stored.and_then(|stored| block_of(stored.entry)).map(|block| block.header.digest());
    if digest == Some(tip.executed.digest) {
        return Ok(());
    }
    Err(Fault::Missing { store: "log", what: format!("the final block at raft index {}", log_id.index) })
}

/// The raft log must hold what the vote record rests on. A record that was kept beside a restored ledger rested on the log
/// that is lost; from now on it rests on this one.
fn check_log(log: &LogStore, tip: &Tip, votes: &mut Votes, file: &VoteFile) -> Result<(), Fault> {
    if log.has_all_of(&votes.log)? || planted!(LogEndNotCompared) {
        return Ok(());
    }
    if is_restored(log, tip) {
        votes.log = log.end();
        return file.save(votes);
    }
    let index = votes.log.index().unwrap_or_default();
    Err(Fault::Missing { store: "log", what: format!("the entry at raft index {index}, on which votes rest,") })
}
