//! One validator in a process of its own: the replica and the network of a node, without engine, sessions and
//! interfaces; or raft's ordering alone, for comparison.

use std::{path::Path, sync::Arc};

use genesis::Consortium;
use ledger::{
    block::Block,
    event::Entry,
    execute::Executed,
    shell::{
        clock::SystemClock,
        replica::{Replica, ReplicaOptions},
    },
    vote::Signer,
};
use tokio::sync::watch;
use wallet::{
    digest::Digest,
    identity::SecretKey,
    units::{BlockHeight, NodeId},
};

use super::{ordering::Ordering, shim::Shim};
use crate::{
    bench::BenchFault,
    network::{Handler, Options, Peer, PeerNetwork, ledger_transport::LedgerHandler, message::Dispatch},
};

/// See the module. Clones are one validator.
#[derive(Clone)]
pub(super) enum Member {
    /// Finality and everything.
    Final(Replica),
    /// Raft alone.
    Ordered(Ordering),
}

/// Who it is.
pub(super) struct Identity {
    pub(super) consortium: Arc<Consortium>,
    pub(super) me: NodeId,
    pub(super) key: SecretKey,
}

impl Identity {
    pub(super) fn signer(&self) -> Signer {
        Signer { node: self.me, key: self.key.clone() }
    }

    pub(super) fn network_options(&self) -> Options {
        let nodes = self.consortium.nodes().iter().zip(0..).map(|(node, index)| (NodeId::new(index), node));
        let listen = self.consortium.nodes()[self.me.get() as usize].peer;
        let peers = nodes
            .filter(|(id, _)| *id != self.me)
            .map(|(id, node)| Peer { node: id, key: node.key, address: node.peer })
            .collect();
        Options { me: self.me, key: self.key.clone(), listen, peers }
    }
}

/// What a validator of the bench has no use for.
#[derive(Clone, Copy)]
pub(super) struct Nobody;

impl Handler for Nobody {
    async fn handle(&self, _: NodeId, _: Vec<u8>) -> Vec<u8> {
        Vec::new()
    }
}

pub(super) fn wrong(fault: impl std::fmt::Display) -> BenchFault {
    BenchFault::Wrong(fault.to_string())
}

impl Member {
    /// Raft's ordering alone, on the files of `dir`.
    pub(super) async fn open_ordering(identity: &Identity, dir: &Path) -> Result<Self, BenchFault> {
        Ordering::open(identity, dir).await.map(Self::Ordered)
    }

    /// Starts it on the files of `dir`, behind `shim`.
    pub(super) async fn open<S: Shim>(identity: &Identity, dir: &Path, shim: &Arc<S>) -> Result<Self, BenchFault> {
        let handler = LedgerHandler::default();
        let slot = handler.clone();
        let dispatch = Dispatch { ledger: shim.inward(handler), session: Nobody, stream: Nobody };
        let network = PeerNetwork::start(identity.network_options(), dispatch).await.map_err(wrong)?;
        let options = ReplicaOptions {
            dir: dir.to_owned().into(),
            consortium: identity.consortium.clone(),
            me: identity.me,
            node_key: identity.key.clone(),
            next_key: None,
            clock: Arc::new(SystemClock),
        };
        let replica = Replica::open(options, shim.outward(network)).await.map_err(wrong)?;
        slot.attach(replica.clone());
        shim.opened(&replica);
        Ok(Self::Final(replica))
    }

    /// Takes events of this validator's operator; their ids.
    pub(super) fn submit(&self, entries: Vec<Entry>) -> Result<Vec<Digest>, ()> {
        match self {
            Self::Final(replica) => {
                let submissions = replica.submit_batch(entries).map_err(drop)?;
                Ok(submissions.into_iter().map(|submission| submission.id).collect())
            }
            Self::Ordered(ordering) => Ok(ordering.submit(entries)),
        }
    }

    /// Waits until all of them are final, or one never will be. Whether they are.
    pub(super) async fn wait(&self, ids: &[Digest]) -> bool {
        for id in ids {
            let is_final = match self {
                Self::Final(replica) => replica.wait_final(*id).await.is_ok(),
                Self::Ordered(ordering) => ordering.wait(*id).await,
            };
            if !is_final {
                return false;
            }
        }
        true
    }

    /// Whom it follows.
    pub(super) fn leader(&self) -> Option<NodeId> {
        match self {
            Self::Final(replica) => replica.metrics().leader,
            Self::Ordered(ordering) => ordering.leader(),
        }
    }

    /// Blocks that are final.
    pub(super) fn height(&self) -> u64 {
        self.watch_state().borrow().height.get()
    }

    /// A final block; none for raft alone.
    pub(super) fn block(&self, height: u64) -> Option<Block> {
        let Self::Final(replica) = self else { return None };
        replica.store().block(BlockHeight::new(height)).ok().flatten().map(|stored| stored.block)
    }

    /// Returns when it stopped by itself, with the reason.
    pub(super) async fn stopped(&self) -> BenchFault {
        let Self::Final(replica) = self else { return std::future::pending().await };
        let mut fault = replica.fault();
        let found = fault.wait_for(Option::is_some).await.ok().and_then(|fault| fault.clone());
        found.map_or_else(|| wrong("the replica is gone"), wrong)
    }

    /// Entries that are final.
    pub(super) fn entries(&self) -> u64 {
        match self {
            Self::Final(replica) => replica.state().log.size(),
            Self::Ordered(ordering) => ordering.state().log.size(),
        }
    }

    /// The final state as it grows.
    pub(super) fn watch_state(&self) -> watch::Receiver<Arc<Executed>> {
        match self {
            Self::Final(replica) => replica.watch_state(),
            Self::Ordered(ordering) => ordering.watch_state(),
        }
    }

    /// Entry signatures that it verified since its start.
    pub(super) fn verifications(&self) -> u64 {
        match self {
            Self::Final(replica) => replica.metrics().signatures_verified,
            Self::Ordered(ordering) => ordering.verifications(),
        }
    }

    /// Ends it in order.
    pub(super) async fn stop(&self) {
        match self {
            Self::Final(replica) => replica.shutdown().await,
            Self::Ordered(ordering) => ordering.stop().await,
        }
    }
}
