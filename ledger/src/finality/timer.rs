//! When a view has lasted too long.

use std::time::Duration;

use genesis::Parameters;

use crate::planted::planted;

/// Doubling stops here at the latest: the longest timeout comes long before.
const DOUBLINGS_MAX: u32 = 24;

/// The view timer of one node, on its steady clock.
///
/// It runs from when something became due, or from the last progress if that is later. Each term that ended without a
/// final block doubles the patience up to a cap: so once the network is good again, all honest nodes wait long enough at
/// the same time, whatever it takes a message to arrive.
///
/// A leader that leaves out what waits makes progress with the rest. So the patience with that is another one, which no
/// progress starts anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Timer {
    /// When the last step forward was seen.
    progress_at: Duration,
    /// Since when something is due.
    due_since: Option<Duration>,
    /// Since when the leader's blocks pass over an entry that waits here.
    passed_over_since: Option<Duration>,
    /// Terms that ended in a row without a final block.
    failed_terms: u32,
}

impl Timer {
    pub(super) fn new(now: Duration) -> Self {
        Self { progress_at: now, due_since: None, passed_over_since: None, failed_terms: 0 }
    }

    /// A block was certified, or a term was entered or got its leader.
    pub(super) fn progress(&mut self, now: Duration) {
        if planted!(TimerNeverReset) {
            return;
        }
        self.progress_at = now;
        self.due_since = self.due_since.map(|_| now);
        if planted!(PassingOverForgotten) {
            self.passed_over_since = self.passed_over_since.map(|_| now);
        }
    }

    /// A block became final.
    pub(super) fn became_final(&mut self, now: Duration) {
        self.progress(now);
        self.failed_terms = 0;
    }

    /// A term ended, and nothing had become final in it.
    pub(super) fn term_failed(&mut self) {
        self.failed_terms = self.failed_terms.saturating_add(1);
    }

    /// Tells whether something is due now.
    pub(super) fn observe(&mut self, due: bool, now: Duration) {
        self.due_since = due.then(|| self.due_since.unwrap_or(now));
    }

    /// Since when the leader's blocks pass over what waits here, if they do.
    pub(super) fn passed_over(&mut self, since: Option<Duration>) {
        self.passed_over_since = since;
    }

    /// For how long something may be due now, or passed over.
    pub(super) fn patience(&self, parameters: &Parameters) -> Duration {
        let doubled = parameters.view_timeout_ms.saturating_mul(1 << self.failed_terms.min(DOUBLINGS_MAX));
        Duration::from_millis(doubled.min(parameters.view_timeout_max_ms))
    }

    /// How much longer than in good times that is.
    pub(super) fn extra_patience(&self, parameters: &Parameters) -> Duration {
        self.patience(parameters).saturating_sub(Duration::from_millis(parameters.view_timeout_ms))
    }

    /// Whether it has run out.
    pub(super) fn ran_out(&self, parameters: &Parameters, now: Duration) -> bool {
        self.end(parameters) <= now
    }

    /// Whether the leader has passed over what waits here for too long.
    pub(super) fn passes_over_too_long(&self, parameters: &Parameters, now: Duration) -> bool {
        self.end_of_passing_over(parameters).is_some_and(|end| end <= now)
    }

    /// How long it still runs, in ms.
    pub(super) fn left_ms(&self, parameters: &Parameters, now: Duration) -> u64 {
        let end = self.end(parameters);
        let end = self.end_of_passing_over(parameters).map_or(end, |other| other.min(end));
        u64::try_from(end.saturating_sub(now).as_millis()).unwrap_or(u64::MAX)
    }

    /// Terms that ended in a row without a final block.
    pub(super) fn failed_terms(&self) -> u32 {
        self.failed_terms
    }

    /// When it runs out. With nothing due a leader still owes an empty block now and then.
    fn end(&self, parameters: &Parameters) -> Duration {
        let patience = self.patience(parameters);
        let idle = Duration::from_millis(parameters.idle_block_ms).saturating_add(patience);
        let idle = self.progress_at.saturating_add(idle);
        self.due_since.map_or(idle, |since| idle.min(since.saturating_add(patience)))
    }

    fn end_of_passing_over(&self, parameters: &Parameters) -> Option<Duration> {
        Some(self.passed_over_since?.saturating_add(self.patience(parameters)))
    }
}
