//! The tenant's side of a wallet: one master secret, and below it keys for each wallet that nobody can link.

use crate::{
    digest::Digest,
    identity::{PublicKey, SecretKey},
    kdf,
    secret::secret,
};

secret! {
    /// A tenant's root secret: 32 random bytes. All of its wallets follow from it.
    TenantMaster
}

secret! {
    /// W0: the secret of one wallet, from which its policy's salts and its first chain key follow.
    WalletSecret
}

secret! {
    /// Seed of the tenant's Ed25519 key for one wallet. It travels in the sealed tail, as the tenant's delegation.
    TenantKey
}

impl TenantMaster {
    /// The secrets of the wallet with this nonce: LE(master, "wallet-secret" or "tenant-key", consortium || nonce, 32).
    pub fn wallet(&self, consortium: &Digest, nonce: &[u8; 16]) -> (WalletSecret, TenantKey) {
        let context = [consortium.as_bytes().as_slice(), nonce].concat();
        (
            WalletSecret(*kdf::expand(self.expose(), "wallet-secret", &context)),
            TenantKey(*kdf::expand(self.expose(), "tenant-key", &context)),
        )
    }

    /// The salt of the tenant's prefix blocks: LE(master, "prefix-salt", consortium, 32).
    pub fn prefix_salt(&self, consortium: &Digest) -> [u8; 32] {
        *kdf::expand(self.expose(), "prefix-salt", consortium.as_bytes())
    }
}

impl TenantKey {
    /// The signing key.
    pub fn secret_key(&self) -> SecretKey {
        SecretKey::from_seed(self.expose())
    }

    /// Its public half: the `tenant_key` of the wallet's terms.
    pub fn public_key(&self) -> PublicKey {
        self.secret_key().public_key()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallets_of_one_tenant_share_no_key() {
        let master = TenantMaster::from_bytes([1; 32]);
        let consortium = Digest([2; 32]);
        let (secret_a, key_a) = master.wallet(&consortium, &[3; 16]);
        let (secret_b, key_b) = master.wallet(&consortium, &[4; 16]);
        assert_ne!(secret_a.expose(), secret_b.expose());
        assert_ne!(key_a.public_key(), key_b.public_key());
        assert_ne!(secret_a.expose(), key_a.expose());
        let (_, elsewhere) = master.wallet(&Digest([9; 32]), &[3; 16]);
        assert_ne!(key_a.public_key(), elsewhere.public_key());
    }

    #[test]
    fn the_same_nonce_gives_the_same_wallet_again() {
        let master = TenantMaster::from_bytes([1; 32]);
        let again = TenantMaster::from_bytes([1; 32]);
        let (consortium, nonce) = (Digest([2; 32]), [3; 16]);
        assert_eq!(master.wallet(&consortium, &nonce).0.expose(), again.wallet(&consortium, &nonce).0.expose());
    }
}
