//! The places of tiles under a log's prefix, and entry bundles: C2SP's tlog-tiles.

use std::{fmt, ops::Range, str::FromStr};

use super::{Malformed, number};
use crate::tree::tiles::{TILE_WIDTH, width_of_level};

/// Levels have numbers up to this.
const LEVEL_MAX: u8 = 63;
/// A path is shorter: a level, 7 elements of an index below 2^64, a width.
const PATH_BYTES_MAX: usize = 64;

/// Which tile: what follows `tile/` in its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TilePath {
    /// What is in it.
    pub kind: TileKind,
    /// The how manieth of its kind.
    pub index: u64,
    /// How many hashes or entries it has, from its beginning: 1 to 256.
    pub width: u16,
}

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TileKind {
    /// Hashes of this level.
    Hashes(u8),
    /// The entries whose hashes are in the tile of level 0 with the same index.
    Entries,
}

impl TilePath {
    /// The places of its hashes within their level, or of its entries in the log; none if there can be no such places.
    pub fn range(&self) -> Option<Range<u64>> {
        let start = self.index.checked_mul(TILE_WIDTH)?;
        Some(start..start.checked_add(u64::from(self.width))?)
    }

    /// The same, if a log of `size` entries has all of them.
    pub fn range_within(&self, size: u64) -> Option<Range<u64>> {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        self.range().filter(|range| range.end <= width_of_level(level, size))
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "{level}/")?,
            TileKind::Entries => f.write_str("entries/")?,
        }
        let mut elements = vec![format!("{:03}", self.index % 1_000)];
        let mut rest = self.index / 1_000;
        while rest > 0 {
            elements.push(format!("x{:03}", rest % 1_000));
            rest /= 1_000;
        }
        elements.reverse();
        f.write_str(&elements.join("/"))?;
        if u64::from(self.width) < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

impl FromStr for TilePath {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed =
            Malformed { what: "path of a tile", reason: "it is not L/N or entries/N, with or without .p/W" };
        // It is read leniently and written again: only one spelling is left.
        read(text).filter(|path| path.to_string() == text).ok_or(malformed)
    }
}

fn read(text: &str) -> Option<TilePath> {
    let (kind, rest) = text.split_once('/').filter(|_| text.len() <= PATH_BYTES_MAX)?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(number(level)?.try_into().ok().filter(|level| *level <= LEVEL_MAX)?),
    };
    let (elements, width) = match rest.split_once(".p/") {
        Some((elements, width)) => {
            (elements, u16::try_from(number(width)?).ok().filter(|width| (1..256).contains(width))?)
        }
        None => (rest, 256),
    };
    let mut index = 0_u64;
    for element in elements.split('/') {
        let digits = element.strip_prefix('x').unwrap_or(element);
        let digits: u64 = digits.parse().ok().filter(|_| digits.len() == 3)?;
        index = index.checked_mul(1_000)?.checked_add(digits)?;
    }
    Some(TilePath { kind, index, width })
}

/// Entries one after the other, each with its length as a big-endian `u16` before it.
pub fn entry_bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("an entry of the log has at most 65,535 bytes");
        bundle.extend(length.to_be_bytes());
        bundle.extend(entry);
    }
    bundle
}
