//! The lines to the other nodes: one to each that takes part as the final state has it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::sleep,
};
use wallet::units::NodeId;

use super::{
    errands,
    shared::Shared,
    start::or_fail,
    transport::{VOTES_MAX, Word},
};
use crate::state::State;

/// What one peer said may wait for the voting thread up to so many messages, so that nobody fills its inbox.
const SHARE: usize = 256;

/// Between two looks at who takes part.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Default)]
pub(crate) struct Lines(RwLock<BTreeMap<NodeId, Line>>);

struct Line {
    /// Votes that wait to be sent there.
    votes: mpsc::Sender<Word>,
    /// How much of what the node said may wait.
    share: Arc<Semaphore>,
}

impl Lines {
    /// The nodes at their ends.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// The share of a node; none if there is no line to it.
    pub(crate) fn share(&self, of: NodeId) -> Option<Arc<Semaphore>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&of).map(|line| line.share.clone())
    }

    /// Sends a word to every other node. What a full line drops is sent again at the next tick.
    pub(crate) fn broadcast(&self, word: &Word) {
        for line in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            let _ = line.votes.try_send(word.clone());
        }
    }

    /// Ends the lines to nodes that are not among `nodes`, and begins those that are missing: each with the votes that
    /// are to go there.
    fn set(&self, nodes: &[NodeId]) -> Vec<(NodeId, mpsc::Receiver<Word>)> {
        let mut lines = self.0.write().unwrap_or_else(PoisonError::into_inner);
        lines.retain(|node, _| nodes.contains(node));
        let new = nodes.iter().filter(|node| !lines.contains_key(*node)).copied().collect::<Vec<_>>();
        let begin = |node| {
            let (votes, outgoing) = mpsc::channel(VOTES_MAX * 4);
            lines.insert(node, Line { votes, share: Arc::new(Semaphore::new(SHARE)) });
            (node, outgoing)
        };
        new.into_iter().map(begin).collect()
    }
}

/// Keeps a line to each node that takes part, for as long as the replica runs.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let mut tips = shared.tip.subscribe();
    let mut sending = JoinSet::new();
    loop {
        let others = others(&tips.borrow_and_update().state, shared.me);
        for (node, votes) in shared.lines.set(&others) {
            sending.spawn(or_fail(shared.clone(), errands::send_votes(shared.clone(), node, votes)));
        }
        shared.peers.lock().unwrap_or_else(PoisonError::into_inner).retain(|node, _| others.contains(node));
        // A task ends with its line.
        while sending.try_join_next().is_some() {}
        sleep(FOLLOW_PAUSE).await;
        if tips.changed().await.is_err() {
            return;
        }
    }
}

/// All that take part but `me`. A suspended node is one of them: it follows, and may be reinstated.
fn others(state: &State, me: NodeId) -> Vec<NodeId> {
    let others = state.nodes().filter(|(id, record)| *id != me && record.standing.takes_part());
    others.map(|(id, _)| id).collect()
}
