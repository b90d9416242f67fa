//! The author's signature on an entry: over the entry alone, or over a batch of entries of which it is one.
//!
//! A batch saves signatures, not proofs: each entry carries the signature over the batch's root and the path from its
//! id to that root, so that a leaf of the log stands for itself.

use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::{PublicKey, SecretKey, Signature, SignatureInvalid, context},
    units::{LogIndex, NodeId},
};

use crate::{
    checks::Checks,
    event::{Entry, EntryBody, EntryParts},
    tree::log::{implied_root, leaf_hash, root_and_proofs},
};

/// A batch has at most this many entries.
pub const BATCH_ENTRIES_MAX: usize = 256;
/// And therefore a path at most this many hashes.
pub const BATCH_PATH_MAX: usize = BATCH_ENTRIES_MAX.ilog2() as usize;

/// By the author's node key. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthorSignature {
    /// Over the encoded body, under [`context::LEDGER_ENTRY`].
    Direct(Signature),
    /// Over a batch.
    Batch(Box<BatchSignature>),
}

/// A signature over several entries of one author, as one of them carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSignature {
    /// Over the encoded [`BatchRoot`], under [`context::LEDGER_BATCH`].
    pub signature: Signature,
    /// How many entries the batch has: 1 to [`BATCH_ENTRIES_MAX`].
    pub size: u16,
    /// Which of them this one is, from 0.
    pub index: u16,
    /// From the entry's id to the root, the lowest sibling first.
    pub path: BatchPath,
}

/// At most [`BATCH_PATH_MAX`] hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Digest>", into = "Vec<Digest>")]
pub struct BatchPath(Vec<Digest>);

/// A path that no batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a path of {found} hashes, more than the {BATCH_PATH_MAX} of a batch")]
pub struct PathTooLong {
    /// How many there are.
    pub found: usize,
}

/// What the author of a batch signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRoot {
    /// Hash of the genesis document.
    pub consortium: Digest,
    /// The author of all entries.
    pub author: NodeId,
    /// How many entries there are.
    pub size: u16,
    /// Root of the tree (RFC 9162) whose leaves are the entries' ids.
    pub root: Digest,
}

impl TryFrom<Vec<Digest>> for BatchPath {
    type Error = PathTooLong;
    fn try_from(path: Vec<Digest>) -> Result<Self, PathTooLong> {
        if path.len() > BATCH_PATH_MAX { Err(PathTooLong { found: path.len() }) } else { Ok(Self(path)) }
    }
}

impl From<BatchPath> for Vec<Digest> {
    fn from(path: BatchPath) -> Self {
        path.0
    }
}

impl BatchPath {
    /// The hashes.
    pub fn hashes(&self) -> &[Digest] {
        &self.0
    }
}

impl AuthorSignature {
    /// Checks that this signature, which `entry` carries, is by the author's key.
    pub(crate) fn verify(&self, key: &PublicKey, entry: &Entry, checks: &dyn Checks) -> Result<(), SignatureInvalid> {
        match self {
            Self::Direct(signature) => checks.verify(key, context::LEDGER_ENTRY, entry.body_bytes(), signature),
            Self::Batch(batch) => {
                let claim = sha256("batchmind/v1/ledger/remembered-entry", &[&key.0, entry.leaf_hash().as_bytes()]);
                checks.once(claim, &mut || {
                    let root = batch.root(&entry.body, entry.id())?;
                    checks.verify(key, context::LEDGER_BATCH, &codec::encode(&root), &batch.signature)
                })
            }
        }
    }
}

impl BatchSignature {
    /// What must be signed if the entry is where it is said to be.
    fn root(&self, body: &EntryBody, id: Digest) -> Result<BatchRoot, SignatureInvalid> {
        if usize::from(self.size) > BATCH_ENTRIES_MAX {
            return Err(SignatureInvalid);
        }
        let index = LogIndex::new(u64::from(self.index));
        let root = implied_root(u64::from(self.size), index, &leaf_hash(id.as_bytes()), self.path.hashes())
            .map_err(|_| SignatureInvalid)?;
        Ok(BatchRoot { consortium: body.consortium, author: body.author, size: self.size, root })
    }
}

/// Signs entries of one author and one consortium together; each with the wallet's epoch key where its event speaks for
/// the holder. Of more than [`BATCH_ENTRIES_MAX`] several batches are made; one that is alone is signed directly.
pub fn sign_batch(bodies: Vec<(EntryBody, Option<&SecretKey>)>, author: &SecretKey) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(bodies.len());
    let mut bodies = bodies.into_iter().peekable();
    while let Some((first, _)) = bodies.peek() {
        let of = (first.consortium, first.author);
        let mut batch = Vec::new();
        while batch.len() < BATCH_ENTRIES_MAX
            && let Some(next) = bodies.next_if(|(body, _)| (body.consortium, body.author) == of)
        {
            batch.push(next);
        }
        sign_one(batch, author, &mut entries);
    }
    entries
}

/// Signs at most [`BATCH_ENTRIES_MAX`] entries of one author.
fn sign_one(bodies: Vec<(EntryBody, Option<&SecretKey>)>, author: &SecretKey, entries: &mut Vec<Entry>) {
    if let [(body, holder)] = bodies.as_slice() {
        entries.push(body.clone().sign(author, *holder));
        return;
    }
    let leaves: Vec<Digest> = bodies.iter().map(|(body, _)| leaf_hash(body.id().as_bytes())).collect();
    let (root, paths) = root_and_proofs(&leaves);
    let size = u16::try_from(leaves.len()).expect("a batch is small");
    let mut signature = None;
    for (((body, holder), path), index) in bodies.into_iter().zip(paths).zip(0_u16..) {
        let signature = *signature.get_or_insert_with(|| {
            let root = BatchRoot { consortium: body.consortium, author: body.author, size, root };
            author.sign(context::LEDGER_BATCH, &codec::encode(&root))
        });
        let batch = BatchSignature { signature, size, index, path: BatchPath(path) };
        let holder_signature = holder.map(|key| key.sign(context::WALLET_HOLDER, &codec::encode(&body)));
        let signature = AuthorSignature::Batch(Box::new(batch));
        entries.push(EntryParts { body, signature, holder_signature }.into());
    }
}

#[cfg(test)]
mod tests;
