//! The tree of a checkpoint that an auditor kept, and that the log only grew from there.

use serde::{Deserialize, Serialize};
use wallet::digest::Digest;

use super::check::{Check, Failure, require};
use crate::{
    block::Header,
    epochs::Epochs,
    tlog::{Checkpoint, Note, proof::cosigned_in},
    tree::log::verify_consistency,
};

/// An earlier tree of the log, of which that under the bundle's header is a continuation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    /// How many entries it has.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// From that root to the header's log root (RFC 9162 2.1.4).
    pub path: Vec<Digest>,
}

/// The checkpoint that the auditor kept, of a tree that a quorum of its epoch cosigned.
pub(super) fn pinned(note: &[u8], epochs: &Epochs) -> Result<Checkpoint, Failure> {
    let note = Note::parse(note).map_err(|malformed| Failure::new(Check::Checkpoint, malformed))?;
    let cosigned = cosigned_in(epochs, &note).map_err(|invalid| Failure::new(Check::Checkpoint, invalid))?;
    Ok(cosigned.checkpoint)
}

/// That the log under `header` goes on from the tree in the bundle, and that this is the `pinned` one.
pub(super) fn check(since: Option<&Since>, pinned: Option<&Checkpoint>, header: &Header) -> Result<(), Failure> {
    let holds = |holds, detail| require(holds, Check::Consistency, detail);
    if let Some(Checkpoint { size, root, .. }) = pinned {
        let forked = *size == header.log_size && *root != header.log_root;
        holds(!forked, "header and checkpoint are two logs of one size: keep both, they prove a fork")?;
        holds(*size <= header.log_size, "the checkpoint is newer than the bundle")?;
        let found = since.map(|since| (since.size, since.root));
        holds(found.is_some(), "it was not asked for with the checkpoint's size, and does not go on from there")?;
        holds(found == Some((*size, *root)), "it goes on from another tree than the checkpoint's")?;
    }
    since.map_or(Ok(()), |Since { size, root, path }| {
        let grown = verify_consistency(root, *size, &header.log_root, header.log_size, path);
        holds(grown.is_ok(), "the path does not lead from the earlier root to the log root")
    })
}
