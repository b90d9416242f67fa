//! Which bits of a file a test flips: one in sixteen, drawn by a seed of the day; all of them with `BATCHMIND_ALL_BITS=1`.

use std::{
    env, fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use wallet::digest::sha256;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    all: bool,
    seed: u64,
}

impl Drawn {
    /// Those of today, or of `BATCHMIND_SEED`.
    pub fn today() -> Self {
        let today = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400);
        let seed = env::var("BATCHMIND_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(today);
        Self { all: env::var_os("BATCHMIND_ALL_BITS").is_some(), seed }
    }

    /// Whether a bit of a file is among them.
    pub fn has(&self, file: &str, bit: usize) -> bool {
        let hash = || sha256("flipped bits", &[&self.seed.to_le_bytes(), file.as_bytes(), &bit.to_le_bytes()]);
        self.all || hash().0[0] < 16
    }
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {0}, which BATCHMIND_SEED={0} repeats", self.seed)
    }
}

/// The file with that bit flipped, counted from the lowest of its first byte.
pub fn flipped(mut bytes: Vec<u8>, bit: Option<usize>) -> Vec<u8> {
    if let Some(bit) = bit {
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    bytes
}
