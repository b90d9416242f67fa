//! One-time X25519 prekeys: the receiver's own entropy in a hop, used for one offer and then erased.

use serde::{Deserialize, Serialize};

use crate::{
    digest::hex_newtype,
    identity::Signature,
    units::NodeId,
};

/// An X25519 public key (RFC 7748).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeKey(pub [u8; 32]);
hex_newtype!(ExchangeKey);

/// A prekey that a node offers for one hop, signed by the node's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrekey {
    /// The node that owns the secret half.
    pub node: NodeId,
    /// The public half.
    pub key: ExchangeKey,
    /// By the node's key, over node and key.
    pub signature: Signature,
}
