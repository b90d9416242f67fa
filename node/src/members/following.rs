//! The network follows the final state: whom it lets in, and as who it speaks.

use std::{sync::Arc, time::Duration};

use ledger::execute::Executed;
use tokio::{sync::watch, time::sleep};
use wallet::{identity::PublicKey, units::NodeId};

use super::Members;
use crate::{
    network::{Peer, PeerNetwork},
    node_keys::NodeKeys,
};

/// Between two looks at who takes part.
const PAUSE: Duration = Duration::from_millis(500);

/// After so long without any peer the network speaks with the node's other key, if there is one.
const ALONE_MAX: Duration = Duration::from_secs(5);

/// Keeps the network of node `me` in line with its final state, until there is no more of that. Who left or changed its key is
/// refused, who joined is let in. The network begins with the first of `keys`, and takes up the one to which it is
/// rotated.
///
/// A node that was down meanwhile does not know that its key was rotated, and nobody lets it in with the old one. So where
/// nobody does for a while, it tries the other one, in turn; then it hears what it missed.
pub async fn follow(network: PeerNetwork, mut tips: watch::Receiver<Arc<Executed>>, me: NodeId, keys: NodeKeys) {
    let connected = network.connected();
    let speaks_as = keys.key().public_key();
    let mut following = Following { network, me, peers: Vec::new(), named: Some(speaks_as), speaks_as, keys };
    let mut alone = Duration::ZERO;
    // An error means that the replica has ended.
    while tips.has_changed().is_ok() {
        let members = Members::from(tips.borrow_and_update().clone());
        following.look(&members).await;
        // Whoever is refused has a connection for a moment, again and again: so this is no watch.
        let is_alone = !following.peers.is_empty() && connected.borrow().is_empty();
        alone = if is_alone { alone + PAUSE } else { Duration::ZERO };
        if alone > ALONE_MAX {
            following.try_other_key().await;
            alone = Duration::ZERO;
        }
        sleep(PAUSE).await;
    }
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
    async fn look(&mut self, members: &Members) {
        let peers = members.peers(self.me);
        if peers != self.peers {
            self.network.set_peers(peers.clone()).await;
            self.peers = peers;
        }
        let named = members.node(self.me).map(|node| node.key);
        if named != self.named {
            self.named = named;
            if let Some(key) = named {
                self.speak_as(key).await;
            }
        }
    }

    async fn try_other_key(&mut self) {
        if let Some(other) = self.keys.other_than(self.speaks_as) {
            tracing::warn!("no peer is reached: trying this node's other key");
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
