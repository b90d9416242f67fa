//! The network follows the final state: whom it lets in, and as who it speaks.

use std::{sync::Arc, time::Duration};

use ledger::execute::Executed;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use wallet::{identity::PublicKey, units::NodeId};

use super::Members;
use crate::{
    network::{Peer, PeerNetwork},
    node_keys::NodeKeys,
    session::context::random,
};

/// Between two looks at who takes part.
const PAUSE: Duration = Duration::from_millis(500);

/// After so long without a quorum's word the network speaks with the node's other key, if there is one: at least, and at most
/// twice that, so that two nodes that look for each other do not keep step.
const ALONE_MIN: Duration = Duration::from_secs(5);

/// Keeps the network of node `me` in line with its final state, until there is no more of that. Who left or changed its key is
/// refused, who joined is let in. The network begins with the first of `keys`, and takes up the one to which it is
/// rotated; `rotated` is told.
///
/// A node that was down meanwhile does not know that its key was rotated, and is refused with the old one; perhaps not by
/// others that know as little, nor by liars. So where fewer than a quorum are heard for a while, it tries the other
/// key, in turn, and hears what it missed.
pub async fn follow(
    network: PeerNetwork,
    mut tips: watch::Receiver<Arc<Executed>>,
    me: NodeId,
    keys: NodeKeys,
    rotated: impl Fn(PublicKey),
) {
    let speaks_as = keys.key().public_key();
    let mut following = Following { network, me, peers: Vec::new(), named: Some(speaks_as), speaks_as, keys };
    let (mut heard_a_quorum, mut patience) = (Instant::now(), patience());
    // An error means that the replica has ended.
    while tips.has_changed().is_ok() {
        let members = Members::from(tips.borrow_and_update().clone());
        if let Some(key) = following.look(&members).await {
            rotated(key);
        }
        if following.keys.next().is_none() || following.hears_a_quorum(&members, heard_a_quorum).await {
            heard_a_quorum = Instant::now();
        } else if heard_a_quorum.elapsed() > patience {
            following.try_other_key().await;
            (heard_a_quorum, patience) = (Instant::now(), self::patience());
        }
        sleep(PAUSE).await;
    }
}

fn patience() -> Duration {
    ALONE_MIN.mul_f64(1.0 + f64::from(u16::from_le_bytes(random())) / f64::from(u16::MAX))
}

struct Following {
    network: PeerNetwork,
    me: NodeId,
    keys: NodeKeys,
    peers: Vec<Peer>,
    /// The key that the ledger names.
    named: Option<PublicKey>,
    /// The key with which the network speaks.
    speaks_as: PublicKey,
}

impl Following {
    /// The key to which the node's was rotated since the last look, if the node has it.
    async fn look(&mut self, members: &Members) -> Option<PublicKey> {
        let peers = members.peers(self.me);
        if peers != self.peers {
            self.network.set_peers(peers.clone()).await;
            self.peers = peers;
        }
        let named = members.node(self.me).map(|node| node.key);
        if named == self.named {
            return None;
        }
        self.named = named;
        let key = named.filter(|key| self.keys.named(*key).is_some())?;
        self.speak_as(key).await;
        Some(key)
    }

    async fn hears_a_quorum(&self, members: &Members, since: Instant) -> bool {
        let validators = members.validators();
        let heard = self.network.heard_since(since).await;
        let voters = heard.iter().chain([&self.me]).filter(|node| validators.key(**node).is_some());
        voters.count() >= validators.quorum()
    }

    async fn try_other_key(&mut self) {
        if let Some(other) = self.keys.other_than(self.speaks_as) {
            tracing::warn!("no quorum is heard: trying this node's other key");
            self.speak_as(other.public_key()).await;
        }
    }

    async fn speak_as(&mut self, key: PublicKey) {
        if self.speaks_as != key
            && let Some(own) = self.keys.named(key)
        {
            self.speaks_as = key;
            self.network.speak_as(own.clone()).await;
        }
    }
}
