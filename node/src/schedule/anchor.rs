//! Anchoring: the end of the decision log goes onto the ledger soon after it grew.

use std::{sync::Arc, time::Duration};

use ledger::event::{DecisionAnchored, Event};
use scheduler::decision::LogHead;
use tokio::time::{MissedTickBehavior, interval};

use super::{Shared, lock};

/// How soon a new decision is anchored. The consortium expects it within ten seconds.
const INTERVAL: Duration = Duration::from_secs(2);

/// Anchors the log again and again.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut rounds = interval(INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut submitted = LogHead::default();
    loop {
        rounds.tick().await;
        let head = lock(&shared.log).head();
        let anchored = shared.node.replica.state().state.anchor(shared.node.me).map_or(0, |anchor| anchor.decisions);
        if head.length > anchored && head != submitted && shared.anchor(head) {
            submitted = head;
        }
    }
}

impl Shared {
    /// Whether the replica took the anchor; it sends it until it is final.
    fn anchor(&self, head: LogHead) -> bool {
        let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: head.length, log_head: head.hash });
        match self.node.replica.submit(self.node.sign(anchored, None)) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, decisions = head.length, "the decision log could not be anchored");
                false
            }
        }
    }
}
