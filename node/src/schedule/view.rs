//! What one tick sees: the sessions that this node holds, its own load, its peers', and the moves in flight.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scheduler::{
    load::Load,
    record::BatchRecord,
    tick::{HopInFlight, Snapshot, TickView},
};
use wallet::{grant::WalletAddress, units::NodeId};

use super::{Shared, lock};
use crate::session::{
    Session,
    view::{SessionMode, SessionView},
};

/// See the module.
pub(super) struct View {
    own: Load,
    peers: BTreeMap<NodeId, Load>,
    batches: Vec<Batch>,
    hops: Vec<HopInFlight>,
}

struct Batch {
    record: BatchRecord,
    /// The nodes whose region the session's policy allows.
    allowed: BTreeSet<NodeId>,
}

impl View {
    /// Measures and collects.
    pub(super) async fn take(shared: &Arc<Shared>) -> Self {
        let (mut batches, mut hops) = (Vec::new(), Vec::new());
        let mut hopping = BTreeSet::new();
        for session in shared.sessions.list() {
            let view = session.view();
            if let Some(hop) = view.hop {
                hops.push(HopInFlight { peer: hop.peer, inbound: hop.inbound, blocks: hop.blocks });
                hopping.insert(view.wallet);
            }
            if is_held(&view, shared.node.me)
                && let Some(batch) = Batch::take(shared, &session).await
            {
                batches.push(batch);
            }
        }
        // Decided, and not far enough to be seen in the session.
        hops.extend(lock(&shared.busy).iter().filter(|(wallet, _)| !hopping.contains(wallet)).filter_map(
            |(_, busy)| {
                let peer = busy.next.action.destination()?;
                Some(HopInFlight { peer, inbound: false, blocks: busy.blocks })
            },
        ));
        Self { own: shared.routing.own_load().await, peers: shared.routing.peer_loads(), batches, hops }
    }

    /// As the scheduler reads it.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            own: &self.own,
            // Sessions are parked on disk; a tier in host memory is not built yet.
            host_tier: false,
            batches: self.batches.iter().map(|batch| TickView::new(&batch.record, &batch.allowed)).collect(),
            peers: &self.peers,
            hops: &self.hops,
        }
    }

    /// Blocks that a session would take at a destination.
    pub(super) fn blocks(&self, wallet: &WalletAddress) -> u32 {
        let batch = self.batches.iter().find(|batch| batch.record.identity.wallet == *wallet);
        batch.map_or(0, |batch| batch.record.routing.move_cost.blocks)
    }
}

impl Batch {
    async fn take(shared: &Shared, session: &Session) -> Option<Self> {
        let mut record = session.record().await?;
        let busy = lock(&shared.busy).get(&record.identity.wallet).copied();
        record.routing.next = record.routing.next.or(busy.map(|busy| busy.next));
        let mut allowed = shared.node.members().in_regions(&session.allowed_regions());
        allowed.remove(&shared.node.me);
        Some(Self { record, allowed })
    }
}

/// Whether the scheduler may do something with the session: it is here, and the ledger says so.
fn is_held(view: &SessionView, me: NodeId) -> bool {
    view.holder == Some(me) && matches!(view.mode, SessionMode::Serving | SessionMode::Suspended)
}
