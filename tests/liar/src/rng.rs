//! The sequence of a seed (SplitMix64). Each part of a run draws from a sequence of its own, so that a change in one
//! does not change the others.

use std::ops::Range;

/// A sequence of random numbers.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed` for the part `name`.
    pub fn new(seed: u64, name: &str) -> Self {
        let name = name.bytes().fold(0_u64, |hash, byte| mix(hash ^ u64::from(byte)));
        Self(mix(seed) ^ name)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `range`, which is not empty.
    pub fn range(&mut self, range: Range<u64>) -> u64 {
        range.start + self.draw() % (range.end - range.start)
    }

    /// True in `percent` of 100 cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }

    /// One of `items`, which are not none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let at = self.draw() % items.len() as u64;
        &items[usize::try_from(at).unwrap_or(0)]
    }
}

/// SplitMix64's finalizer.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
