//! What only the holder of a session knows, and what only the receiver of a move does.

use ledger::event::Entry;
use serde::{Deserialize, Serialize};
use wallet::{
    chain::{ChainKey, PageHashKey, RestKey},
    digest::Digest,
    identity::SecretKey,
    policy::PolicyTree,
    tenant::TenantKey,
    units::{KeyEpoch, NodeId},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::session::request::PrefixSalt;

/// What makes a node the holder of a wallet. The file `keys`.
#[derive(Clone, Serialize, Deserialize)]
pub struct HolderKeys {
    /// The epoch of all of these.
    pub epoch: KeyEpoch,
    /// chain_e.
    pub chain: ChainKey,
    /// Seed of the epoch key.
    pub holder: HolderSeed,
    /// Keys the hashes of the wallet's pages.
    pub page_hash: PageHashKey,
    /// The tenant's key for this wallet.
    pub tenant_key: TenantKey,
    /// Opens the policy's leaves.
    pub policy: PolicyTree,
    /// Hash of the client's resume secret.
    pub resume_secret_hash: Digest,
    /// Under which its blocks are in the prefix cache: the tenant's salt at the first holder, later one of its own.
    pub prefix_salt: PrefixSalt,
    /// Of the key that seals journal and pages.
    pub rest_salt: [u8; 32],
    /// The entry that creates the wallet, until it is known to be final.
    pub creation: Option<Box<Entry>>,
}

/// Seed of a holder's epoch key.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct HolderSeed(pub [u8; 32]);

/// What a receiver must not lose between its reservation and its confirm. The file `hop`.
#[derive(Clone, Serialize, Deserialize)]
pub struct HopSecrets {
    /// The holder that asked for the reservation.
    pub source: NodeId,
    /// Blocks that it asked for.
    pub blocks: u32,
    /// Secret half of the prekey.
    pub prekey: PrekeySeed,
}

/// Secret half of a one-time prekey.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct PrekeySeed(pub [u8; 32]);

impl HolderKeys {
    /// Seals what their holder keeps.
    pub(super) fn rest(&self) -> RestKey {
        self.chain.rest(&self.rest_salt)
    }
}

impl HolderSeed {
    /// The epoch key.
    pub fn key(&self) -> SecretKey {
        SecretKey::from_seed(&self.0)
    }
}
