//! What this node measured about the way to each peer: round trip and transfer rate, from real requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use wallet::units::{Micros, NodeId};

/// Measurements that count.
const KEPT: usize = 8;

/// A transfer below this says more about the round trip than about the rate.
const TRANSFER_BYTES_MIN: usize = 64 << 10;

/// The ways to all peers. Clones share the measurements.
#[derive(Clone, Debug, Default)]
pub struct Links(Arc<Mutex<BTreeMap<NodeId, Link>>>);

#[derive(Debug, Default)]
struct Link {
    round_trips: Recent,
    rates: Recent,
}

/// The last few values, oldest first.
#[derive(Debug, Default)]
struct Recent(Vec<u64>);

impl Links {
    /// A small request to `peer` was answered after `elapsed`.
    pub fn note_round_trip(&self, peer: NodeId, elapsed: Duration) {
        self.lock().entry(peer).or_default().round_trips.add(micros(elapsed));
    }

    /// `bytes` came from or went to `peer` in `elapsed`.
    pub fn note_transfer(&self, peer: NodeId, bytes: usize, elapsed: Duration) {
        if bytes >= TRANSFER_BYTES_MIN {
            let rate = (bytes as u128 * 1_000_000) / u128::from(micros(elapsed).max(1));
            self.lock().entry(peer).or_default().rates.add(u64::try_from(rate).unwrap_or(u64::MAX));
        }
    }

    /// The median of the last round trips; zero before the first.
    pub fn round_trip(&self, peer: NodeId) -> Micros {
        Micros::new(self.lock().get(&peer).and_then(|link| link.round_trips.median()).unwrap_or(0))
    }

    /// The median of the last transfer rates in bytes a second; none before the first transfer.
    pub fn bytes_per_s(&self, peer: NodeId) -> Option<u64> {
        self.lock().get(&peer).and_then(|link| link.rates.median())
    }

    /// Nothing that panics runs under the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn add(&mut self, value: u64) {
        if self.0.len() == KEPT {
            self.0.remove(0);
        }
        self.0.push(value);
    }

    fn median(&self) -> Option<u64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: NodeId = NodeId::new(1);

    #[test]
    fn one_slow_request_does_not_change_the_round_trip_and_many_do() {
        let links = Links::default();
        assert_eq!(links.round_trip(PEER), Micros::ZERO);
        (0..8).for_each(|_| links.note_round_trip(PEER, Duration::from_micros(300)));
        links.note_round_trip(PEER, Duration::from_secs(1));
        assert_eq!(links.round_trip(PEER), Micros::new(300));
        (0..8).for_each(|_| links.note_round_trip(PEER, Duration::from_micros(900)));
        assert_eq!(links.round_trip(PEER), Micros::new(900));
    }

    #[test]
    fn a_rate_comes_from_large_transfers_alone() {
        let links = Links::default();
        links.note_transfer(PEER, 100, Duration::from_millis(1));
        assert_eq!(links.bytes_per_s(PEER), None);
        links.note_transfer(PEER, 1 << 20, Duration::from_secs(2));
        assert_eq!(links.bytes_per_s(PEER), Some(1 << 19));
    }
}
