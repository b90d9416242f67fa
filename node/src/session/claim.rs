//! A wallet whose session is being created. Two requests with the same grant name the same wallet, and only one of them
//! may touch its files.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wallet::grant::WalletAddress;

/// The wallets that are being created; clones share them.
#[derive(Clone, Default)]
pub(super) struct Claims {
    wallets: Arc<Mutex<BTreeSet<WalletAddress>>>,
}

/// The right to create one wallet's session. It ends when this is dropped.
pub(super) struct Claim {
    claims: Claims,
    wallet: WalletAddress,
}

impl Claims {
    /// None while somebody else has it.
    pub(super) fn take(&self, wallet: WalletAddress) -> Option<Claim> {
        self.lock().insert(wallet).then(|| Claim { claims: self.clone(), wallet })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<WalletAddress>> {
        self.wallets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.lock().remove(&self.wallet);
    }
}

#[cfg(test)]
mod tests {
    use wallet::digest::Digest;

    use super::*;

    #[test]
    fn a_wallet_is_claimed_once_until_the_claim_is_dropped() {
        let (claims, wallet) = (Claims::default(), WalletAddress(Digest([1; 32])));
        let claim = claims.take(wallet).expect("nobody has it");
        assert!(claims.clone().take(wallet).is_none());
        assert!(claims.take(WalletAddress(Digest([2; 32]))).is_some());
        drop(claim);
        assert!(claims.take(wallet).is_some());
    }
}
