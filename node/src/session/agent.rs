//! The tenant's agent in a node: grants wallets in the name of tenants whose clients speak plain OpenAI.
//!
//! The node is trusted with the tenant's master key by configuration.

use std::collections::BTreeSet;

use scheduler::load::ServedModel;
use wallet::{
    grant::WalletTerms, identity::RegionId, policy::JurisdictionPolicy, refusal::Refusal, tenant::TenantMaster,
    units::NodeId,
};

use super::{
    context::{NodeContext, random},
    request::{PrefixSalt, TenantGrant},
};

/// Grants a new wallet that may enter `regions`, with `holder` as its first holder.
///
/// # Errors
/// [`Refusal::RegionUnknown`] and, if the holder's region is not among them, [`Refusal::RegionForbidden`].
pub fn grant(
    node: &NodeContext,
    master: &TenantMaster,
    regions: &BTreeSet<RegionId>,
    holder: NodeId,
    served: ServedModel,
) -> Result<TenantGrant, Refusal> {
    let (nonce, consortium) = (random(), &node.consortium);
    let (secret, key) = master.wallet(&consortium.id(), &nonce);
    let all: BTreeSet<RegionId> = consortium.regions().iter().cloned().collect();
    let policy = JurisdictionPolicy { allowed: regions.clone() }.tree(&all, &secret)?;
    if let Some(holder) = node.members().in_force(holder) {
        policy.open(&holder.region)?.verify(&policy.commitment())?;
    }
    let terms = WalletTerms {
        consortium: consortium.id(),
        tenant_key: key.public_key(),
        policy: policy.commitment(),
        model: served.model,
        numerics: served.numerics,
        holder,
        nonce,
    };
    let grant = terms.sign(&key.secret_key());
    let prefix_salt = PrefixSalt(master.prefix_salt(&consortium.id()));
    Ok(TenantGrant { grant, secret, key, policy, prefix_salt })
}
