//! Fractions in parts per million.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A fraction in parts per million. Ledgered and hashed fractions are never floats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ppm(u32);

impl Ppm {
    /// The whole.
    pub const ONE: Self = Self(1_000_000);

    /// The fraction from its bare number of millionths; may exceed the whole.
    pub const fn new(millionths: u32) -> Self {
        Self(millionths)
    }

    /// The bare number of millionths.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// How much of `whole` the `part` is, rounded down. Of nothing, everything is taken: a pool of size 0 is full.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::ONE;
        }
        let millionths = u128::from(part) * u128::from(Self::ONE.0) / u128::from(whole);
        Self(u32::try_from(millionths).unwrap_or(u32::MAX))
    }

    /// This fraction of `whole`, rounded up.
    pub fn times(self, whole: u64) -> u64 {
        let product = (u128::from(self.0) * u128::from(whole)).div_ceil(u128::from(Self::ONE.0));
        u64::try_from(product).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Ppm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04} %", self.0 / 10_000, self.0 % 10_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_of_size_zero_is_full() {
        assert_eq!(Ppm::of(0, 0), Ppm::ONE);
    }

    #[test]
    fn a_share_rounds_down_and_a_need_rounds_up() {
        assert_eq!(Ppm::of(1, 3), Ppm::new(333_333));
        assert_eq!(Ppm::new(100_000).times(11), 2);
        assert_eq!(Ppm::new(u32::MAX).times(u64::MAX), u64::MAX);
        assert_eq!(Ppm::of(19, 20).to_string(), "95.0000 %");
    }
}
