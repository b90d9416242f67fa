//! The tenant's grant: what brings a wallet into being, signed by the tenant's key for this wallet alone.

use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    identity::{PublicKey, Signature},
    policy::PolicyCommitment,
    units::NodeId,
};

/// A wallet's address: SHA-256 over the tenant's wallet key, the policy, the model and the nonce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WalletAddress(pub Digest);

/// What a wallet is, before anyone signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletTerms {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// The tenant's key for this wallet; unlinkable to its other wallets.
    pub tenant_key: PublicKey,
    /// The jurisdiction policy.
    pub policy: PolicyCommitment,
    /// Hash of the model's configuration and weights.
    pub model: Digest,
    /// What the engine guarantees about its arithmetic.
    pub numerics: Digest,
    /// The node that holds the wallet first.
    pub holder: NodeId,
    /// Drawn by the tenant, so that the same terms make two wallets.
    pub nonce: [u8; 16],
}

/// The terms with the tenant's signature (by `tenant_key`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletGrant {
    /// What was granted.
    pub terms: WalletTerms,
    /// By `terms.tenant_key`, over the encoded terms.
    pub signature: Signature,
}
