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
    let (mut last_block, mut last_count) = (Instant::now(), 1);
    loop {
        let Some((raft, term)) = leading(&shared) else {
            sleep(RETRY).await;
            continue;
        };
        wait_for_need(&shared, last_block, last_count).await;
        match propose(&shared, &raft, term).await {
            Some(count) => (last_block, last_count) = (Instant::now(), count.max(1)),
            None => {
                // Somebody's block is open, or the leadership is over.
                let mut tip = shared.tip.subscribe();
                let _ = timeout(RETRY, tip.changed()).await;
            }
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

/// Returns when a block is needed: entries wait, raft entries without a block above them wait to be covered, or the idle
/// time is up.
///
/// Entries wait for more of them: for as many as the last block had, because whoever waited for that one may come
/// again, but no longer than the block interval. So a lone entry does not wait, and of many few blocks are made.
async fn wait_for_need(shared: &Shared, last_block: Instant, last_count: usize) {
    let parameters = shared.tip.borrow().state.parameters();
    let final_index = shared.final_at.borrow().map(|at| at.index);
    if shared.log.end().index() > final_index {
        return;
    }
    let idle_until = last_block + Duration::from_millis(parameters.idle_block_ms);
    tokio::select! {
        () = shared.queue.wait_for(1) => {
            let interval = Duration::from_millis(parameters.block_interval_ms);
            let _ = timeout(interval, shared.queue.wait_for(last_count)).await;
        }
        () = tokio::time::sleep_until(idle_until) => {}
    }
}

/// Appends one block and waits until it is final. How many entries it has; none if nothing was proposed.
async fn propose(shared: &Shared, raft: &Raft, term: u64) -> Option<usize> {
    let candidates = shared.queue.take(BLOCK_ENTRIES_MAX);
    let (reply, proposal) = oneshot::channel();
    shared.validator.send(Message::Propose { term, candidates, reply }).await.ok()?;
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
    let (height, count) = (proposal.block.header.height, proposal.block.entries.len());
    let mut answer = raft.client_write_ff(proposal.block.into()).await.ok()?;
    let mut tip = shared.tip.subscribe();
    loop {
        tokio::select! {
            covered = tip.wait_for(|tip| tip.height >= height) => return covered.ok().map(|_| count),
            // Applied, which follows finality, or lost to another leader. Its author submits again.
            _ = &mut answer => return Some(count),
            () = sleep(RETRY) => if leading(shared).is_none_or(|(_, now)| now != term) {
                return None;
            },
        }
    }
}
