//! Who the nodes of a history are: by the genesis document, by the validator sets, and by records under the state root.
//!
//! The sets say by which key a validator signed in each epoch, and that is enough for most entries. Of a node that
//! joined later a record says whose it is and where it stands. A suspended node still lets its wallets go, and may have
//! got its key while it was in no set; then a record says that the key is or was its own.

use std::collections::{BTreeMap, BTreeSet};

use genesis::{Consortium, Node, OperatorId};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    identity::{PublicKey, RegionId},
    units::{LogIndex, NodeId},
};

use super::check::{Check, Failure, require};
use crate::{
    apply::check_signed,
    checks::Direct,
    epochs::Epochs,
    event::Entry,
    governance::Member,
    refusal::Refusal,
    state::{Record, StateKey, record_under},
};

/// What a [`MemberProof`] is about. The order of the variants is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    /// A node that the genesis document does not list.
    Node(NodeId),
    /// A key by which a node signed while it was no validator.
    Key(PublicKey),
}

/// A record of a node or a key under the state root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberProof {
    /// Of what.
    pub subject: Subject,
    /// The record, canonically encoded.
    pub record: Vec<u8>,
    /// The hashes beside the path from the state root to it, the root's children first.
    pub path: Vec<Digest>,
}

impl Subject {
    /// Where its record stands.
    pub(super) const fn state_key(self) -> StateKey {
        match self {
            Self::Node(node) => StateKey::Node(node),
            Self::Key(key) => StateKey::Key(key),
        }
    }
}

/// See the module.
pub(crate) struct Members<'a> {
    pub(super) consortium: &'a Consortium,
    pub(crate) epochs: Epochs,
    joined: BTreeMap<NodeId, Node>,
    keys: BTreeSet<(NodeId, PublicKey)>,
}

impl<'a> Members<'a> {
    /// What `proofs` add to the genesis document and the sets.
    pub(crate) fn proven(
        consortium: &'a Consortium,
        epochs: Epochs,
        state_root: &Digest,
        proofs: &[MemberProof],
    ) -> Result<Self, Failure> {
        let ascend = proofs.is_sorted_by(|one, next| one.subject < next.subject);
        require(ascend, Check::Members, "the records are not in order")?;
        let mut members = Self { consortium, epochs, joined: BTreeMap::new(), keys: BTreeSet::new() };
        for MemberProof { subject, record, path } in proofs {
            match (*subject, proven(Check::Members, state_root, &subject.state_key(), record, path)?) {
                (Subject::Node(id), Record::Node(record)) => _ = members.joined.insert(id, record.node),
                (Subject::Key(key), Record::Key(record)) => {
                    let Some(Member::Node(node)) = record.member else {
                        return Err(Failure::new(Check::Members, "a key is no node's"));
                    };
                    members.keys.insert((node, key));
                }
                _ => return Err(Failure::new(Check::Members, "a record is about something else")),
            }
        }
        Ok(members)
    }

    /// A node that is or was.
    fn node(&self, id: NodeId) -> Option<&Node> {
        self.consortium.node(id).or_else(|| self.joined.get(&id))
    }

    /// Where a node stands, as its operator attests.
    pub(super) fn region(&self, id: NodeId) -> Option<&RegionId> {
        self.node(id).map(|node| &node.region)
    }

    /// Who runs a node.
    pub(super) fn operator(&self, id: NodeId) -> Option<&OperatorId> {
        self.node(id).map(|node| &node.operator)
    }

    /// Checks that the entry at `index` is by the node that it names: a validator of that epoch under its key of then,
    /// another node under any key that is known to be or to have been its own.
    pub(super) fn check_author(&self, index: LogIndex, entry: &Entry) -> Result<(), Refusal> {
        let author = entry.body.author;
        let signed = |key: &PublicKey| check_signed(self.consortium, entry, key, &Direct);
        if let Some(key) = self.epochs.of_entry(index).key(author) {
            return signed(&key);
        }
        let proven = self.keys.iter().filter(|(node, _)| *node == author).map(|(_, key)| *key);
        let known: BTreeSet<PublicKey> = proven.chain(self.epochs.keys_of(author)).collect();
        let mut refusal = Refusal::AuthorUnknown { author };
        for key in &known {
            match signed(key) {
                Ok(()) => return Ok(()),
                Err(found) => refusal = found,
            }
        }
        Err(refusal)
    }
}

/// The record that stands under `root` by its key; else `check` fails.
pub(super) fn proven(
    check: Check,
    root: &Digest,
    key: &StateKey,
    record: &[u8],
    path: &[Digest],
) -> Result<Record, Failure> {
    record_under(root, key, record, path).map_err(|invalid| Failure::new(check, invalid))
}
