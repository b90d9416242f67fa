//! Making a block from entries, and checking one by executing it.

use genesis::Consortium;
use wallet::{
    codec,
    digest::Digest,
    units::{BlockHeight, Timestamp},
};

use crate::{
    apply::BlockContext,
    block::{Block, Certificate, Header, View},
    certificate::CertificateInvalid,
    event::Entry,
    refusal::Refusal,
    state::State,
    tree::log::LogTree,
};

/// A block holds at most this many entries.
pub const BLOCK_ENTRIES_MAX: usize = 4096;
/// A block's entries have at most this many encoded bytes together.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// An entry has at most this many encoded bytes, so that it fits the entry bundles of C2SP tlog-tiles.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Everything after a block was executed. A clone is cheap and shares what is equal, so a stage is a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Digest of the block's header; zero at genesis.
    pub digest: Digest,
    /// The block's height; 0 at genesis.
    pub height: BlockHeight,
    /// The block's view; zero at genesis.
    pub view: View,
    /// The block's time; at genesis that of the document.
    pub time: Timestamp,
    /// The tree over all entries.
    pub log: LogTree,
    /// What they make.
    pub state: State,
}

impl Executed {
    /// The state before the first block.
    pub fn genesis(consortium: &Consortium) -> Self {
        Self {
            digest: Digest::ZERO,
            height: BlockHeight::ZERO,
            view: View::default(),
            time: consortium.created(),
            log: LogTree::default(),
            state: State::genesis(consortium),
        }
    }
}

/// A block as its leader made it, with what executing it gave.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// For the raft log.
    pub block: Block,
    /// What every validator will get.
    pub executed: Executed,
    /// Candidates that the rules refuse now, for their authors.
    pub refused: Vec<(Entry, Refusal)>,
    /// Candidates that did not fit, in their order, for the next block.
    pub left_over: Vec<Entry>,
}

/// Makes the next block in `view` from those `candidates` that apply, in their order. Its time is `now`, or just after
/// the parent's if the clock is behind that.
pub fn propose(
    consortium: &Consortium,
    parent: &Executed,
    parent_certificate: Option<Certificate>,
    view: View,
    now: Timestamp,
    candidates: Vec<Entry>,
) -> Proposal {
    let time = now.max(Timestamp::new(parent.time.get() + 1));
    let mut executed = Executed { height: next_height(parent), view, time, ..parent.clone() };
    let (mut entries, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut candidates = candidates.into_iter();
    let mut left_over = Vec::new();
    for entry in candidates.by_ref() {
        let encoded = codec::encode(&entry).len();
        if entries.len() == BLOCK_ENTRIES_MAX || (encoded <= ENTRY_BYTES_MAX && bytes + encoded > BLOCK_BYTES_MAX) {
            left_over.push(entry);
            break;
        }
        match append(consortium, &mut executed, &entry) {
            Ok(()) => {
                bytes += encoded;
                entries.push(entry);
            }
            Err(refusal) => refused.push((entry, refusal)),
        }
    }
    left_over.extend(candidates);
    let header = Header {
        consortium: consortium.id(),
        height: executed.height,
        view,
        epoch: consortium.validators().epoch,
        parent: parent.digest,
        parent_certificate: certificate_digest(parent_certificate.as_ref()),
        log_size: executed.log.size(),
        log_root: executed.log.root(),
        state_root: executed.state.root(),
        validators: consortium.validators().hash(),
        time,
    };
    executed.digest = header.digest();
    Proposal { block: Block { header, parent_certificate, entries }, executed, refused, left_over }
}

/// Executes `block` on `parent` and checks everything that its header claims. `clock` is the validator's own time when it
/// is to vote, none when the block is certified already.
///
/// # Errors
/// [`BlockInvalid`] names the first claim that does not hold.
pub fn execute(
    consortium: &Consortium,
    parent: &Executed,
    block: &Block,
    clock: Option<Timestamp>,
) -> Result<Executed, BlockInvalid> {
    let header = &block.header;
    check_place(consortium, parent, block)?;
    if header.time <= parent.time {
        return Err(BlockInvalid::TimeNotAfterParent { time: header.time, parent: parent.time });
    }
    let ahead_ms_max = consortium.parameters().clock_ahead_ms;
    let ahead = |clock: &Timestamp| header.time.get() > clock.get().saturating_add(ahead_ms_max);
    if let Some(clock) = clock.filter(ahead) {
        return Err(BlockInvalid::TimeAhead { time: header.time, clock });
    }
    check_size(&block.entries)?;
    let mut executed = Executed {
        digest: header.digest(),
        height: header.height,
        view: header.view,
        time: header.time,
        ..parent.clone()
    };
    for (index, entry) in block.entries.iter().enumerate() {
        append(consortium, &mut executed, entry).map_err(|refusal| BlockInvalid::EntryRefused { index, refusal })?;
    }
    if executed.log.size() != header.log_size || executed.log.root() != header.log_root {
        return Err(BlockInvalid::LogRoot { claimed: header.log_root, found: executed.log.root() });
    }
    if executed.state.root() != header.state_root {
        return Err(BlockInvalid::StateRoot { claimed: header.state_root, found: executed.state.root() });
    }
    Ok(executed)
}

/// Whether the header names its consortium, place, validators and parent rightly, and the parent is certified.
fn check_place(consortium: &Consortium, parent: &Executed, block: &Block) -> Result<(), BlockInvalid> {
    let (header, validators) = (&block.header, consortium.validators());
    if header.consortium != consortium.id() {
        return Err(BlockInvalid::ForeignConsortium { found: header.consortium });
    }
    if header.height != next_height(parent) {
        return Err(BlockInvalid::Height { found: header.height, parent: parent.height });
    }
    if header.parent != parent.digest {
        return Err(BlockInvalid::Parent { found: header.parent, expected: parent.digest });
    }
    if parent.view.next_in(header.view.term) != Some(header.view) {
        return Err(BlockInvalid::View { found: header.view, parent: parent.view });
    }
    if header.epoch != validators.epoch || header.validators != validators.hash() {
        return Err(BlockInvalid::Validators);
    }
    if header.parent_certificate != certificate_digest(block.parent_certificate.as_ref()) {
        return Err(BlockInvalid::ParentCertificateDigest);
    }
    match &block.parent_certificate {
        None if parent.height == BlockHeight::ZERO => Ok(()),
        Some(certificate)
            if parent.height > BlockHeight::ZERO
                && (certificate.block, certificate.height, certificate.view)
                    == (parent.digest, parent.height, parent.view) =>
        {
            certificate.verify(validators, &consortium.id()).map_err(BlockInvalid::ParentCertificate)
        }
        _ => Err(BlockInvalid::ParentNotCertified),
    }
}

fn check_size(entries: &[Entry]) -> Result<(), BlockInvalid> {
    let bytes: usize = entries.iter().map(|entry| codec::encode(entry).len()).sum();
    if entries.len() > BLOCK_ENTRIES_MAX || bytes > BLOCK_BYTES_MAX {
        return Err(BlockInvalid::TooLarge { entries: entries.len(), bytes });
    }
    Ok(())
}

/// Applies one entry at the end of the log.
fn append(consortium: &Consortium, executed: &mut Executed, entry: &Entry) -> Result<(), Refusal> {
    let at = BlockContext { height: executed.height, time: executed.time, log_index: executed.log.next_index() };
    executed.state.apply(consortium, entry, at)?;
    executed.log.append(entry.leaf_hash());
    Ok(())
}

fn next_height(parent: &Executed) -> BlockHeight {
    parent.height.next().expect("2^64 blocks take longer than the sun has")
}

fn certificate_digest(certificate: Option<&Certificate>) -> Digest {
    certificate.map_or(Digest::ZERO, Certificate::digest)
}

/// Why a validator does not vote for a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockInvalid {
    /// Of another consortium.
    #[error("the block is of consortium {found}")]
    ForeignConsortium {
        /// What its header names.
        found: Digest,
    },
    /// Not the next height.
    #[error("height {found} does not follow {parent}")]
    Height {
        /// What its header names.
        found: BlockHeight,
        /// The parent's.
        parent: BlockHeight,
    },
    /// Another parent.
    #[error("the parent is {expected}, not {found}")]
    Parent {
        /// What its header names.
        found: Digest,
        /// The block that was executed before.
        expected: Digest,
    },
    /// Not the next view.
    #[error("view {found:?} does not follow {parent:?}")]
    View {
        /// What its header names.
        found: View,
        /// The parent's.
        parent: View,
    },
    /// Not the epoch or the validator set that votes.
    #[error("the header names another epoch or validator set")]
    Validators,
    /// The header's digest of the parent's certificate is not of the one in the block.
    #[error("the header names another certificate of its parent")]
    ParentCertificateDigest,
    /// The parent is not certified, or the first block carries a certificate.
    #[error("the block does not carry a certificate of its parent")]
    ParentNotCertified,
    /// The parent's certificate proves nothing.
    #[error("the parent's certificate: {0}")]
    ParentCertificate(#[source] CertificateInvalid),
    /// Time must go on.
    #[error("time {time} is not after the parent's {parent}")]
    TimeNotAfterParent {
        /// The block's, in ms since 1970.
        time: Timestamp,
        /// The parent's.
        parent: Timestamp,
    },
    /// Too far in the future by the own clock. It may become valid by waiting.
    #[error("time {time} is too far ahead of the clock at {clock}")]
    TimeAhead {
        /// The block's, in ms since 1970.
        time: Timestamp,
        /// The validator's.
        clock: Timestamp,
    },
    /// Proposed in a later term than the one whose leader put it in the log.
    #[error("the view's term {view} is after the log entry's term {log}")]
    TermAhead {
        /// Of the view.
        view: u64,
        /// Of the raft log entry.
        log: u64,
    },
    /// Too many entries or bytes.
    #[error("{entries} entries with {bytes} bytes exceed a block")]
    TooLarge {
        /// How many entries.
        entries: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// An entry that the rules refuse.
    #[error("entry {index} of the block: {refusal}")]
    EntryRefused {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The log's size or root is another.
    #[error("the log root is {found}, not {claimed}")]
    LogRoot {
        /// By the header.
        claimed: Digest,
        /// By execution.
        found: Digest,
    },
    /// The state root is another.
    #[error("the state root is {found}, not {claimed}")]
    StateRoot {
        /// By the header.
        claimed: Digest,
        /// By execution.
        found: Digest,
    },
}

#[cfg(test)]
mod tests;
