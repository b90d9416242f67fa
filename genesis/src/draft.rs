//! The document as it is written down, before any check: what the tables of the TOML file hold.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    identity::{PublicKey, RegionId, Signature},
    units::Timestamp,
};

use crate::{NodeName, OperatorId, Parameters};

/// A document that nothing has checked yet. [`crate::Document::new`] does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// What the consortium is called and when it was founded.
    pub consortium: Heading,
    /// Numbers on which all nodes must agree.
    #[serde(default)]
    pub parameters: Parameters,
    /// The legal regions that exist for policies.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Who runs the consortium. Each of them signs.
    #[serde(default)]
    pub operators: Vec<Operator>,
    /// The validators. A node's position here is its `NodeId`, so the order matters.
    #[serde(default)]
    pub nodes: Vec<Node>,
    /// Who may read the ledger's interface.
    #[serde(default)]
    pub auditors: Vec<Auditor>,
    /// Models that the operators agree to serve. May be empty.
    #[serde(default)]
    pub models: Vec<Model>,
    /// Over the document's hash, by the operators' keys. Not part of the hash.
    #[serde(default)]
    pub signatures: BTreeMap<OperatorId, Signature>,
}

/// Table `[consortium]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heading {
    /// For people.
    pub name: String,
    /// When the document was made. Every block is later.
    pub created_ms: Timestamp,
}

/// Table `[[regions]]`: a jurisdiction that a tenant may allow or forbid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Short name, such as `eu`.
    pub id: RegionId,
    /// For people.
    pub name: String,
}

/// Table `[[operators]]`: a legal entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Short name, such as `eu-1`.
    pub id: OperatorId,
    /// For people.
    pub name: String,
    /// Signs the document. Belongs on no server.
    pub key: PublicKey,
}

/// Table `[[nodes]]`: a process of an operator, and a validator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Short name.
    pub name: NodeName,
    /// Who runs it.
    pub operator: OperatorId,
    /// Where its operator attests that it stands.
    pub region: RegionId,
    /// Signs its entries and votes, and names it among peers.
    pub key: PublicKey,
    /// Where the other operators' nodes reach it: TCP, libp2p.
    pub peer: SocketAddr,
    /// Where clients are sent to reach it: scheme, host and port, without a path.
    pub api: String,
}

/// Table `[[auditors]]`: who may read, with an API key that only its hash is known of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auditor {
    /// For people and logs.
    pub name: String,
    /// SHA-256 of the API key's bytes. The key must be random: a guessable one can be found from its hash.
    pub key_hash: Digest,
}

/// Table `[[models]]`: a model that is named on the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Hash of its files.
    pub hash: Digest,
    /// For people and for the `model` field of requests.
    pub name: String,
    /// The operator that answers for it.
    pub operator: OperatorId,
    /// Whose model it is, if that one wants to see where its batches are.
    pub owner: Option<Owner>,
}

/// Whose a model is: may read where the batches of the model are, with an API key that only its hash is known of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// For people and logs.
    pub name: String,
    /// SHA-256 of the API key's bytes. The key must be random: a guessable one can be found from its hash.
    pub key_hash: Digest,
}
