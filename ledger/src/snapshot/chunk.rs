//! A chunk that is wanted, and whether what came is that chunk.

use serde::{Deserialize, Serialize};
use wallet::{
    codec::{self, DecodeError},
    digest::Digest,
    units::BlockHeight,
};

use super::{BLOCKS_MAX, CHUNK_BYTES_MAX, ChunkPath, HEADERS_MAX, plan::Extent};
use crate::{
    block::{FinalBlock, Header},
    checks::Direct,
    execute::{certificate_digest, skipped_digest},
    hand_over::{ValidatorSets, closed_by},
    re_genesis::NOBODYS_PROPOSAL,
    replay::{Reason, check_certificate},
    tree::{
        log::LogTree,
        parts::{Part, Prefix},
    },
};

/// Blocks that follow each other, with what checks their entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// The header below the first of them, which says where its entries begin; none below height 1.
    pub below: Option<Header>,
    /// The log before the first of them.
    pub before: LogTree,
    /// The blocks: the last ones of those asked for, at least one.
    pub blocks: Vec<FinalBlock>,
}

/// A chunk that is needed, and the hash by which it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    path: ChunkPath,
    /// Of headers and blocks, the digest of the last one; of a part of the state, its subtree's hash.
    hash: Digest,
}

/// What came is what was wanted.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What is to be stored, if anything.
    pub piece: Option<Piece>,
    /// Whether it shows that the last block stands above the end of its epoch. Then that is a carrier and no part of the
    /// chain, and the fault is not whose who sent this but whose who offered that.
    pub is_below_carrier: bool,
    /// Headers of which it shows that they are in the chain.
    pub headers: Vec<Header>,
    pub(super) more: Vec<Wanted>,
}

/// A piece of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Final blocks that follow each other.
    Blocks(Vec<FinalBlock>),
    /// Leaves of the state.
    Leaves(Vec<(Digest, Vec<u8>)>),
}

impl Checked {
    fn piece(piece: Piece, rest: Option<Wanted>) -> Self {
        Self { piece: Some(piece), is_below_carrier: false, headers: Vec::new(), more: rest.into_iter().collect() }
    }
}

impl Wanted {
    /// What leads to all else: the headers up to the last block.
    pub(super) fn first(tip: &Header) -> Self {
        headers(tip.height.get(), tip.digest())
    }

    /// What to ask for.
    pub fn path(&self) -> ChunkPath {
        self.path
    }

    /// A name under which what was got can be kept: the same for the same content, whoever has it and from whichever height.
    pub fn name(&self) -> String {
        let path = self.path.to_string();
        format!("{}.{}", path.split('/').next().unwrap_or_default(), self.hash)
    }

    /// Checks what came. Nothing is taken from it that its hash, or a quorum's signatures, do not cover.
    ///
    /// # Errors
    /// [`ChunkInvalid`] says what is wrong. Then whoever sent it did not send what a node with this ledger has.
    pub fn check(&self, extent: &Extent, bytes: &[u8]) -> Result<Checked, ChunkInvalid> {
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(ChunkInvalid::TooLarge { count: bytes.len() });
        }
        match self.path {
            ChunkPath::Headers { first, last } => {
                let headers: Vec<Header> = codec::decode(bytes)?;
                check_chain(headers.iter(), last, self.hash)?;
                if headers.first().map(|header| header.height) != Some(first) {
                    return Err(ChunkInvalid::OtherContent);
                }
                let tip = extent.tip();
                let ends_it = |header: &Header| header.is_closing() && header.epoch == tip.epoch;
                let is_below_carrier = headers.iter().any(|header| ends_it(header) && header.height < tip.height);
                Ok(Checked { piece: None, is_below_carrier, more: below(extent, &headers), headers })
            }
            ChunkPath::Blocks { first, last } => {
                let Blocks { below, before, blocks } = codec::decode(bytes)?;
                check_chain(blocks.iter().map(|next| &next.block.header), last, self.hash)?;
                let lowest = blocks.first().map(|next| &next.block.header);
                let lowest = lowest.filter(|header| header.height >= first).ok_or(ChunkInvalid::OtherContent)?;
                let rest = (lowest.height > first).then(|| Self {
                    path: ChunkPath::Blocks { first, last: BlockHeight::new(lowest.height.get() - 1) },
                    hash: lowest.parent,
                });
                if !begins(below.as_ref(), &before, lowest) {
                    return Err(ChunkInvalid::OtherContent);
                }
                check_bodies(extent.sets(), before, &blocks)?;
                Ok(Checked::piece(Piece::Blocks(blocks), rest))
            }
            ChunkPath::State { height, prefix } => {
                let part: Part = codec::decode(bytes)?;
                if part.hash(&prefix) != Some(self.hash) {
                    return Err(ChunkInvalid::OtherContent);
                }
                Ok(match part {
                    Part::Leaves(leaves) => Checked::piece(Piece::Leaves(leaves), None),
                    Part::Halves(left, right) => {
                        let halves = prefix.halves().into_iter().flatten().zip([left, right]);
                        let full = halves.filter(|(_, hash)| *hash != Digest::ZERO);
                        let half = |(prefix, hash)| Self { path: ChunkPath::State { height, prefix }, hash };
                        let more = full.map(half).collect();
                        Checked { piece: None, is_below_carrier: false, headers: Vec::new(), more }
                    }
                })
            }
            ChunkPath::HandOvers { .. } => Err(ChunkInvalid::OtherContent),
        }
    }
}

/// The headers up to `last`, as many as are asked for at once.
fn headers(last: u64, hash: Digest) -> Wanted {
    let path = ChunkPath::Headers { first: group(last, HEADERS_MAX), last: BlockHeight::new(last) };
    Wanted { path, hash }
}

/// Where the group of `each` heights begins in which `height` is. So groups are the same whatever the last height is.
fn group(height: u64, each: u64) -> BlockHeight {
    BlockHeight::new(height.saturating_sub(1) / each * each + 1)
}

/// What these headers lead to: headers below, the bodies of their blocks, the state.
fn below(extent: &Extent, known: &[Header]) -> Vec<Wanted> {
    let lowest = known.first().filter(|header| header.height.get() > 1);
    let mut more: Vec<Wanted> =
        lowest.map(|header| headers(header.height.get() - 1, header.parent)).into_iter().collect();
    for header in known {
        if header.height == extent.state_at() {
            let path = ChunkPath::State { height: header.height, prefix: Prefix::ROOT };
            more.push(Wanted { path, hash: header.state_root });
        }
        if header.height == extent.tip().height || header.height.get() % BLOCKS_MAX == 0 {
            let path = ChunkPath::Blocks { first: group(header.height.get(), BLOCKS_MAX), last: header.height };
            more.push(Wanted { path, hash: header.digest() });
        }
    }
    more
}

/// Whether headers lead down from the one at `last` that has the digest `hash`.
fn check_chain<'a>(
    headers: impl DoubleEndedIterator<Item = &'a Header>,
    last: BlockHeight,
    hash: Digest,
) -> Result<(), ChunkInvalid> {
    let (mut height, mut hash) = (last.get(), hash);
    for header in headers.rev() {
        if header.height.get() != height || height == 0 || header.digest() != hash {
            return Err(ChunkInvalid::OtherContent);
        }
        (height, hash) = (height - 1, header.parent);
    }
    Ok(())
}

/// Whether `before` is the log before the block `lowest`. A header names the log after its block only, so without the
/// one below, whoever sends the block could say which entries are the first of it.
fn begins(below: Option<&Header>, before: &LogTree, lowest: &Header) -> bool {
    let holds = match below {
        None => lowest.height.get() == 1 && before.size() == 0,
        Some(below) => {
            below.height.next() == Some(lowest.height)
                && below.digest() == lowest.parent
                && (below.log_size, below.log_root) == (before.size(), before.root())
        }
    };
    holds && before.is_whole()
}

/// Whether all that stands around the headers of blocks, which hang together, is theirs. `log` is the one before them.
fn check_bodies(sets: &ValidatorSets, mut log: LogTree, blocks: &[FinalBlock]) -> Result<(), ChunkInvalid> {
    for next in blocks {
        let (block, header) = (&next.block, &next.block.header);
        let wrong = |reason| ChunkInvalid::Block { height: header.height, reason };
        if log.size().checked_add(block.entries.len() as u64) != Some(header.log_size) {
            return Err(wrong(BodyInvalid::Entries));
        }
        block.entries.iter().for_each(|entry| log.append(entry.leaf_hash()));
        if log.root() != header.log_root {
            return Err(wrong(BodyInvalid::Entries));
        }
        let stands = |certificate| {
            closed_by(certificate, &block.carriers).map(|(height, digest)| (height.next(), digest))
                == Some((Some(header.height), header.parent))
        };
        let parent = block.parent_certificate.as_ref();
        let is_named = header.parent_certificate == certificate_digest(parent)
            && header.skipped == skipped_digest(block.skipped.as_ref());
        if !is_named || !parent.map_or(block.carriers.is_empty(), stands) {
            return Err(wrong(BodyInvalid::Parent));
        }
        let uncertified = |error| wrong(BodyInvalid::Quorum(Reason::Certificate(error)));
        if header.view.is_re_genesis() {
            // That the certificate is of the one that was taken is checked with its signatures.
            let is_it = next.carriers.is_empty() && next.certificate.block == header.digest();
            if !is_it || block.proposal != NOBODYS_PROPOSAL {
                return Err(wrong(BodyInvalid::Proposal));
            }
            sets.verify_final(header.epoch, &next.certificate).map_err(uncertified)?;
            continue;
        }
        let voters = sets.of(header.view.epoch()).map_err(uncertified)?;
        if !voters.key(header.leader).is_some_and(|key| header.is_proposed_by(&key, &block.proposal)) {
            return Err(wrong(BodyInvalid::Proposal));
        }
        check_certificate(next, voters, &sets.name_of(header.view.epoch()), &Direct)
            .map_err(|reason| wrong(BodyInvalid::Quorum(reason)))?;
    }
    Ok(())
}

/// Why what came is not what was wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkInvalid {
    /// No chunk is so large.
    #[error("it has {count} bytes, more than {CHUNK_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        count: usize,
    },
    /// It is no chunk of this kind.
    #[error("it cannot be read: {0}")]
    Undecodable(#[from] DecodeError),
    /// It does not hash to what a quorum signed.
    #[error("it is not what the hash says that leads to it")]
    OtherContent,
    /// Something that stands around a block's header is not the block's.
    #[error("height {height}: {reason}")]
    Block {
        /// Which block.
        height: BlockHeight,
        /// What is wrong with it.
        #[source]
        reason: BodyInvalid,
    },
}

/// What is not a block's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyInvalid {
    /// The entries do not give the log's root.
    #[error("the entries do not give the log root that the header names")]
    Entries,
    /// What the block carries for its parent and the views between is not what the header names.
    #[error("what it carries for its parent is not what the header names")]
    Parent,
    /// The leader did not sign it, or it is a re-genesis and somebody did.
    #[error("the leader's signature does not verify")]
    Proposal,
    /// The certificate beside it does not make it final.
    #[error("{0}")]
    Quorum(#[source] Reason),
}
