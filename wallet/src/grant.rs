//! The tenant's grant: what brings a wallet into being, signed by the tenant's key for this wallet alone.

use serde::{Deserialize, Serialize};

use crate::{
    codec::encode,
    digest::{Digest, sha256},
    identity::{PublicKey, SecretKey, Signature, context},
    policy::PolicyCommitment,
    refusal::Refusal,
    units::NodeId,
};

const ADDRESS_DOMAIN: &str = "batchmind/v1/wallet/address";

/// A wallet's address: SHA-256 over all of its terms, the tenant's wallet key, the policy, the model and the nonce
/// among them.
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

impl WalletTerms {
    /// The address of the wallet with these terms.
    pub fn address(&self) -> WalletAddress {
        WalletAddress(sha256(ADDRESS_DOMAIN, &[&encode(self)]))
    }

    /// The grant, signed by the tenant's key for this wallet.
    ///
    /// # Panics
    /// If `key` is not the secret half of `tenant_key`.
    pub fn sign(self, key: &SecretKey) -> WalletGrant {
        assert_eq!(key.public_key(), self.tenant_key, "the terms name the key that signs them");
        let signature = key.sign(context::WALLET_GRANT, &encode(&self));
        WalletGrant { terms: self, signature }
    }
}

impl WalletGrant {
    /// Checks the tenant's signature and gives the wallet's address.
    ///
    /// # Errors
    /// [`Refusal::SignatureInvalid`].
    pub fn verify(&self) -> Result<WalletAddress, Refusal> {
        self.terms
            .tenant_key
            .verify(context::WALLET_GRANT, &encode(&self.terms), &self.signature)
            .map_err(|_| Refusal::SignatureInvalid { what: "grant" })?;
        Ok(self.terms.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> WalletTerms {
        WalletTerms {
            consortium: Digest([1; 32]),
            tenant_key: SecretKey::from_seed(&[2; 32]).public_key(),
            policy: PolicyCommitment(Digest([3; 32])),
            model: Digest([4; 32]),
            numerics: Digest([5; 32]),
            holder: NodeId::new(6),
            nonce: [7; 16],
        }
    }

    #[test]
    fn a_grant_verifies_only_unaltered() {
        let grant = terms().sign(&SecretKey::from_seed(&[2; 32]));
        assert_eq!(grant.verify(), Ok(terms().address()));
        let mut other = grant;
        other.terms.holder = NodeId::new(9);
        assert_eq!(other.verify(), Err(Refusal::SignatureInvalid { what: "grant" }));
    }

    #[test]
    fn every_term_is_part_of_the_address() {
        let alterations: [fn(&mut WalletTerms); 7] = [
            |t| t.consortium = Digest::ZERO,
            |t| t.tenant_key = PublicKey::default(),
            |t| t.policy = PolicyCommitment(Digest::ZERO),
            |t| t.model = Digest::ZERO,
            |t| t.numerics = Digest::ZERO,
            |t| t.holder = NodeId::ZERO,
            |t| t.nonce = [0; 16],
        ];
        for alter in alterations {
            let mut other = terms();
            alter(&mut other);
            assert_ne!(other.address(), terms().address());
        }
    }

    #[test]
    fn the_encoding_is_pinned() {
        let grant = terms().sign(&SecretKey::from_seed(&[2; 32]));
        assert_eq!(
            sha256("golden", &[&encode(&grant)]).to_string(),
            "1974a7c8f62b1a8eaa24a93cc844c0160cd9ecc4db8eabec139d51607eeeff50"
        );
        assert_eq!(terms().address().0.to_string(), "00d752050b53ad4b307aabc6bd3954ea3782d4bcc73ece95b1df74ec3a46eec8");
    }
}
