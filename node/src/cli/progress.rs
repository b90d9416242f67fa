//! Progress of long work, on standard error where that is a terminal.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

/// Between two lines at least.
const EVERY: Duration = Duration::from_millis(200);

/// One line that is written again and again, and removed at the end.
#[derive(Debug)]
pub(super) struct Progress {
    unit: &'static str,
    shown: Option<Instant>,
    is_seen: bool,
}

impl Progress {
    pub(super) fn new(unit: &'static str) -> Self {
        Self { unit, shown: None, is_seen: stderr().is_terminal() }
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64) {
        if self.is_seen && self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            // Nobody may be reading.
            let _ = write!(stderr(), "\r\x1b[K{done} {}", self.unit);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}
