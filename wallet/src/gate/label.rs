//! What a ciphertext of a gate is about. A member releases nothing for a label that it does not find right.

use serde::{Deserialize, Serialize};

use crate::{
    codec::encode,
    digest::{Digest, sha256},
    grant::WalletAddress,
    schedule::HopLabel,
    units::{KeyEpoch, NodeId},
};

const DOMAIN: &str = "batchmind/v1/wallet/gate/label";

/// SHA-256 over a purpose and what stands under it. Labels of two purposes are never equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GateLabel(Digest);

impl GateLabel {
    /// A leg of one hop's key.
    pub fn hop(label: &HopLabel) -> Self {
        Self::new("hop", &label.encode())
    }

    /// What opens the sealed tiers of the wallet's holder after a restart.
    pub fn unlock(wallet: &WalletAddress, epoch: KeyEpoch, holder: NodeId) -> Self {
        Self::new("unlock", &encode(&(wallet, epoch, holder)))
    }

    /// A share on its way from one member of a key generation to another.
    pub(super) fn package(ceremony: &Digest, from: NodeId, to: NodeId) -> Self {
        Self::new("package", &encode(&(ceremony, from, to)))
    }

    fn new(purpose: &str, bytes: &[u8]) -> Self {
        Self(sha256(DOMAIN, &[purpose.as_bytes(), bytes]))
    }

    /// The digest.
    pub const fn digest(&self) -> &Digest {
        &self.0
    }
}
