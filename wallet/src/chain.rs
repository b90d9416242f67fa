//! The chain of secrets that runs through a wallet's epochs, and what hangs off each link.
//!
//! chain_0 = LX(address, W0). A hop gives chain_{e+1} = LX(link_e, mk || rho): the old holder knows link and mk, but
//! not rho, so it does not know the next epoch; the new holder knows the link, but not chain_e, so it does not know
//! the epochs before.

use zeroize::Zeroizing;

use crate::{
    grant::WalletAddress,
    kdf,
    schedule::{HopLabel, MigrationKey},
    secret::secret,
    tenant::WalletSecret,
};

secret! {
    /// The secret of one epoch.
    ChainKey
}

secret! {
    /// What one epoch hands to the next: LE(chain_e, "link", label, 32). Travels in the offer envelope.
    Link
}

secret! {
    /// Keys the hashes of a wallet's pages: LE(chain_0, "page-hash", address, 32). The same in every epoch; travels in
    /// the offer envelope.
    PageHashKey
}

secret! {
    /// Seals what a holder keeps on its own disk.
    RestKey
}

impl ChainKey {
    /// chain_0, which the tenant's side makes for the first holder.
    pub fn first(wallet: &WalletAddress, secret: &WalletSecret) -> Self {
        Self(*kdf::extract(wallet.0.as_bytes(), secret.expose()))
    }

    /// chain_{e+1}, from the link of epoch e, the hop's key and 32 bytes that only the receiver knows.
    pub fn next(link: &Link, migration: &MigrationKey, fresh: &[u8; 32]) -> Self {
        let mut input = Zeroizing::new([0; 64]);
        input[..32].copy_from_slice(migration.expose());
        input[32..].copy_from_slice(fresh);
        Self(*kdf::extract(link.expose(), input.as_slice()))
    }

    /// The link for the hop with this label.
    pub fn link(&self, label: &HopLabel) -> Link {
        Link(*kdf::expand(self.expose(), "link", &label.encode()))
    }

    /// The wallet's page-hash key. Meaningful on chain_0 alone; later holders get it from the envelope.
    pub fn page_hash_key(&self, wallet: &WalletAddress) -> PageHashKey {
        PageHashKey(*kdf::expand(self.expose(), "page-hash", wallet.0.as_bytes()))
    }

    /// The key of this holder's disk: LE(chain_e, "rest", salt, 32), with a salt drawn for each boot.
    pub fn rest(&self, boot_salt: &[u8; 32]) -> RestKey {
        RestKey(*kdf::expand(self.expose(), "rest", boot_salt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn the_next_epoch_needs_link_hop_key_and_fresh_bytes() {
        let make = |link, hop, fresh| {
            let next =
                ChainKey::next(&Link::from_bytes([link; 32]), &MigrationKey::from_bytes([hop; 32]), &[fresh; 32]);
            *next.expose()
        };
        let base = make(1, 2, 3);
        for other in [make(9, 2, 3), make(1, 9, 3), make(1, 2, 9)] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn keys_below_one_chain_key_differ() {
        let wallet = WalletAddress(Digest([1; 32]));
        let chain = ChainKey::first(&wallet, &WalletSecret::from_bytes([2; 32]));
        let (rest, other_boot) = (chain.rest(&[3; 32]), chain.rest(&[4; 32]));
        assert_ne!(rest.expose(), other_boot.expose());
        assert_ne!(rest.expose(), chain.page_hash_key(&wallet).expose());
    }
}
