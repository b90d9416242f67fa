//! The leader's one proposer: batches submitted entries into blocks, one open block at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

use super::{
    raft::{Raft, raft_id},
    shared::Shared,
    validator::Message,
};
use crate::execute::BLOCK_ENTRIES_MAX;

/// How long to wait before asking again, where no watch tells.
const RETRY: Duration = Duration::from_millis(20);

/// Proposes while this node leads.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut last_block = Instant::now();
    loop {
        let Some((raft, term)) = leading(&shared) else {
            sleep(RETRY).await;
            continue;
        };
        wait_for_need(&shared, last_block).await;
        if propose(&shared, &raft, term).await.is_none() {
            // Somebody's block is open, or the leadership is over.
            let mut tip = shared.tip.subscribe();
            let _ = timeout(RETRY, tip.changed()).await;
        } else {
            last_block = Instant::now();
        }
    }
}

/// The raft core and its term, if this node leads.
fn leading(shared: &Shared) -> Option<(Raft, u64)> {
    let raft = shared.raft()?;
    let metrics = raft.metrics().borrow().clone();
    let leads = metrics.current_leader == Some(raft_id(shared.me)) && metrics.state.is_leader();
    leads.then_some((raft, metrics.current_term))
}

/// Returns when a block is needed: entries wait (then the block interval later), raft entries without a block above
/// them wait to be covered, or the idle time is up.
async fn wait_for_need(shared: &Shared, last_block: Instant) {
    let parameters = shared.consortium.parameters();
    let final_index = shared.final_at.borrow().map(|at| at.index);
    if shared.log.end().index > final_index {
        return;
    }
    let idle_until = last_block + Duration::from_millis(parameters.idle_block_ms);
    tokio::select! {
        () = shared.queue.wait_for_entries() => sleep(Duration::from_millis(parameters.block_interval_ms)).await,
        () = tokio::time::sleep_until(idle_until) => {}
    }
}

/// Appends one block and waits until it is final. None if nothing was proposed.
async fn propose(shared: &Shared, raft: &Raft, term: u64) -> Option<()> {
    let candidates = shared.queue.take(BLOCK_ENTRIES_MAX);
    let (reply, proposal) = oneshot::channel();
    shared.tell_validator(Message::Propose { term, candidates, reply });
    let proposal = match proposal.await.ok()? {
        Ok(proposal) => proposal,
        Err(candidates) => {
            shared.queue.put_back(candidates);
            return None;
        }
    };
    shared.queue.put_back(proposal.left_over);
    for (entry, refusal) in &proposal.refused {
        tracing::debug!(entry = %entry.id(), code = refusal.code(), "entry left out of the block");
    }
    let height = proposal.block.header.height;
    let mut answer = raft.client_write_ff(proposal.block).await.ok()?;
    let mut tip = shared.tip.subscribe();
    loop {
        tokio::select! {
            covered = tip.wait_for(|tip| tip.height >= height) => return covered.ok().map(|_| ()),
            // Applied, which follows finality, or lost to another leader. Its author submits again.
            _ = &mut answer => return Some(()),
            () = sleep(RETRY) => if leading(shared).is_none_or(|(_, now)| now != term) {
                return None;
            },
        }
    }
}
