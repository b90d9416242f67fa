//! One validator in a process of its own: the replica and the network of a node, without engine, sessions and
//! interfaces; or raft's ordering alone, for comparison.

use std::{net::Ipv4Addr, path::Path, sync::Arc};

use genesis::{Consortium, Node};
use ledger::{
    block::Block,
    event::Entry,
    execute::Executed,
    shell::{
        clock::SystemClock,
        final_store::nodes,
        replica::{Replica, ReplicaOptions},
    },
    state::State,
    vote::Signer,
};
use tokio::{net::TcpListener, sync::watch};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{ordering::Ordering, shim::Shim};
pub(super) use crate::bench::wrong;
use crate::{
    api::{auth::Keys, snapshot},
    bench::BenchFault,
    members,
    network::{Handler, Options, Peer, PeerNetwork, ledger_transport::LedgerHandler, message::Dispatch},
    node_keys::NodeKeys,
    routing::tenants::Tenants,
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
    pub(super) keys: NodeKeys,
    /// Who takes part: as the ledger in its folder has it, or else genesis.
    pub(super) nodes: Vec<(NodeId, Node)>,
}

impl Identity {
    pub(super) fn signer(&self) -> Signer {
        Signer { node: self.me, key: self.keys.key().clone() }
    }

    /// Whose key is `keys`' first.
    pub(super) fn of(consortium: Arc<Consortium>, me: NodeId, keys: NodeKeys, dir: &Path) -> Result<Self, BenchFault> {
        let known = nodes(dir).map_err(wrong)?.unwrap_or_else(|| State::genesis(&consortium).nodes().collect());
        let nodes: Vec<_> = known.into_iter().map(|(id, record)| (id, record.node)).collect();
        let named = nodes.iter().find(|(id, _)| *id == me).map(|(_, node)| node.key);
        let keys = named.map_or(keys.clone(), |named| keys.with_first(named));
        Ok(Self { consortium, me, keys, nodes })
    }

    pub(super) fn network_options(&self) -> Result<Options, BenchFault> {
        let me = self.nodes.iter().find(|(id, _)| *id == self.me);
        let listen = me.ok_or_else(|| wrong(format!("there is no node {}", self.me)))?.1.peer;
        let others = self.nodes.iter().filter(|(id, _)| *id != self.me);
        let peers = others.map(|(id, node)| Peer { node: *id, key: node.key, address: node.peer }).collect();
        Ok(Options { me: self.me, key: self.keys.key().clone(), listen, peers })
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

/// Hands out a replica's ledger to nodes that join, over HTTP: where.
pub(super) async fn hand_out(replica: &Replica, consortium: &Arc<Consortium>) -> Result<String, BenchFault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let keys = Keys::new(Tenants::load(&[]).map_err(wrong)?, replica.clone(), consortium.clone(), url.clone());
    let interface = snapshot::alone(replica.clone(), keys);
    tokio::spawn(async move { axum::serve(listener, interface).await });
    Ok(url)
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
        let network = PeerNetwork::start(identity.network_options()?, dispatch).await.map_err(wrong)?;
        let options = ReplicaOptions {
            dir: dir.to_owned().into(),
            consortium: identity.consortium.clone(),
            me: identity.me,
            node_key: identity.keys.key().clone(),
            next_key: identity.keys.next().cloned(),
            clock: Arc::new(SystemClock),
        };
        let replica = Replica::open(options, shim.outward(network.clone())).await.map_err(wrong)?;
        tokio::spawn(members::follow(network, replica.watch_state(), identity.me, identity.keys.clone(), |_| {}));
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

    /// Waits until all of these are final.
    pub(super) async fn make_final(&self, entries: Vec<Entry>) -> Result<(), String> {
        let Self::Final(replica) = self else { return Err("nothing is final here".to_owned()) };
        for submission in replica.submit_batch(entries).map_err(|error| error.to_string())? {
            replica.wait_final(submission.id).await.map_err(|error| error.to_string())?;
        }
        Ok(())
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

    /// Hands out its ledger to nodes that join: where.
    pub(super) async fn serve(&self, consortium: &Arc<Consortium>) -> Result<String, BenchFault> {
        let Self::Final(replica) = self else { return Err(wrong("nothing is final here")) };
        hand_out(replica, consortium).await
    }

    /// Ends it in order.
    pub(super) async fn stop(&self) {
        match self {
            Self::Final(replica) => replica.shutdown().await,
            Self::Ordered(ordering) => ordering.stop().await,
        }
    }
}
