//! A tenant's jurisdiction policy: which regions a wallet may enter.
//!
//! The ledger holds only a commitment: the root of a Merkle tree with one salted leaf for each region of the
//! consortium, so that the root hides which regions are allowed. Each hop opens the one leaf of its destination.

use serde::{Deserialize, Serialize};

use crate::{digest::Digest, identity::RegionId};

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
