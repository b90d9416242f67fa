//! The log as openraft's storage.

use std::{
    fmt::Debug,
    ops::{Bound, RangeBounds},
};

use openraft::{
    AnyError, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};

use super::{LogStore, READ_BYTES_MAX};
use crate::shell::{
    fault::Fault,
    raft::{RaftEntry, RaftLogId, RaftVote, TypeConfig},
};

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => Some(index.saturating_add(1)),
            Bound::Excluded(&index) => Some(index),
            Bound::Unbounded => None,
        };
        self.read(from, to, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        self.read(from, Some(to), READ_BYTES_MAX).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError<u64>> {
        let tail = self.0.tail();
        Ok(LogState {
            last_purged_log_id: tail.purged.map(|link| link.log_id),
            last_log_id: tail.last.map(|link| link.log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), StorageError<u64>> {
        let (log, vote) = (self.clone(), *vote);
        blocking(move || log.set_vote(&vote)).await.map_err(|fault| StorageIOError::write_vote(any(&fault)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, StorageError<u64>> {
        self.vote().map_err(|fault| StorageIOError::read_vote(any(&fault)).into())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError<u64>>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<RaftEntry> = entries.into_iter().collect();
        let inner = self.0.clone();
        let flushed = blocking(move || inner.append(&entries)).await.map_err(write_error)?;
        self.0.raise(flushed);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: RaftLogId) -> Result<(), StorageError<u64>> {
        let inner = self.0.clone();
        let cut = blocking(move || {
            let cut = inner.cut(log_id.index);
            inner.tail().refused_a_cut |= matches!(cut, Err(Fault::CutsFinal { .. }));
            cut
        });
        cut.await.map_err(write_error)
    }

    async fn purge(&mut self, log_id: RaftLogId) -> Result<(), StorageError<u64>> {
        let inner = self.0.clone();
        blocking(move || inner.purge(log_id)).await.map_err(write_error)
    }
}

impl LogStore {
    async fn read(&self, from: u64, to: Option<u64>, bytes_max: usize) -> Result<Vec<RaftEntry>, StorageError<u64>> {
        let inner = self.0.clone();
        let entries = blocking(move || inner.read(from, to, bytes_max))
            .await
            .map_err(|fault| StorageError::from(StorageIOError::read_logs(any(&fault))))?;
        Ok(entries.into_iter().map(|stored| stored.entry).collect())
    }
}

/// Runs disk work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    #[cfg(any(test, feature = "testing"))]
    if crate::shell::simulated::is_on() {
        tokio::time::sleep(crate::shell::simulated::disk_latency()).await;
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Fault::Stopped),
    }
}

fn write_error(fault: Fault) -> StorageError<u64> {
    StorageIOError::write_logs(any(&fault)).into()
}

fn any(fault: &Fault) -> AnyError {
    AnyError::error(fault)
}
