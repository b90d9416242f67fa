//! The file by which a test switches faults on and off while the process runs. Both sides compile this very source.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The environment variable that names the file.
pub const VARIABLE: &str = "BATCHMIND_FAULTS";

/// Where a node keeps its sessions.
pub const STEPS_BELOW: &str = "/sessions/";

/// [`Control::space_left`] of a disk that takes what there is room for. Other than this, a new file is all zeros.
pub const NO_LIMIT: i64 = -1;

/// The file's content, which the loaded library maps and reads at each call. Every number has the machine's byte order.
#[derive(Debug)]
#[repr(C)]
pub struct Control {
    /// Milliseconds that the time of day is moved by. Monotonic clocks are never moved.
    pub clock_offset_ms: AtomicI64,
    /// Other than 0: `fsync`, `fdatasync` and `sync_file_range` give `EIO`, without syncing.
    pub fail_sync: AtomicU64,
    /// Bytes that regular files still take, or [`NO_LIMIT`].
    pub space_left: AtomicI64,
    /// Processes that loaded the library with this file.
    pub loaded: AtomicU64,
    /// Calls that gave `EIO`.
    pub syncs_failed: AtomicU64,
    /// Writes that gave `ENOSPC` or were cut short.
    pub writes_refused: AtomicU64,
    /// Times that were moved.
    pub times_moved: AtomicU64,
    /// The process ends, as by SIGKILL, in the step with this number; 0 for none. A step is a call that changes something
    /// below a folder with the name [`STEPS_BELOW`]. A write is done by half.
    pub dies_at: AtomicU64,
    /// Steps since the number was set, which starts at 0 then.
    pub steps: AtomicU64,
}

impl Control {
    /// Whether steps are counted.
    pub fn counts_steps(&self) -> bool {
        self.dies_at.load(Relaxed) != 0
    }

    /// Counts a step. Whether it is the last.
    pub fn is_last_step(&self) -> bool {
        self.steps.fetch_add(1, Relaxed) + 1 == self.dies_at.load(Relaxed)
    }

    /// How many of `wanted` bytes there is room for, which it takes.
    pub fn take_space(&self, wanted: usize) -> usize {
        let take = |left: i64| (left >= 0).then(|| left - left.min(i64::try_from(wanted).unwrap_or(i64::MAX)));
        let given = match self.space_left.fetch_update(Relaxed, Relaxed, take) {
            Ok(left) => usize::try_from(left).unwrap_or(usize::MAX).min(wanted),
            Err(_) => wanted,
        };
        if given < wanted {
            self.writes_refused.fetch_add(1, Relaxed);
        }
        given
    }

    /// Whether a sync is to fail now, which is counted.
    pub fn fails_sync(&self) -> bool {
        let fails = self.fail_sync.load(Relaxed) != 0;
        if fails {
            self.syncs_failed.fetch_add(1, Relaxed);
        }
        fails
    }

    /// What is added to the time of day now, in milliseconds.
    pub fn offset_ms(&self) -> i64 {
        let offset = self.clock_offset_ms.load(Relaxed);
        if offset != 0 {
            self.times_moved.fetch_add(1, Relaxed);
        }
        offset
    }
}
