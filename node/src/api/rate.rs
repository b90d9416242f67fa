//! How many requests one client may make.
//!
//! Who shows a key that opens something, or signs with one, has the key's own share, wherever it asks from. Everybody else
//! has that of its address; so has who guesses keys. A share is a leaky bucket (GCRA).

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{
    NotUntil, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use wallet::digest::Digest;

use super::{Api, places::network, problem::Problem, refusal::Refusal};
use crate::config::{Limits, Rate};

/// It costs nothing.
const FREE: &str = "/healthz";

/// What watches over the node asks for. It has a share of its own: refused for other requests of its address, a node
/// that is well would look like one that is not.
const WATCHED: [&str; 2] = ["/metrics", "/readyz"];

/// The share of each address that watches. Each of these requests asks the engine, too.
const WATCH: Rate = Rate { per_s: 20, burst: 100 };

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Who has this key, or that of this hash, which opens something here.
    Key(Digest),
    /// Whoever asks from there.
    Address(IpAddr),
    /// Whoever watches over the node from there.
    Watch(IpAddr),
}

/// The share of each client. Clones share them.
#[derive(Clone)]
pub(super) struct Shares<C: Clock = DefaultClock>(Arc<Kept<C>>);

struct Kept<C: Clock> {
    clock: C,
    keys: Keyed<Digest, C>,
    addresses: Keyed<Slot, C>,
    watches: Keyed<Slot, C>,
    slots: RandomState,
}

type Keyed<K, C> = RateLimiter<K, HashMapStateStore<K>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Addresses share 65536 places, so that however many there are fit in the memory. Which share one nobody can foretell.
type Slot = u16;

impl Shares {
    /// Shares of this size, all of them whole.
    pub(super) fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Shares<C> {
    fn with_clock(limits: &Limits, clock: C) -> Self {
        let at_least_one = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let quota = |Rate { per_s, burst }| Quota::per_second(at_least_one(per_s)).allow_burst(at_least_one(burst));
        Self(Arc::new(Kept {
            keys: RateLimiter::hashmap_with_clock(quota(limits.key), clock.clone()),
            addresses: RateLimiter::hashmap_with_clock(quota(limits.address), clock.clone()),
            watches: RateLimiter::hashmap_with_clock(quota(WATCH), clock.clone()),
            slots: RandomState::new(),
            clock,
        }))
    }

    /// Takes a request out of the share of `asker`; or how long it has to wait.
    pub(super) fn take(&self, asker: Asker) -> Result<(), Duration> {
        let Kept { clock, keys, addresses, watches, .. } = &*self.0;
        let wait = |until: NotUntil<C::Instant>| until.wait_time_from(clock.now());
        match asker {
            Asker::Key(hash) => keys.check_key(&hash).map_err(wait),
            Asker::Address(address) => addresses.check_key(&self.slot(address)).map_err(wait),
            Asker::Watch(address) => watches.check_key(&self.slot(address)).map_err(wait),
        }
    }

    fn slot(&self, address: IpAddr) -> Slot {
        self.0.slots.hash_one(network(address)) as Slot
    }
}

/// Refuses who asks for more than its share.
pub(super) async fn limit(
    State(api): State<Api>,
    ConnectInfo(Address(address)): ConnectInfo<Address>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let asker = match path {
        Some(FREE) => return next.run(request).await,
        Some(path) if WATCHED.contains(&path) => Asker::Watch(address),
        _ => api.keys.known(request.headers(), request.uri()).map_or(Asker::Address(address), Asker::Key),
    };
    let Err(wait) = api.shares.take(asker) else { return next.run(request).await };
    let whom = match asker {
        Asker::Key(_) => "key",
        Asker::Address(_) | Asker::Watch(_) => "address",
    };
    api.metrics.request_refused(whom);
    // A second at least: to who waits less the clocks' grain may say no again.
    let wait_s = wait.as_secs() + 1;
    let refusal = Problem::from(Refusal::TooManyRequests { whom, wait_s });
    ([(header::RETRY_AFTER, HeaderValue::from(wait_s))], refusal).into_response()
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address(IpAddr);

impl Address {
    /// Of a client at this address.
    pub(super) fn of(address: &SocketAddr) -> Self {
        Self(address.ip())
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn shares() -> (Shares<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let rate = |per_s, burst| Rate { per_s, burst };
        let limits = Limits { key: rate(10, 20), address: rate(1, 3), ..Limits::default() };
        (Shares::with_clock(&limits, clock.clone()), clock)
    }

    fn answered<C: Clock + Clone>(shares: &Shares<C>, asker: Asker) -> usize {
        (0..100).filter(|_| shares.take(asker).is_ok()).count()
    }

    fn from(address: &str) -> Asker {
        Asker::Address(address.parse().expect("an address"))
    }

    #[test]
    fn a_share_is_spent_at_once_and_comes_back_with_time() {
        let (shares, clock) = shares();
        let asker = from("203.0.113.7");
        assert_eq!(answered(&shares, asker), 3);
        assert_eq!(shares.take(asker), Err(Duration::from_secs(1)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(answered(&shares, asker), 2);
        clock.advance(Duration::from_secs(1_000));
        assert_eq!(answered(&shares, asker), 3, "it never grows beyond the burst");
    }

    #[test]
    fn nobody_spends_anothers_share() {
        let (shares, _) = shares();
        let (one, other) = (Asker::Key(Digest([1; 32])), Asker::Key(Digest([2; 32])));
        assert_eq!(answered(&shares, one), 20);
        assert_eq!(answered(&shares, from("203.0.113.7")), 3);
        assert_eq!(answered(&shares, other), 20);
    }

    #[test]
    fn who_watches_has_a_share_of_its_own_and_no_more() {
        let (shares, _) = shares();
        let watch = Asker::Watch("203.0.113.7".parse().expect("an address"));
        assert_eq!(answered(&shares, from("203.0.113.7")), 3);
        for _ in 0..WATCH.burst {
            assert_eq!(shares.take(watch), Ok(()));
        }
        assert_eq!(answered(&shares, watch), 0);
    }

    #[test]
    fn all_addresses_of_a_network_that_one_client_has_are_one_asker() {
        let (shares, _) = shares();
        assert_eq!(answered(&shares, from("2001:db8::1")), 3);
        assert_eq!(answered(&shares, from("2001:db8::ffff:1:2")), 0);
        assert_eq!(answered(&shares, from("203.0.113.7")), 3);
        assert_eq!(answered(&shares, from("::ffff:203.0.113.7")), 0, "the same address in another form");
    }

    #[test]
    fn however_many_addresses_ask_no_more_than_the_places_are_kept() {
        let (shares, _) = shares();
        for address in 0..200_000_u32 {
            // Some share a place with others that asked before.
            let _ = shares.take(Asker::Address(std::net::Ipv4Addr::from_bits(address).into()));
        }
        assert!(shares.0.addresses.len() <= 1 << 16);
    }
}
