//! What a chunk is called.

use std::{fmt, str::FromStr};

use wallet::units::BlockHeight;

use super::{BLOCKS_MAX, HEADERS_MAX};
use crate::tree::parts::Prefix;

/// A path is shorter: two numbers below 2^64, or a height and 256 digits.
const PATH_BYTES_MAX: usize = 300;

/// Which chunk: what follows `snapshot/` in its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkPath {
    /// How epochs ended, from this one on.
    HandOvers {
        /// The first epoch.
        from: u64,
    },
    /// The headers of these heights.
    Headers {
        /// The lowest height, 1 or more.
        first: BlockHeight,
        /// The highest.
        last: BlockHeight,
    },
    /// The last ones of these blocks.
    Blocks {
        /// The lowest height, 1 or more.
        first: BlockHeight,
        /// The highest.
        last: BlockHeight,
    },
    /// A part of the state after a block.
    State {
        /// The block's height.
        height: BlockHeight,
        /// Which part.
        prefix: Prefix,
    },
}

impl fmt::Display for ChunkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HandOvers { from } => write!(f, "hand-overs/{from}"),
            Self::Headers { first, last } => write!(f, "headers/{first}-{last}"),
            Self::Blocks { first, last } => write!(f, "blocks/{first}-{last}"),
            Self::State { height, prefix } => write!(f, "state/{height}/{prefix}"),
        }
    }
}

impl FromStr for ChunkPath {
    type Err = NotAPath;

    fn from_str(text: &str) -> Result<Self, NotAPath> {
        // It is read leniently and written again: only one spelling is left.
        read(text).filter(|path| path.to_string() == text).ok_or(NotAPath)
    }
}

fn read(text: &str) -> Option<ChunkPath> {
    let (kind, rest) = text.split_once('/').filter(|_| text.len() <= PATH_BYTES_MAX)?;
    let heights = |max| {
        let (first, last) = rest.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let is_range = first > 0 && last.checked_sub(first)? < max;
        is_range.then_some((BlockHeight::new(first), BlockHeight::new(last)))
    };
    Some(match kind {
        "hand-overs" => ChunkPath::HandOvers { from: rest.parse().ok()? },
        "headers" => heights(HEADERS_MAX).map(|(first, last)| ChunkPath::Headers { first, last })?,
        "blocks" => heights(BLOCKS_MAX).map(|(first, last)| ChunkPath::Blocks { first, last })?,
        "state" => {
            let (height, prefix) = rest.split_once('/')?;
            ChunkPath::State { height: BlockHeight::new(height.parse().ok()?), prefix: prefix.parse().ok()? }
        }
        _ => return None,
    })
}

/// A text that is the path of no chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not hand-overs/E, headers/H-H, blocks/H-H or state/H/PREFIX")]
pub struct NotAPath;
