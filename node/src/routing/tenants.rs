//! The tenants of this node: who they are, their wallet master, and where their sessions and blocks may be.

use std::{collections::BTreeSet, sync::Arc};

use wallet::{
    digest::{Digest, blake3},
    identity::RegionId,
    tenant::TenantMaster,
};

use crate::{
    config::{self, TenantName},
    keys::KeyFault,
    session::request::PrefixSalt,
};

/// A tenant with the secret from which this node, as its agent, derives wallets.
#[derive(Debug)]
pub struct Tenant {
    /// For logs and metrics.
    pub name: TenantName,
    /// SHA-256 of its API key.
    pub api_key_hash: Digest,
    /// Where its sessions may be held.
    pub regions: BTreeSet<RegionId>,
    /// The root of its wallets.
    pub master: TenantMaster,
}

/// All tenants of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct Tenants(Arc<[Arc<Tenant>]>);

impl Tenants {
    /// The tenants of the configuration; reads their master keys, or makes them on first use.
    ///
    /// # Errors
    /// [`KeyFault`] for the first key file that is refused.
    pub fn load(configured: &[config::Tenant]) -> Result<Self, KeyFault> {
        let load = |tenant: &config::Tenant| {
            let master = tenant.master()?;
            let (name, api_key_hash) = (tenant.name.clone(), tenant.api_key_hash);
            let regions = tenant.regions.iter().cloned().collect();
            Ok::<_, KeyFault>(Arc::new(Tenant { name, api_key_hash, regions, master }))
        };
        Ok(Self(configured.iter().map(load).collect::<Result<_, _>>()?))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.0.iter()
    }
}

impl Tenant {
    /// The salt of the prefix blocks of a request for `regions`. A request that narrows the tenant's regions has a salt
    /// of its own, so that its blocks are shared with no request that others may know of.
    pub fn prefix_salt(&self, consortium: &Digest, regions: &BTreeSet<RegionId>) -> PrefixSalt {
        let salt = self.master.prefix_salt(consortium);
        if *regions == self.regions {
            return PrefixSalt(salt);
        }
        let names: Vec<&[u8]> = regions.iter().map(|region| region.as_str().as_bytes()).collect();
        PrefixSalt(*blake3("batchmind/v1/node/narrowed-salt", Some(&salt), &names).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions(names: &[&str]) -> BTreeSet<RegionId> {
        names.iter().map(|name| RegionId::try_from((*name).to_owned()).expect("a region's name")).collect()
    }

    fn tenant() -> Tenant {
        Tenant {
            name: TenantName::try_from("acme".to_owned()).expect("a tenant's name"),
            api_key_hash: Digest::ZERO,
            regions: regions(&["eu", "us"]),
            master: TenantMaster::from_bytes([7; 32]),
        }
    }

    #[test]
    fn a_narrowed_request_shares_no_block_with_the_others() {
        let (tenant, consortium) = (tenant(), Digest([1; 32]));
        let salt = |names: &[&str]| tenant.prefix_salt(&consortium, &regions(names)).0;
        assert_eq!(salt(&["us", "eu"]), tenant.master.prefix_salt(&consortium));
        assert_ne!(salt(&["eu"]), salt(&["eu", "us"]));
        assert_ne!(salt(&["eu"]), salt(&["us"]));
    }

    #[test]
    fn a_tenant_prints_no_secret() {
        assert!(!format!("{:?}", tenant()).contains("7, 7"));
    }
}
