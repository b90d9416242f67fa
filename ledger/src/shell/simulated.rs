//! Whether this thread is a simulation: then disk work and voting run on the simulation's one thread, and how long the
//! disk takes comes from the seed.

use std::{cell::Cell, time::Duration};

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on replicas of this thread run as a simulation with this seed.
pub fn begin(seed: u64) {
    STATE.set(Some(seed));
}

/// Whether this thread simulates.
pub fn is_on() -> bool {
    STATE.get().is_some()
}

/// The next number of the seed's sequence (SplitMix64). Zero where nothing is simulated.
pub fn random() -> u64 {
    let Some(state) = STATE.get() else { return 0 };
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// How long a write takes: mostly a millisecond or less, now and then much longer.
pub(crate) fn disk_latency() -> Duration {
    let random = random();
    let micros = match random % 64 {
        0 => (random >> 8) % 40_000,
        _ => (random >> 8) % 1_200,
    };
    Duration::from_micros(micros)
}
