//! How many connections the public listener keeps, in all and of each address.
//!
//! A connection is a file descriptor, and the ledger needs some, too. A request has a share by its key (`rate`); who
//! only connects shows no key.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Resource, getrlimit};

/// Connections at a time, however many the system allows, and at least.
const PLACES_MAX: usize = 4_096;
const PLACES_MIN: usize = 64;

/// The connections that there may be. Clones share them.
#[derive(Clone)]
pub(super) struct Places(Arc<Shared>);

struct Shared {
    max: usize,
    taken: Mutex<BTreeMap<IpAddr, usize>>,
}

/// The right to one connection. It ends with this.
pub(super) struct Place {
    shared: Arc<Shared>,
    of: IpAddr,
}

impl Places {
    /// Half of the files that the process may open: the rest is the ledger's and the sessions'.
    pub(super) fn of_process() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::new(usize::try_from(files / 2).unwrap_or(usize::MAX).clamp(PLACES_MIN, PLACES_MAX))
    }

    /// `max` in all. One address may have half of them: behind it may be many clients, but not all.
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Shared { max, taken: Mutex::default() }))
    }

    /// A place for a connection from `from`; none if there is none left, for it or for anybody.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let of = network(from);
        let mut taken = lock(&self.0.taken);
        // Each address has one place at least, so there are no more addresses than places.
        let all: usize = taken.values().sum();
        let own = taken.get(&of).copied().unwrap_or_default();
        if all >= self.0.max || own >= (self.0.max / 2).max(1) {
            return None;
        }
        taken.insert(of, own + 1);
        drop(taken);
        Some(Place { shared: self.0.clone(), of })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.shared.taken);
        match taken.get_mut(&self.of) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.of)),
        }
    }
}

/// What one client has: an address, or the 64 bits below a network of IPv6, of which it has all if it has one.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

/// A panic elsewhere leaves the counts whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(places: &Places, from: &str) -> Vec<Place> {
        let from = from.parse().expect("an address");
        (0..100).map_while(|_| places.take(from)).collect()
    }

    #[test]
    fn one_address_leaves_half_of_the_places_to_others() {
        let places = Places::new(10);
        let greedy = taken(&places, "2001:db8::1");
        assert_eq!((greedy.len(), taken(&places, "2001:db8::ffff:2").len()), (5, 0), "one network is one client");
        assert_eq!(taken(&places, "203.0.113.7").len(), 5);
    }

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let places = Places::new(10);
        let (mut one, other) = (taken(&places, "203.0.113.7"), taken(&places, "203.0.113.8"));
        assert_eq!((one.len(), other.len(), taken(&places, "203.0.113.9").len()), (5, 5, 0));
        one.pop();
        assert_eq!(taken(&places, "203.0.113.9").len(), 1);
        drop((one, other));
        assert!(lock(&places.0.taken).is_empty(), "nobody who left is kept");
    }
}
