//! Who takes part, as the final state has it: the one place where the node looks up names, keys, regions and addresses.
//!
//! The genesis document says how the consortium began. Members join, leave and change their keys on the ledger. So
//! everything that a node decides about others it asks of a [`Members`], which is the state after one block and never
//! changes; who decides again takes a new one.

mod following;

use std::{collections::BTreeSet, sync::Arc};

use genesis::{Node, NodeName, Parameters, ValidatorSet};
use ledger::{
    execute::Executed,
    state::{NodeRecord, OperatorRecord, Standing},
};
use wallet::{identity::RegionId, units::NodeId};

use crate::network::Peer;
pub use following::follow;

/// Those who take part after one block. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Members(Arc<Executed>);

impl From<Arc<Executed>> for Members {
    fn from(after: Arc<Executed>) -> Self {
        Self(after)
    }
}

impl Members {
    /// A node that is or was.
    pub fn node(&self, id: NodeId) -> Option<Node> {
        self.0.state.node(id).map(|record| record.node)
    }

    /// A node that may do everything: what is new goes to such nodes only.
    pub fn in_force(&self, id: NodeId) -> Option<Node> {
        self.0.state.node(id).filter(|record| record.standing == Standing::InForce).map(|record| record.node)
    }

    /// A node's name; its number if there never was such a node.
    pub fn name(&self, id: NodeId) -> String {
        self.node(id).map_or_else(|| id.to_string(), |node| node.name.to_string())
    }

    /// The node of that name. One that left may have had it before.
    pub fn by_name(&self, name: &NodeName) -> Option<NodeId> {
        let named = |(_, record): &(NodeId, NodeRecord)| record.node.name == *name && has_not_left(record);
        self.nodes().find(named).map(|(id, _)| id)
    }

    /// The nodes in force that stand in `regions`.
    pub fn in_regions(&self, regions: &BTreeSet<RegionId>) -> BTreeSet<NodeId> {
        let nodes = self.nodes().filter(|(_, record)| record.standing == Standing::InForce);
        nodes.filter(|(_, record)| regions.contains(&record.node.region)).map(|(id, _)| id).collect()
    }

    /// The others to whom node `me` speaks, with the keys that they have now.
    pub fn peers(&self, me: NodeId) -> Vec<Peer> {
        let others = self.nodes().filter(|(id, record)| *id != me && record.standing.takes_part());
        others.map(|(id, record)| Peer { node: id, key: record.node.key, address: record.node.peer }).collect()
    }

    /// Whether the node is one to whom others speak.
    pub fn speaks(&self, id: NodeId) -> bool {
        self.0.state.node(id).is_some_and(|record| record.standing.takes_part())
    }

    /// All nodes that are or were, by join index.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, NodeRecord)> {
        self.0.state.nodes()
    }

    /// All operators that are or were, by id.
    pub fn operators(&self) -> impl Iterator<Item = OperatorRecord> {
        self.0.state.operators()
    }

    /// Who votes for the next block.
    pub fn validators(&self) -> ValidatorSet {
        self.0.state.validators()
    }

    /// The numbers on which all nodes agree now.
    pub fn parameters(&self) -> Parameters {
        self.0.state.parameters()
    }
}

fn has_not_left(record: &NodeRecord) -> bool {
    record.standing != Standing::Removed
}

#[cfg(test)]
mod tests {
    use ledger::{
        governance::{Action, Member},
        testing::{Chain, consortium, next_node_key, node_key},
    };

    use super::*;
    use crate::testbed::{PATIENCE, Testbed};

    const THIRD: NodeId = NodeId::new(2);
    const LAST: NodeId = NodeId::new(3);

    fn members(chain: &Chain) -> Members {
        Arc::new(chain.tip.clone()).into()
    }

    fn everywhere(members: &Members) -> BTreeSet<RegionId> {
        members.nodes().map(|(_, record)| record.node.region).collect()
    }

    #[test]
    fn a_suspended_node_is_spoken_to_and_gets_nothing_new() {
        let mut chain = Chain::new(consortium(4));
        chain.enact(vec![Action::Suspend(Member::Node(LAST))]).expect("it is enacted");
        let members = members(&chain);
        assert!(members.speaks(LAST) && members.in_force(LAST).is_none());
        assert_eq!(members.in_regions(&everywhere(&members)), [0, 1, 2].map(NodeId::new).into());
        assert_eq!(members.peers(NodeId::ZERO).len(), 3);
    }

    #[test]
    fn a_removed_node_is_no_peer_and_keeps_its_name() {
        let mut chain = Chain::new(consortium(4));
        let name = members(&chain).name(LAST);
        chain.expel(Member::Node(LAST)).expect("it is enacted");
        let members = members(&chain);
        assert!(!members.speaks(LAST) && members.peers(NodeId::ZERO).iter().all(|peer| peer.node != LAST));
        assert_eq!(members.name(LAST), name);
        assert_eq!(members.by_name(&name.parse().expect("a name")), None);
    }

    #[test]
    fn a_peer_has_the_key_that_it_has_now() {
        let mut chain = Chain::new(consortium(4));
        let action = chain.rotating(Member::Node(THIRD), &node_key(2), &next_node_key(2));
        chain.enact(vec![action]).expect("it is enacted");
        let peers = members(&chain).peers(NodeId::ZERO);
        let peer = peers.iter().find(|peer| peer.node == THIRD).expect("it takes part");
        assert_eq!(peer.key, next_node_key(2).public_key());
        assert!(members(&chain).peers(THIRD).iter().all(|peer| peer.node != THIRD), "nobody is its own peer");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nodes_that_run_disconnect_one_that_is_removed_and_go_on_without_it() {
        let testbed = Testbed::start(&["eu", "eu", "us", "us"]).await;
        let connected = |of: u32| testbed.node(of).network().connected();
        let until = async |of: u32, wanted: bool| {
            let mut connected = connected(of);
            let is_there = connected.wait_for(|nodes| nodes.contains(&LAST) == wanted);
            tokio::time::timeout(PATIENCE, is_there).await.expect("it comes to that").expect("the network runs");
        };
        for node in 0..3 {
            until(node, true).await;
        }
        testbed.decide(0, vec![Action::Suspend(Member::Node(LAST))]).await;
        testbed.until(1, |members| members.in_force(LAST).is_none()).await;
        testbed.decide(1, vec![Action::Remove(Member::Node(LAST))]).await;
        for node in 0..3 {
            until(node, false).await;
            let members = testbed.node(node).sessions().context().members();
            assert_eq!(members.validators().members.len(), 3);
            assert!(!members.in_regions(&everywhere(&members)).contains(&LAST));
        }
        // What needs a quorum still becomes final: among those who are left it takes all three.
        let credit = Parameters::default().credit_per_ms;
        let set = Action::SetParameter { name: "credit_per_ms".into(), from: credit, to: credit + 1 };
        testbed.decide(1, vec![set]).await;
    }

    #[test]
    fn a_node_that_joined_is_found_by_its_name_and_region() {
        let mut chain = Chain::new(consortium(4));
        chain.join(4, 0).expect("it is enacted");
        let members = members(&chain);
        let id = members.by_name(&"node-04".parse().expect("a name")).expect("it joined");
        assert_eq!(id, NodeId::new(4));
        assert!(members.in_regions(&[RegionId::try_from("eu".to_owned()).expect("a region")].into()).contains(&id));
    }
}
