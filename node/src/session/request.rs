//! What brings a session into being: a tenant's grant and a prompt.

use std::fmt;

use serde::{Deserialize, Serialize};
use wallet::{
    digest::{Digest, sha256},
    grant::{WalletAddress, WalletGrant},
    policy::PolicyTree,
    tenant::{TenantKey, WalletSecret},
    units::{NodeId, TokenCount},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A new session for the node that the grant names as holder. A front door makes it for itself or for another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// Who pays and what is allowed.
    pub tenant: TenantGrant,
    /// Token ids of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen and when it ends.
    pub sampling: Sampling,
    /// At most one token in this many milliseconds; 0 for as fast as it goes.
    pub pace_ms: u32,
    /// Hash of the secret by which the client resumes its stream.
    pub resume_secret_hash: Digest,
    /// The request's id, as its client sees it.
    pub request_id: String,
}

/// What the tenant's agent gives the holder of a new wallet. It travels only to the node that the grant names.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantGrant {
    /// Signed by the tenant's key for this wallet.
    pub grant: WalletGrant,
    /// W0: the first chain key follows from it.
    pub secret: WalletSecret,
    /// The tenant's key for this wallet, delegated to the holder.
    pub key: TenantKey,
    /// Opens the policy's leaves.
    pub policy: PolicyTree,
    /// Salt of the tenant's prefix blocks.
    pub prefix_salt: PrefixSalt,
}

/// Salt of a tenant's prefix blocks. Secret: with it one can test which prompt stands behind a block's hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct PrefixSalt(pub [u8; 32]);

/// The secret by which a client resumes its stream. Holders keep its hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct ResumeSecret(pub [u8; 32]);

impl PrefixSalt {
    /// Names the salt without telling it.
    pub fn tag(&self) -> Digest {
        sha256("batchmind/v1/node/salt-tag", &[&self.0])
    }
}

impl ResumeSecret {
    /// What a session keeps of it.
    pub fn hash(&self) -> Digest {
        sha256("batchmind/v1/node/resume-secret", &[&self.0])
    }
}

impl fmt::Debug for PrefixSalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrefixSalt(redacted)")
    }
}

impl fmt::Debug for ResumeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeSecret(redacted)")
    }
}

/// How tokens are chosen and when generation ends. Integers, because it is part of what every holder must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// Most tokens to generate.
    pub max_tokens: TokenCount,
    /// Temperature in millionths; 0 takes the likeliest token.
    pub temperature_ppm: u32,
    /// Probability mass to sample from, in millionths; 1,000,000 for all.
    pub top_p_ppm: u32,
    /// Seed of the counter-based sampler.
    pub seed: u64,
    /// Go on past the model's end of text.
    pub ignore_eos: bool,
    /// Generation ends before any of these texts.
    pub stop: Vec<String>,
}

/// The new session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerateReply {
    /// Its wallet.
    pub wallet: WalletAddress,
    /// The node that serves it.
    pub served_by: NodeId,
    /// Tokens of the prompt: the position of the first generated token.
    pub prompt_tokens: TokenCount,
    /// Tokens of the prompt whose blocks were cached.
    pub cached_tokens: TokenCount,
}
