//! Rounds: the thing that is measured and its limit, in turns, so that what else the machine does meets both.

use std::time::{Duration, Instant};

use crate::bench::{BenchFault, ROUNDS};

/// Rates of a thing and of its limit, each the middle one of all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// What is measured.
    pub measured: f64,
    /// What it is measured against.
    pub limit: f64,
}

impl Rates {
    /// In turns: each closure does `amount` once and says how long it took.
    pub fn measure(
        amount: f64,
        mut measured: impl FnMut() -> Result<Duration, BenchFault>,
        mut limit: impl FnMut() -> Result<Duration, BenchFault>,
    ) -> Result<Self, BenchFault> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(amount / measured()?.as_secs_f64());
            theirs.push(amount / limit()?.as_secs_f64());
        }
        Ok(Self { measured: median(&mut ours), limit: median(&mut theirs) })
    }

    /// The share of the limit that is reached.
    pub fn ratio(&self) -> f64 {
        self.measured / self.limit
    }
}

/// How long `work` takes.
pub fn timed(work: impl FnOnce() -> Result<(), BenchFault>) -> Result<Duration, BenchFault> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which `share` of them lie; 0 if there are none.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}
