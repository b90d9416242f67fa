//! openraft's own suite for log stores, with a state machine in memory that only the suite uses.

use std::{
    io::Cursor,
    sync::{Arc, Mutex},
};

use openraft::{
    EmptyNode, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError,
    storage::RaftStateMachine,
    testing::{StoreBuilder, Suite},
};

use crate::shell::{
    log_store::LogStore,
    raft::{RaftEntry, RaftLogId, RaftMembership, TypeConfig},
};

#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Applied>>);

#[derive(Default)]
struct Applied {
    log_id: Option<RaftLogId>,
    membership: RaftMembership,
    snapshot: Option<SnapshotMeta<u64, EmptyNode>>,
}

impl Machine {
    fn applied(&self) -> std::sync::MutexGuard<'_, Applied> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, RaftMembership), StorageError<u64>> {
        let applied = self.applied();
        Ok((applied.log_id, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<()>, StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = self.applied();
        Ok(entries
            .into_iter()
            .map(|entry| {
                applied.log_id = Some(entry.log_id);
                if let EntryPayload::Membership(membership) = entry.payload {
                    applied.membership = RaftMembership::new(Some(entry.log_id), membership);
                }
            })
            .collect())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError<u64>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, EmptyNode>,
        _: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError<u64>> {
        let mut applied = self.applied();
        applied.log_id = meta.last_log_id;
        applied.membership = meta.last_membership.clone();
        applied.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError<u64>> {
        let meta = self.applied().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: Box::default() }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError<u64>> {
        let mut applied = self.applied();
        let meta = SnapshotMeta {
            last_log_id: applied.log_id,
            last_membership: applied.membership.clone(),
            snapshot_id: "suite".to_owned(),
        };
        applied.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: Box::default() })
    }
}

/// The suite, but for two cases: one appends below a purge and with a hole, which this store refuses (see
/// `holes_and_overlaps_are_refused`), the other is about snapshots of the state machine alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_store_passes_openrafts_suite() {
    macro_rules! run {
        ($($case:ident)+) => {
            $(
                let dir = tempfile::tempdir().expect("tempdir");
                let log = LogStore::open(dir.path()).expect("a fresh log opens");
                All::$case(log, Machine::default()).await.expect(stringify!($case));
            )+
        };
    }
    run! {
        last_membership_in_log_initial last_membership_in_log last_membership_in_log_multi_step get_membership_initial
        get_membership_from_log_and_empty_sm get_membership_from_empty_log_and_sm
        get_membership_from_log_le_sm_last_applied
        get_membership_from_log_gt_sm_last_applied_1 get_membership_from_log_gt_sm_last_applied_2
        get_initial_state_without_init get_initial_state_with_state
        get_initial_state_last_log_gt_sm get_initial_state_last_log_lt_sm get_initial_state_log_ids
        get_initial_state_re_apply_committed save_vote get_log_entries limited_get_log_entries try_get_log_entry
        initial_logs get_log_state get_log_id last_id_in_log last_applied_state purge_logs_upto_0 purge_logs_upto_5
        purge_logs_upto_20 delete_logs_since_11 delete_logs_since_0 append_to_log snapshot_meta apply_single
        apply_multiple
    }
}

type All = Suite<TypeConfig, LogStore, Machine, Builder, tempfile::TempDir>;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().expect("tempdir");
        let log = LogStore::open(dir.path()).expect("a fresh log opens");
        Ok((dir, log, Machine::default()))
    }
}
