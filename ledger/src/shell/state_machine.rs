//! openraft's state machine: bookkeeping only, because finality and not commitment changes the state.
//!
//! The applied state that openraft sees is the final one. Commit never passes final on an honest node: followers clamp
//! the leader's commit to their own final entry, and a leader counts an acknowledgement only once its own final covers
//! it. A commit that passed final anyway waits here until the block is final, or until the guard cuts it from the log
//! and starts the core again. In a consortium of one, which has nobody to wait for but itself, every commit does.

use std::io::Cursor;

use openraft::{
    AnyError, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError, StorageIOError,
    storage::RaftStateMachine,
};
use tokio::sync::watch;

use super::raft::{RaftEntry, RaftLogId, RaftMembership, TypeConfig};

/// See the module.
#[derive(Clone)]
pub struct FinalStateMachine {
    applied: Option<RaftLogId>,
    membership: RaftMembership,
    /// After which entry the log begins here; none if it is whole.
    begins_after: Option<RaftLogId>,
    final_at: watch::Receiver<Option<RaftLogId>>,
}

impl FinalStateMachine {
    /// A state machine that stands at the final block, which the watch holds, over a log that begins after an entry. The
    /// membership is that of the final block: the log has none but that of genesis.
    pub fn new(
        membership: RaftMembership,
        begins_after: Option<RaftLogId>,
        final_at: watch::Receiver<Option<RaftLogId>>,
    ) -> Self {
        let applied = *final_at.borrow();
        Self { applied, membership, begins_after, final_at }
    }

    async fn wait_until_final(&mut self, log_id: RaftLogId) -> Result<(), StorageError<u64>> {
        let covers = |at: &Option<RaftLogId>| at.is_some_and(|at| log_id.index <= at.index);
        match self.final_at.wait_for(covers).await {
            Ok(_) => Ok(()),
            // The replica is gone.
            Err(closed) => Err(StorageIOError::apply(log_id, AnyError::new(&closed)).into()),
        }
    }
}

impl RaftStateMachine<TypeConfig> for FinalStateMachine {
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, RaftMembership), StorageError<u64>> {
        Ok(match self.applied {
            Some(log_id) => (Some(log_id), self.membership.clone()),
            None => (None, RaftMembership::default()),
        })
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = Vec::new();
        for RaftEntry { log_id, .. } in entries.into_iter().collect::<Vec<_>>() {
            self.wait_until_final(log_id).await?;
            self.applied = Some(log_id);
            applied.push(());
        }
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> NoSnapshots {
        NoSnapshots
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Err(no_snapshots())
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta<u64, openraft::EmptyNode>,
        _: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        Err(no_snapshots())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError<u64>> {
        Ok(self.begins_after.map(|log_id| {
            let last_membership = self.membership.clone();
            let meta = SnapshotMeta { last_log_id: Some(log_id), last_membership, snapshot_id: log_id.to_string() };
            Snapshot { meta, snapshot: Box::new(Cursor::new(Vec::new())) }
        }))
    }
}

/// Nothing builds snapshots: see the module.
pub struct NoSnapshots;

impl RaftSnapshotBuilder<TypeConfig> for NoSnapshots {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<u64>> {
        Err(no_snapshots())
    }
}

fn no_snapshots() -> StorageError<u64> {
    StorageIOError::write_snapshot(None, AnyError::error("openraft neither builds nor receives snapshots here")).into()
}
