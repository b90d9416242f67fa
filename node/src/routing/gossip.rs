//! The tasks behind residency: one listens to the engine, and one for each peer that takes part tells it what is new.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::error::RecvError,
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use wallet::{digest::Digest, units::NodeId};

use super::{Shared, residency::Audience};
use crate::{
    engine::TaggedNotices,
    peer::{PeerFault, SessionReply, SessionRequest},
    routing::messages::{Gossip, GossipReply},
};
use ledger::shell::clock::{Clock as _, SystemClock};

/// How soon a peer is told of a change.
const GOSSIP_INTERVAL: Duration = Duration::from_millis(100);

/// Between two looks at who takes part.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// How long a peer may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Takes the engine's notices into the own router and the residency that peers are told.
pub(super) async fn listen(shared: Arc<Shared>) {
    let mut notices = shared.node.engine.notices();
    loop {
        match notices.recv().await {
            Ok(notices) => shared.take_notices(&notices),
            // What was missed can only be corrected from scratch. The engine is not asked for all it holds: what it
            // stores or uses from here on is told again.
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "notices of the prefix cache were missed: residency begins anew");
                shared.clear_own();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Tells each peer for as long as it takes part.
pub(super) async fn tell_peers(shared: Arc<Shared>) {
    let mut tips = shared.node.replica.watch_state();
    let (mut tasks, mut telling) = (JoinSet::new(), BTreeMap::<NodeId, AbortHandle>::new());
    loop {
        tips.mark_unchanged();
        let peers: Vec<NodeId> = shared.node.members().peers(shared.node.me).iter().map(|peer| peer.node).collect();
        telling.retain(|peer, task| {
            let stays = peers.contains(peer) && !task.is_finished();
            if !stays {
                task.abort();
            }
            stays
        });
        if !telling.keys().eq(&peers) {
            let mut state = shared.lock();
            state.residency.tell(&peers);
            // Who joined may know of what its regions' tenants have here from now on.
            state.audiences.clear();
        }
        for peer in peers {
            telling.entry(peer).or_insert_with(|| tasks.spawn(tell(shared.clone(), peer)));
        }
        // Ended ones are those that were aborted.
        while tasks.try_join_next().is_some() {}
        sleep(FOLLOW_PAUSE).await;
        if tips.changed().await.is_err() {
            return;
        }
    }
}

/// Tells `peer` what is new, and at each tick how loaded this node is.
async fn tell(shared: Arc<Shared>, peer: NodeId) {
    let mut rounds = interval(GOSSIP_INTERVAL.min(shared.tick));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut load_due = Instant::now();
    loop {
        rounds.tick().await;
        let load_is_due = Instant::now() >= load_due;
        if !load_is_due && !shared.lock().residency.has_news(peer) {
            continue;
        }
        let load = match load_is_due {
            true => Some(shared.own_load().await),
            false => None,
        };
        let gossip = Gossip { load, ..shared.lock().residency.next(peer) };
        let cleared = gossip.cleared;
        let sent = Instant::now();
        match shared.ask(peer, gossip).await {
            Ok(GossipReply { boot }) => {
                shared.links.note_round_trip(peer, sent.elapsed());
                shared.lock().residency.answered(peer, boot, cleared);
            }
            Err(fault) => {
                tracing::debug!(node = %peer, %fault, "gossip was not answered");
                shared.lock().residency.lost(peer);
            }
        }
        if load_is_due {
            load_due = sent + shared.tick;
        }
    }
}

impl Shared {
    async fn ask(&self, peer: NodeId, gossip: Gossip) -> Result<GossipReply, PeerFault> {
        match self.node.link.ask(peer, SessionRequest::Gossip(gossip), TIMEOUT).await? {
            SessionReply::Gossip(reply) => Ok(reply),
            _ => Err(PeerFault::unexpected(peer)),
        }
    }

    fn take_notices(&self, notices: &TaggedNotices) {
        let audience = self.audience(&notices.salt_tag);
        let (me, now) = (self.node.me, SystemClock.now());
        let mut state = self.lock();
        state.router.on_removed(me, &notices.removed);
        state.router.on_stored(me, &notices.stored, now);
        notices.removed.iter().for_each(|block| state.residency.removed(block));
        for block in &notices.stored {
            state.residency.stored(*block, audience.clone());
        }
    }

    fn clear_own(&self) {
        let mut state = self.lock();
        state.router.on_cleared(self.node.me);
        state.residency.cleared();
    }

    /// Who may know of the blocks under a salt: the nodes that the policy of its sessions allows; nobody if no session
    /// here has that salt.
    fn audience(&self, salt_tag: &Digest) -> Audience {
        if let Some(known) = self.lock().audiences.get(salt_tag) {
            return known.clone();
        }
        let session = self.sessions.list().into_iter().find(|session| session.prefix_tag() == Some(*salt_tag));
        let Some(session) = session else { return Audience::default() };
        let mut nodes = self.node.members().in_regions(&session.allowed_regions());
        nodes.remove(&self.node.me);
        let audience = Audience::new(nodes);
        self.lock().audiences.insert(*salt_tag, audience.clone());
        audience
    }
}
