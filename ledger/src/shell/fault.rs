//! What stops a replica: its disk, or something that no honest run can produce.

use std::{path::PathBuf, sync::Arc};

use wallet::{codec::DecodeError, digest::Digest, units::BlockHeight};

/// Why the shell cannot go on. A fault is for the operator, never for a peer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// RocksDB failed.
    #[error("{store}: {source}")]
    Rocks {
        /// The store's folder name.
        store: &'static str,
        /// RocksDB's own words.
        source: rocksdb::Error,
    },
    /// A stored value is not what was written.
    #[error("{store}: the value at {family}/{key} is damaged: {reason}")]
    Damaged {
        /// The store's folder name.
        store: &'static str,
        /// Column family.
        family: &'static str,
        /// The key, in hexadecimal.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A write-ahead log or a manifest of RocksDB's is not what was written.
    #[error("{path}: the record at byte {at} is damaged: {reason}")]
    Record {
        /// The file.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A value that must be there is not.
    #[error("{store}: {what} is missing")]
    Missing {
        /// The store's folder name.
        store: &'static str,
        /// Which value.
        what: String,
    },
    /// What the disk holds does not give the root that a quorum certified.
    #[error("final height {height}: the {what} from disk is {found}, the final header says {expected}")]
    StateDiffers {
        /// The final height.
        height: BlockHeight,
        /// Which root.
        what: &'static str,
        /// In the final header.
        expected: Digest,
        /// Recomputed.
        found: Digest,
    },
    /// An earlier run met damage, and nobody has seen to it since.
    #[error("an earlier run met damage: {said}; restore the ledger, or remove {path} once that is mended")]
    MetDamage {
        /// The file that says so.
        path: PathBuf,
        /// What was found.
        said: String,
    },
    /// The folder belongs to another consortium.
    #[error("the folder holds the ledger of consortium {found}, not of {expected}")]
    OtherConsortium {
        /// The consortium that was asked for.
        expected: Digest,
        /// The one on disk.
        found: Digest,
    },
    /// Somebody tried to cut the log at or below the final block.
    #[error("refused to cut the raft log at index {at}: everything up to {final_index} is final")]
    CutsFinal {
        /// First index that would go.
        at: u64,
        /// Index of the final block.
        final_index: u64,
    },
    /// An entry does not follow the last one.
    #[error("refused to append raft log index {found} after {last:?}")]
    NotConsecutive {
        /// Index of the last entry.
        last: Option<u64>,
        /// Index that was to be appended.
        found: u64,
    },
    /// A plain file failed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: Arc<std::io::Error>,
    },
    /// The consensus core stopped or refused to start.
    #[error("raft: {0}")]
    Raft(String),
    /// This node's key is not the one that genesis gives it.
    #[error("the node key {found} is not the key of node {node}")]
    WrongKey {
        /// Which node.
        node: wallet::units::NodeId,
        /// Public half of the key that was given.
        found: wallet::identity::PublicKey,
    },
    /// The replica is shutting down.
    #[error("the replica has shut down")]
    Stopped,
    /// Two certificates contradict each other: more than f validators lied.
    #[error("two certificates for height {height} name {ours} and {theirs}; this node has stopped")]
    Fork {
        /// The height.
        height: BlockHeight,
        /// The block that is final here.
        ours: Digest,
        /// The block that the other certificate names.
        theirs: Digest,
    },
    /// A quorum certified a block that does not execute here: more than f validators lied, or this build differs.
    #[error("the certified block of height {height} is invalid here: {reason}; this node has stopped")]
    CertifiedInvalid {
        /// The height.
        height: BlockHeight,
        /// What is wrong with it.
        reason: String,
    },
    /// The core and the log disagree about what is possible.
    #[error("impossible: {0}")]
    Impossible(String),
}

impl Fault {
    /// Whether the disk does not hold what was written to it.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Rocks { source, .. } => source.kind() == rocksdb::ErrorKind::Corruption,
            Self::Damaged { .. } | Self::Record { .. } | Self::Missing { .. } | Self::StateDiffers { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn damaged(store: &'static str, family: &'static str, key: &[u8], reason: impl ToString) -> Self {
        Self::Damaged { store, family, key: wallet::digest::to_hex(key), reason: reason.to_string() }
    }

    pub(crate) fn undecodable(store: &'static str, family: &'static str, key: &[u8], error: DecodeError) -> Self {
        Self::damaged(store, family, key, error)
    }
}
