//! Who votes, and how many votes make a quorum.

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::PublicKey,
    units::NodeId,
};

/// The nodes whose votes count in an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorSet {
    /// 0 for the set that the genesis document names.
    pub epoch: u64,
    /// Ids ascending, each once, with the key that the node votes by.
    pub members: Vec<(NodeId, PublicKey)>,
}

impl ValidatorSet {
    /// Votes that make a certificate: floor(2n/3) + 1, which is all of them below four. Two quorums of n = 3f + 1
    /// share an honest node.
    pub fn quorum(&self) -> usize {
        self.members.len() * 2 / 3 + 1
    }

    /// Members that may lie without a fork, or be dead without a halt: f = floor((n - 1) / 3).
    pub fn faults_max(&self) -> usize {
        self.members.len().saturating_sub(1) / 3
    }

    /// The key that a node votes by, if it is a member.
    pub fn key(&self, node: NodeId) -> Option<PublicKey> {
        self.members.binary_search_by_key(&node, |(member, _)| *member).ok().map(|at| self.members[at].1)
    }

    /// What block headers name.
    pub fn hash(&self) -> Digest {
        sha256("batchmind/v1/genesis/validator-set", &[&codec::encode(self)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(count: u32) -> ValidatorSet {
        ValidatorSet { epoch: 0, members: (0..count).map(|i| (NodeId::new(i), PublicKey([7; 32]))).collect() }
    }

    #[test]
    fn two_quorums_share_an_honest_node_and_the_honest_make_a_quorum() {
        for n in 1..=100 {
            let (q, f) = (set(n).quorum(), set(n).faults_max());
            assert!(2 * q > n as usize + f, "{n} nodes: two quorums share more than {f}");
            assert!(q <= n as usize - f, "{n} nodes: {f} dead ones do not halt the rest");
        }
        assert_eq!([1, 2, 3, 4, 5, 6, 7].map(|n| set(n).quorum()), [1, 2, 3, 3, 4, 5, 5]);
    }

    #[test]
    fn the_hash_is_pinned() {
        assert_eq!(set(4).hash().to_string(), "0ba851c6cb9d185a16213626788cf07628a3b3c531f01013f3c5d67d72af0b9d");
    }
}
