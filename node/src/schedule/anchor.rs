//! Anchoring: the end of the decision log goes onto the ledger soon after it grew.

use std::{sync::Arc, time::Duration};

use ledger::event::{DecisionAnchored, Event};
use scheduler::decision::LogHead;
use tokio::time::{MissedTickBehavior, interval};

use super::{Shared, anchored, lock, messages::DECISIONS_MAX};

/// How soon a new decision is anchored. The consortium expects it within ten seconds.
const INTERVAL: Duration = Duration::from_secs(2);
/// So many decisions are not left without an anchor, however fast they come: a proof leads over fewer than
/// [`DECISIONS_MAX`] to one, also where every other anchor is refused.
const AT_ONCE: u64 = DECISIONS_MAX as u64 / 2;

/// Anchors the log again and again.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut rounds = interval(INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let head = lock(&shared.log).head();
        shared.anchor(head, 1);
    }
}

impl Shared {
    /// Anchors the log as soon as many decisions have no anchor. Called with each decision.
    pub(super) fn anchor_many(&self, head: LogHead) {
        self.anchor(head, AT_ONCE);
    }

    /// Submits `head` if at least so many decisions have no anchor, and none is on its way. The replica sends it until it is
    /// final. A log without the last anchor is not signed: two of this node's anchors would contradict each other. The next
    /// tick stops the node for it.
    pub(super) fn anchor(&self, head: LogHead, new_min: u64) {
        let mut submitted = lock(&self.submitted);
        let anchored = anchored(&self.node.replica.state(), self.node.me);
        if head.length.saturating_sub(anchored.length.max(*submitted)) < new_min {
            return;
        }
        if let Err(fault) = lock(&self.log).check_anchor(anchored) {
            return tracing::error!(%fault, code = fault.code(), "the decision log is not anchored");
        }
        let event = Event::DecisionAnchored(DecisionAnchored { decisions: head.length, log_head: head.hash });
        match self.node.replica.submit(self.node.sign(event, None)) {
            Ok(_) => *submitted = head.length,
            Err(error) => tracing::warn!(%error, decisions = head.length, "the decision log could not be anchored"),
        }
    }
}
