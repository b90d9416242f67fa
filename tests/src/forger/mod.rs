//! An attacker with an operator's real keys, and what he tries. He is no part of the product: the binary `batchmind` has
//! no way around its own rules, so whoever wants to break them writes a program of his own, like this one.
//!
//! Each attack goes to every validator by its public interface, and succeeds as an attack if one of them takes it.

pub mod forbidden_offer;
pub mod old_key;
mod validators;

use std::{collections::BTreeSet, fs, path::Path};

use genesis::Consortium;
use node::keys::KeyFileFault;
use wallet::{
    identity::{RegionId, SecretKey},
    policy::{JurisdictionPolicy, PolicyTree},
    tenant::WalletSecret,
    units::NodeId,
};

/// How an attack went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everybody refused it, with a code.
    Refused,
    /// Somebody took it, or refused without saying why.
    Taken,
}

impl Verdict {
    /// Refused, if all are.
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let taken = verdicts.into_iter().any(|verdict| verdict == Self::Taken);
        if taken { Self::Taken } else { Self::Refused }
    }
}

/// The attack could not be tried. That shows nothing, so it is no success of the defence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attack could not be tried: {0}")]
pub struct NotTried(String);

impl NotTried {
    fn because(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl From<KeyFileFault> for NotTried {
    fn from(fault: KeyFileFault) -> Self {
        Self::because(fault)
    }
}

impl From<node::cli::Failure> for NotTried {
    fn from(failure: node::cli::Failure) -> Self {
        Self::because(failure)
    }
}

/// The operator whose keys the attacker has.
#[derive(Clone, Debug)]
pub struct Puppet {
    /// Its place in genesis.
    pub node: NodeId,
    /// Its real node key.
    pub key: SecretKey,
}

impl Puppet {
    /// The node `name` with the key in `file`.
    ///
    /// # Errors
    /// [`NotTried`] if genesis has no such node or the file no key.
    pub fn open(consortium: &Consortium, name: &str, file: &Path) -> Result<Self, NotTried> {
        Ok(Self { node: find(consortium, name)?, key: node::keys::read(file)? })
    }
}

/// Reads the signed genesis document.
///
/// # Errors
/// [`NotTried`] if it cannot be read or is not valid.
pub fn read_genesis(file: &Path) -> Result<Consortium, NotTried> {
    let text = fs::read_to_string(file).map_err(NotTried::because)?;
    genesis::parse(&text).and_then(genesis::Document::verify).map_err(NotTried::because)
}

/// The node of that name.
///
/// # Errors
/// [`NotTried`] if there is none.
pub fn find(consortium: &Consortium, name: &str) -> Result<NodeId, NotTried> {
    let name = name.parse().map_err(NotTried::because)?;
    let (id, _) = consortium.node_by_name(&name).ok_or_else(|| NotTried(format!("genesis lists no node {name}")))?;
    Ok(id)
}

/// A policy over the consortium's regions that allows one of them.
fn policy_allowing(consortium: &Consortium, one: &RegionId, secret: &[u8; 32]) -> Result<PolicyTree, NotTried> {
    let regions: BTreeSet<RegionId> = consortium.regions().iter().cloned().collect();
    let policy = JurisdictionPolicy { allowed: [one.clone()].into() };
    policy.tree(&regions, &WalletSecret::from_bytes(*secret)).map_err(NotTried::because)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}
