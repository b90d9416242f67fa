//! What an honest key has said to anybody, as a set of bits, and the rules that it must never break.

use std::collections::HashMap;

use ledger::{block::View, vote::VoteKind};

use crate::blocks::BlockId;

/// Bits of votes for blocks: two for each.
const BLOCKS_MAX: u8 = 44;
/// Then bits of nullify votes.
const NULLIFIES_AT: u8 = 2 * BLOCKS_MAX;
/// One behind the last bit.
const END: u8 = 128;

/// A set of statements, without who made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Said(pub u128);

impl Said {
    /// With one more.
    pub fn with(self, bit: u8) -> Self {
        Self(self.0 | 1 << bit)
    }

    /// Whether it is there.
    pub fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 == 1
    }

    /// Those that both hold.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that either holds.
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The votes for blocks.
    pub fn ballots(self) -> impl Iterator<Item = (VoteKind, BlockId)> {
        let kind = |bit: u8| if bit.is_multiple_of(2) { VoteKind::Notarize } else { VoteKind::Finalize };
        self.bits(0, NULLIFIES_AT).map(move |bit| (kind(bit), BlockId(bit / 2)))
    }

    /// The bits of nullify votes.
    pub fn nullifies(self) -> impl Iterator<Item = u8> {
        self.bits(NULLIFIES_AT, END)
    }

    fn bits(self, from: u8, to: u8) -> impl Iterator<Item = u8> {
        let mut rest = self.0 >> from << from;
        std::iter::from_fn(move || {
            let bit = u8::try_from(rest.trailing_zeros()).ok().filter(|bit| *bit < to)?;
            rest &= rest - 1;
            Some(bit)
        })
    }
}

/// The bit of a vote for a block.
pub fn ballot_bit(kind: VoteKind, block: BlockId) -> u8 {
    assert!(block.0 < BLOCKS_MAX, "more blocks than a set of statements can tell apart");
    2 * block.0 + u8::from(kind == VoteKind::Finalize)
}

/// Which bits stand for which nullify votes.
#[derive(Debug, Default)]
pub struct Spans {
    spans: Vec<(View, u64)>,
    bits: HashMap<(View, u64), u8>,
}

impl Spans {
    /// The bit of a vote against all views from one up to the end of a term.
    pub fn bit(&mut self, from: View, through: u64) -> u8 {
        let next = NULLIFIES_AT + u8::try_from(self.spans.len()).expect("few nullify votes");
        *self.bits.entry((from, through)).or_insert_with(|| {
            assert!(next < END, "more nullify votes than a set of statements can tell apart");
            self.spans.push((from, through));
            next
        })
    }

    /// What a bit stands for.
    pub fn span(&self, bit: u8) -> (View, u64) {
        self.spans[usize::from(bit - NULLIFIES_AT)]
    }
}
