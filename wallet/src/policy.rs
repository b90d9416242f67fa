//! A tenant's jurisdiction policy: which regions a wallet may enter.
//!
//! The ledger holds only a commitment: the root of a Merkle tree with one salted leaf for each region of the
//! consortium, so that the root hides which regions are allowed. Each hop opens the one leaf of its destination.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    codec::encode,
    digest::{Digest, sha256},
    identity::RegionId,
    kdf,
    refusal::Refusal,
    secret::secret,
    tenant::WalletSecret,
};

const LEAF_DOMAIN: &str = "batchmind/v1/wallet/policy-leaf";
const NODE_DOMAIN: &str = "batchmind/v1/wallet/policy-node";
const OPENING_DOMAIN: &str = "batchmind/v1/wallet/policy-opening";

/// The deepest tree: 65,536 regions.
const PATH_MAX: usize = 16;

/// What the tenant wants: the regions that a wallet may enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JurisdictionPolicy {
    /// The allowed regions. Every other one is forbidden.
    pub allowed: BTreeSet<RegionId>,
}

/// The opened tree. Whoever holds it can open any leaf; it travels sealed from holder to holder.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Vec<PolicyLeaf>", into = "Vec<PolicyLeaf>")]
pub struct PolicyTree {
    leaves: Vec<PolicyLeaf>,
}

/// Root of the tree over all regions of the consortium, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolicyCommitment(pub Digest);

/// One opened leaf: what the tenant decided about one region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyOpening {
    /// The region that the leaf is about.
    pub region: RegionId,
    /// Whether the wallet may enter it.
    pub allowed: bool,
    /// The leaf's salt: LE(W0, "pol-salt", region, 32).
    pub salt: [u8; 32],
    /// Position of the leaf.
    pub index: u16,
    /// Sibling hashes from the leaf up; at most 16.
    pub path: Vec<Digest>,
}

/// Proof that the tenant allowed a region. Made by [`PolicyOpening::verify`] alone; hop keys cannot be derived
/// without one.
///
/// ```compile_fail,E0451
/// # use wallet::{digest::Digest, identity::RegionId, policy::{PolicyCommitment, VerifiedOpening}};
/// fn forge(region: RegionId, policy: PolicyCommitment, hash: Digest) -> VerifiedOpening {
///     VerifiedOpening { region, policy, hash } // the fields are private
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedOpening {
    region: RegionId,
    policy: PolicyCommitment,
    hash: Digest,
}

impl JurisdictionPolicy {
    /// The tree over `regions`, all that the consortium has.
    ///
    /// # Errors
    /// [`Refusal::RegionUnknown`] if the policy allows a region that is not among them.
    ///
    /// # Panics
    /// With no region at all or more than 65,536: genesis refuses such a consortium.
    pub fn tree(&self, regions: &BTreeSet<RegionId>, secret: &WalletSecret) -> Result<PolicyTree, Refusal> {
        assert!((1..=1 << PATH_MAX).contains(&regions.len()), "a consortium has 1 to 65,536 regions");
        if let Some(unknown) = self.allowed.difference(regions).next() {
            return Err(Refusal::RegionUnknown { region: unknown.clone() });
        }
        let leaf = |region: &RegionId| PolicyLeaf {
            region: region.clone(),
            allowed: self.allowed.contains(region),
            salt: LeafSalt(*kdf::expand(secret.expose(), "pol-salt", region.as_str().as_bytes())),
        };
        Ok(PolicyTree { leaves: regions.iter().map(leaf).collect() })
    }
}

impl PolicyTree {
    /// The root, which stands on the ledger.
    pub fn commitment(&self) -> PolicyCommitment {
        let mut level = self.bottom();
        while level.len() > 1 {
            level = parents(&level);
        }
        PolicyCommitment(level[0])
    }

    /// The opening of one region's leaf, allowed or not.
    ///
    /// # Errors
    /// [`Refusal::RegionUnknown`] if the tree has no such leaf.
    pub fn open(&self, region: &RegionId) -> Result<PolicyOpening, Refusal> {
        let index = self
            .leaves
            .binary_search_by(|leaf| leaf.region.cmp(region))
            .map_err(|_| Refusal::RegionUnknown { region: region.clone() })?;
        let leaf = &self.leaves[index];
        let mut path = Vec::new();
        let (mut level, mut at) = (self.bottom(), index);
        while level.len() > 1 {
            path.push(level[at ^ 1]);
            level = parents(&level);
            at /= 2;
        }
        let index = u16::try_from(index).expect("a tree has at most 65,536 leaves");
        Ok(PolicyOpening { region: leaf.region.clone(), allowed: leaf.allowed, salt: *leaf.salt.expose(), index, path })
    }

    /// The regions that the wallet may enter.
    pub fn allowed(&self) -> impl Iterator<Item = &RegionId> {
        self.leaves.iter().filter(|leaf| leaf.allowed).map(|leaf| &leaf.region)
    }

    /// The leaves' hashes, filled up with zeros to a power of two.
    fn bottom(&self) -> Vec<Digest> {
        let hash = |leaf: &PolicyLeaf| leaf_hash(&leaf.region, leaf.allowed, leaf.salt.expose());
        let mut level: Vec<_> = self.leaves.iter().map(hash).collect();
        level.resize(level.len().next_power_of_two(), Digest::ZERO);
        level
    }
}

impl PolicyOpening {
    /// Checks that this is a leaf of the committed policy and that it allows its region.
    ///
    /// # Errors
    /// [`Refusal::OpeningInvalid`] if it is not a leaf of it, [`Refusal::RegionForbidden`] if it is and says no.
    pub fn verify(&self, policy: &PolicyCommitment) -> Result<VerifiedOpening, Refusal> {
        let depth = self.path.len();
        let mut at = usize::from(self.index);
        let mut node = leaf_hash(&self.region, self.allowed, &self.salt);
        if depth > PATH_MAX || at >> depth != 0 {
            return Err(Refusal::OpeningInvalid { region: self.region.clone() });
        }
        for sibling in &self.path {
            node = if at % 2 == 0 { node_hash(&node, sibling) } else { node_hash(sibling, &node) };
            at /= 2;
        }
        if node != policy.0 {
            return Err(Refusal::OpeningInvalid { region: self.region.clone() });
        }
        if !self.allowed {
            return Err(Refusal::RegionForbidden { region: self.region.clone() });
        }
        let hash = sha256(OPENING_DOMAIN, &[&encode(self)]);
        Ok(VerifiedOpening { region: self.region.clone(), policy: *policy, hash })
    }
}

impl VerifiedOpening {
    /// The region that the tenant allowed.
    pub const fn region(&self) -> &RegionId {
        &self.region
    }

    /// The policy that the opening was checked against.
    pub const fn policy(&self) -> &PolicyCommitment {
        &self.policy
    }

    /// SHA-256 of the opening, which the hop's label names.
    pub const fn hash(&self) -> &Digest {
        &self.hash
    }
}

impl fmt::Debug for PolicyTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PolicyTree({} regions, redacted)", self.leaves.len())
    }
}

/// A leaf as it travels.
#[derive(Clone, Serialize, Deserialize)]
struct PolicyLeaf {
    region: RegionId,
    allowed: bool,
    salt: LeafSalt,
}

secret! {
    /// Hides what a leaf says until the leaf is opened.
    LeafSalt
}

/// Leaves that are not a tree.
#[derive(Debug, thiserror::Error)]
#[error("a policy tree has 1 to 65,536 leaves, ordered by region, each region once")]
struct LeavesInvalid;

impl TryFrom<Vec<PolicyLeaf>> for PolicyTree {
    type Error = LeavesInvalid;
    fn try_from(leaves: Vec<PolicyLeaf>) -> Result<Self, LeavesInvalid> {
        let ordered = leaves.windows(2).all(|pair| pair[0].region < pair[1].region);
        let valid = ordered && (1..=1 << PATH_MAX).contains(&leaves.len());
        if valid { Ok(Self { leaves }) } else { Err(LeavesInvalid) }
    }
}

impl From<PolicyTree> for Vec<PolicyLeaf> {
    fn from(tree: PolicyTree) -> Self {
        tree.leaves
    }
}

fn leaf_hash(region: &RegionId, allowed: bool, salt: &[u8; 32]) -> Digest {
    sha256(LEAF_DOMAIN, &[region.as_str().as_bytes(), &[u8::from(allowed)], salt])
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    sha256(NODE_DOMAIN, &[left.as_bytes(), right.as_bytes()])
}

fn parents(level: &[Digest]) -> Vec<Digest> {
    level.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::decode;

    fn region(name: &str) -> RegionId {
        RegionId::try_from(name.to_owned()).expect("a region name")
    }

    fn regions(names: &[&str]) -> BTreeSet<RegionId> {
        names.iter().copied().map(region).collect()
    }

    fn tree(all: &[&str], allowed: &[&str]) -> PolicyTree {
        let policy = JurisdictionPolicy { allowed: regions(allowed) };
        policy.tree(&regions(all), &WalletSecret::from_bytes([5; 32])).expect("known regions")
    }

    #[test]
    fn an_allowed_region_opens_and_a_forbidden_one_is_refused_for_every_size() {
        for names in [&["eu", "us"][..], &["eu"], &["ap", "eu", "us"], &["a", "b", "c", "d", "eu"]] {
            let tree = tree(names, &["eu"]);
            for name in names {
                let verdict = tree.open(&region(name)).expect("a leaf").verify(&tree.commitment());
                match *name {
                    "eu" => assert_eq!(verdict.expect("allowed").region(), &region("eu")),
                    _ => assert_eq!(verdict, Err(Refusal::RegionForbidden { region: region(name) })),
                }
            }
        }
    }

    #[test]
    fn an_altered_opening_is_refused() {
        let tree = tree(&["ap", "eu", "us"], &["eu"]);
        let (policy, good) = (tree.commitment(), tree.open(&region("us")).expect("a leaf"));
        let alterations: [fn(&mut PolicyOpening); 6] = [
            |o| o.allowed = true,
            |o| o.region = region("eu"),
            |o| o.salt[0] ^= 1,
            |o| o.index ^= 1,
            |o| o.index |= 4,
            |o| o.path.truncate(1),
        ];
        for alter in alterations {
            let mut opening = good.clone();
            alter(&mut opening);
            let refusal = Refusal::OpeningInvalid { region: opening.region.clone() };
            assert_eq!(opening.verify(&policy), Err(refusal));
        }
        let mut long = good;
        long.path = vec![Digest::ZERO; 17];
        assert!(matches!(long.verify(&policy), Err(Refusal::OpeningInvalid { .. })));
    }

    #[test]
    fn an_opening_of_one_wallet_is_worth_nothing_for_another() {
        let policy = JurisdictionPolicy { allowed: regions(&["eu"]) };
        let other = policy.tree(&regions(&["eu", "us"]), &WalletSecret::from_bytes([6; 32])).expect("known regions");
        let opening = other.open(&region("eu")).expect("a leaf");
        let ours = tree(&["eu", "us"], &["eu"]).commitment();
        assert!(matches!(opening.verify(&ours), Err(Refusal::OpeningInvalid { .. })));
    }

    #[test]
    fn a_policy_over_an_unknown_region_is_refused() {
        let policy = JurisdictionPolicy { allowed: regions(&["mars"]) };
        let verdict = policy.tree(&regions(&["eu"]), &WalletSecret::from_bytes([5; 32]));
        assert_eq!(verdict.err(), Some(Refusal::RegionUnknown { region: region("mars") }));
    }

    #[test]
    fn a_tree_that_travelled_opens_the_same_leaves() {
        let tree = tree(&["ap", "eu", "us"], &["eu"]);
        let there: PolicyTree = decode(&encode(&tree)).expect("canonical");
        assert_eq!(there.commitment(), tree.commitment());
        assert_eq!(there.open(&region("eu")), tree.open(&region("eu")));
        let mut reversed = tree.leaves;
        reversed.reverse();
        assert!(decode::<PolicyTree>(&encode(&reversed)).is_err());
    }
}
