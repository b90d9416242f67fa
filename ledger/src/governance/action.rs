//! What a proposal can change.

use std::fmt;

use genesis::{Auditor, Node, Operator, OperatorId};
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::Digest,
    identity::{PublicKey, SecretKey, Signature, SignatureInvalid, context},
    keystore::KeyStore,
    refusal::Refusal,
    units::NodeId,
};

/// Whoever has a key of governance: an operator or a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Member {
    /// By its id, which no other operator ever has.
    Operator(OperatorId),
    /// By its join index, which no other node ever has.
    Node(NodeId),
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(operator) => write!(f, "operator {operator}"),
            Self::Node(node) => write!(f, "node {node}"),
        }
    }
}

/// One change. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// An operator joins, without nodes.
    AddOperator {
        /// Who.
        operator: Operator,
        /// By the operator's key, over [`KeyClaim::Operator`].
        consent: Signature,
    },
    /// A node joins, suspended: it votes once it is reinstated. Its id is the next join index.
    AddNode {
        /// Which, of an operator in force, in a region of the genesis document.
        node: Node,
        /// By the node's key, over [`KeyClaim::Node`].
        consent: Signature,
        /// By the operator's key, over the same.
        by_operator: Signature,
    },
    /// The member neither votes nor authors; a node may still let go of the wallets that it holds. With an operator its
    /// nodes are suspended.
    Suspend(Member),
    /// A suspended member is in force, again or for the first time. The nodes of an operator are reinstated one by one.
    Reinstate {
        /// Who.
        member: Member,
        /// The key that it has: it may get another one after the operators voted.
        key: PublicKey,
    },
    /// A member that is not in force leaves for good. With an operator its nodes leave.
    Remove(Member),
    /// Another key takes the place of a member's key.
    RotateKey {
        /// Which.
        rotation: Rotation,
        /// By the new key, over [`KeyClaim::Rotation`].
        consent: Signature,
        /// By the key that it has, over the same, if its owner wants this. Else others could speak in its name.
        by_old_key: Option<Signature>,
    },
    /// Nobody may trust the key any more. A member whose key it is has none until its key is rotated; the nodes of an
    /// operator are suspended. A key without a role never gets one.
    RevokeKey(PublicKey),
    /// Somebody may read the ledger's interface with an API key.
    GrantAuditor(Auditor),
    /// Nobody may read with the API key of this hash.
    RevokeAuditor(Digest),
    /// A number on which all nodes agree becomes another.
    SetParameter {
        /// Its name in table `[parameters]` of the genesis document.
        name: String,
        /// Its value when the operators voted.
        from: u64,
        /// Its new value.
        to: u64,
    },
}

impl Action {
    /// Whether it waits for the lock after it passed: whatever gives power or changes rules does. What takes power away,
    /// or what renews a key by the word of who has it, does not.
    pub const fn waits(&self) -> bool {
        match self {
            Self::Suspend(_) | Self::RevokeKey(_) | Self::RevokeAuditor(_) => false,
            Self::RotateKey { by_old_key, .. } => by_old_key.is_none(),
            Self::AddOperator { .. }
            | Self::AddNode { .. }
            | Self::Reinstate { .. }
            | Self::Remove(_)
            | Self::GrantAuditor(_)
            | Self::SetParameter { .. } => true,
        }
    }
}

/// A change of a member's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Whose.
    pub member: Member,
    /// The key that it has.
    pub from: PublicKey,
    /// The key that it gets.
    pub to: PublicKey,
}

/// What a new key signs, so that no key has a role that its owner does not know of; and whose operator, or whose key of
/// before, it is in the name of. Signed under
/// [`context::GOVERNANCE_KEY`], after the consortium's id.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum KeyClaim<'a> {
    /// It is this operator's.
    Operator(&'a Operator),
    /// It is this node's.
    Node(&'a Node),
    /// It follows another one.
    Rotation(&'a Rotation),
}

impl KeyClaim<'_> {
    /// The new key.
    pub const fn key(&self) -> PublicKey {
        match self {
            Self::Operator(operator) => operator.key,
            Self::Node(node) => node.key,
            Self::Rotation(rotation) => rotation.to,
        }
    }

    /// The consent of the new key, or of who else has to agree.
    pub fn sign(&self, consortium: &Digest, key: &SecretKey) -> Signature {
        self.sign_with(consortium, key).expect("a key in memory signs")
    }

    /// As [`Self::sign`], with a key wherever it is kept.
    ///
    /// # Errors
    /// Those of [`KeyStore::sign`].
    pub fn sign_with(&self, consortium: &Digest, key: &dyn KeyStore) -> Result<Signature, Refusal> {
        key.sign(context::GOVERNANCE_KEY, &self.message(consortium))
    }

    /// Checks the new key's consent.
    ///
    /// # Errors
    /// [`SignatureInvalid`].
    pub fn verify(&self, consortium: &Digest, consent: &Signature) -> Result<(), SignatureInvalid> {
        self.key().verify(context::GOVERNANCE_KEY, &self.message(consortium), consent)
    }

    /// What is signed.
    pub(crate) fn message(&self, consortium: &Digest) -> Vec<u8> {
        codec::encode(&(consortium, self))
    }
}
