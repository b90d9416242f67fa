//! Table `[[tenants]]`: who may use this node, and where their sessions may be held.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use genesis::Consortium;
use serde::Deserialize;
use toml::Spanned;
use wallet::{digest::Digest, identity::RegionId, tenant::TenantMaster};

use super::{fault::ConfigFault, file::Source};
use crate::keys::{self, KeyFault};

/// A tenant of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// For logs and metrics; names its folder.
    pub name: TenantName,
    /// SHA-256 of its API key's bytes.
    pub api_key_hash: Digest,
    /// Where its sessions may be held. Not empty, sorted, each listed by genesis.
    pub regions: Vec<RegionId>,
    /// Its wallet master key, which this node keeps as the tenant's agent.
    pub master_key_file: PathBuf,
    /// The passphrase of that file if it is wrapped, or is to be.
    pub passphrase_file: Option<PathBuf>,
}

impl Tenant {
    /// The wallet master, which has the form of a key file; drawn on first use.
    ///
    /// # Errors
    /// [`KeyFault`].
    pub fn master(&self) -> Result<TenantMaster, KeyFault> {
        let key = keys::open_or_create(&self.master_key_file, self.passphrase_file.as_deref())?;
        Ok(TenantMaster::from_bytes(*key.seed()))
    }
}

/// Short name of a tenant: 1 to 32 lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct TenantName(String);

/// A tenant's name that breaks the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a tenant's name: 1 to 32 lower-case letters, digits and hyphens")]
pub struct TenantNameInvalid(String);

impl TenantName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantName {
    type Error = TenantNameInvalid;
    fn try_from(name: String) -> Result<Self, TenantNameInvalid> {
        let valid = (1..=32).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if valid { Ok(Self(name)) } else { Err(TenantNameInvalid(name.chars().take(64).collect())) }
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The table as it is written down.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Table {
    name: Spanned<TenantName>,
    api_key_hash: Spanned<Digest>,
    regions: Spanned<Vec<Spanned<RegionId>>>,
    master_key_file: Option<PathBuf>,
}

pub(super) fn check(
    source: &Source<'_>,
    tables: Vec<Table>,
    data_dir: &Path,
    passphrase_file: Option<&Path>,
    consortium: &Consortium,
) -> Result<Vec<Tenant>, ConfigFault> {
    let mut tenants: Vec<Tenant> = Vec::with_capacity(tables.len());
    for table in tables {
        let name = table.name.get_ref().clone();
        let repeated = |place, what| Err(ConfigFault::TenantRepeated { place, tenant: name.clone(), what });
        if tenants.iter().any(|tenant| tenant.name == name) {
            return repeated(source.place(&table.name), "name");
        }
        let api_key_hash = *table.api_key_hash.get_ref();
        if tenants.iter().any(|tenant| tenant.api_key_hash == api_key_hash) {
            return repeated(source.place(&table.api_key_hash), "api-key-hash");
        }
        let regions = regions(source, &name, &table.regions, consortium)?;
        let master_key_file = match &table.master_key_file {
            Some(file) => source.resolve(file),
            None => data_dir.join("tenants").join(format!("{name}.key")),
        };
        let passphrase_file = passphrase_file.map(Path::to_owned);
        tenants.push(Tenant { name, api_key_hash, regions, master_key_file, passphrase_file });
    }
    Ok(tenants)
}

fn regions(
    source: &Source<'_>,
    tenant: &TenantName,
    listed: &Spanned<Vec<Spanned<RegionId>>>,
    consortium: &Consortium,
) -> Result<Vec<RegionId>, ConfigFault> {
    for region in listed.get_ref() {
        if !consortium.regions().contains(region.get_ref()) {
            let (place, region) = (source.place(region), region.get_ref().to_string());
            return Err(ConfigFault::RegionUnknown { place, tenant: tenant.clone(), region });
        }
    }
    let mut regions: Vec<RegionId> = listed.get_ref().iter().map(|region| region.get_ref().clone()).collect();
    if regions.is_empty() {
        return Err(ConfigFault::NoRegion { place: source.place(listed), tenant: tenant.clone() });
    }
    regions.sort();
    regions.dedup();
    Ok(regions)
}
