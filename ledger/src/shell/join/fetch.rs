//! Asking several nodes at once until everything came.

use std::{collections::BTreeMap, panic::resume_unwind, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use wallet::units::BlockHeight;

use super::{
    Dropped, Forked, JoinFault, Joining,
    asking::apart,
    giver::{Giver, GiverFault, dropped},
    kept::Kept,
};
use crate::{
    block::Header,
    shell::fault::Fault,
    snapshot::{Checked, ChunkInvalid, ChunkPath, Extent, Verified, Wanted},
};

/// Chunks that are asked of one node at a time: while it sends one, the next is on its way.
const IN_FLIGHT_MAX: usize = 2;
/// A node that fails so often in a row is not asked again, nor one for a chunk that it so often had not.
const TRIES_MAX: u32 = 5;
/// How long a node is left alone after it failed; after each further time for twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// How it ended.
pub(super) enum Fetched {
    /// Everything came.
    All(Box<Joining>),
    /// What came cannot be taken.
    Refused(JoinFault),
    /// No node is left that sends the state.
    NoState,
    /// No node is left that sends something else.
    NotAll,
}

/// What came, and from whom.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) bytes: u64,
    /// The addresses of those who sent it.
    pub(super) givers: Vec<String>,
    pub(super) dropped: Vec<Dropped>,
}

/// The nodes that are asked.
pub(super) struct Fetching {
    peers: Vec<Peer>,
    kept: Kept,
    came: Came,
    flights: JoinSet<Result<Flight, Fault>>,
}

struct Peer {
    giver: Arc<dyn Giver>,
    /// Up to there it proved that it has blocks.
    tip: Header,
    /// Whether that is known to be a block of the chain that is fetched.
    is_of_chain: bool,
    has_state: bool,
    in_flight: usize,
    failures: u32,
    /// It failed, and is left alone until then.
    rests_until: Option<Instant>,
    /// What it did not have: how often it said so, and when it is asked again.
    lacks: BTreeMap<ChunkPath, (u32, Instant)>,
    has_given: bool,
    is_asked: bool,
}

impl Peer {
    fn may_be_asked(&self, now: Instant) -> bool {
        self.is_asked && self.in_flight < IN_FLIGHT_MAX && self.rests_until.is_none_or(|until| until <= now)
    }

    fn has(&self, path: ChunkPath, now: Instant) -> bool {
        let is_state = matches!(path, ChunkPath::State { .. });
        let lacks = self.lacks.get(&path).is_some_and(|(times, until)| *times >= TRIES_MAX || *until > now);
        (self.has_state || !is_state) && !lacks
    }

    /// Whether it said that it does not have what it never said that it has, or not for long; then it did not fail.
    fn lacks(&mut self, path: ChunkPath, now: Instant) -> bool {
        match path {
            ChunkPath::State { .. } => self.has_state = false,
            ChunkPath::Headers { last, .. } | ChunkPath::Blocks { last, .. } if last > self.tip.height => {
                let (times, until) = self.lacks.entry(path).or_insert((0, now));
                *times += 1;
                *until = now + pause(*times);
            }
            _ => return false,
        }
        true
    }

    /// It failed. Whether it is given up.
    fn fails(&mut self, now: Instant) -> bool {
        // What it was asked for at the same time fails at the same time.
        if self.rests_until.is_none_or(|until| until <= now) {
            self.failures += 1;
            self.rests_until = Some(now + pause(self.failures));
        }
        self.failures >= TRIES_MAX
    }

    /// When it may be asked for something that it may not be asked for now.
    fn wakes(&self, now: Instant) -> Option<Instant> {
        let lacking = self.lacks.values().filter(|(times, _)| *times < TRIES_MAX).map(|(_, until)| *until);
        let next = self.rests_until.into_iter().chain(lacking).filter(|until| *until > now).min();
        next.filter(|_| self.is_asked)
    }
}

/// How long to wait after so many failures, from 1 on.
fn pause(times: u32) -> Duration {
    PAUSE * 2_u32.saturating_pow(times.clamp(1, TRIES_MAX) - 1)
}

/// One chunk that was asked for.
struct Flight {
    peer: usize,
    wanted: Wanted,
    landed: Landed,
}

enum Landed {
    /// It is right; so many bytes of it came from the node.
    Right(Checked, u64),
    /// The node sent another.
    Wrong(ChunkInvalid),
    /// The node says that it has none.
    NotHere,
    /// The node did not answer.
    Failed(GiverFault),
}

impl Fetching {
    /// Asks these nodes, which made those offers, for the chain up to `tip`, which is one of theirs. Some say that they have
    /// the state of height `state_at`.
    pub(super) fn new<'a>(
        givers: impl Iterator<Item = (Arc<dyn Giver>, &'a Verified)>,
        tip: &Header,
        state_at: BlockHeight,
        kept: Kept,
    ) -> Self {
        let peer = |(giver, verified): (Arc<dyn Giver>, &Verified)| Peer {
            giver,
            tip: verified.offer().tip.clone(),
            is_of_chain: verified.offer().tip == *tip,
            has_state: verified.has_state(state_at),
            in_flight: 0,
            failures: 0,
            rests_until: None,
            lacks: BTreeMap::new(),
            has_given: false,
            is_asked: true,
        };
        Self { peers: givers.map(peer).collect(), kept, came: Came::default(), flights: JoinSet::new() }
    }

    /// Fetches everything that `joining` needs. `told` is told how many bytes came.
    pub(super) async fn all(
        mut self,
        mut joining: Joining,
        mut told: impl FnMut(u64),
    ) -> Result<(Fetched, Came), Fault> {
        let extent = joining.plan().extent().clone();
        let is_complete = loop {
            if joining.plan().is_complete() {
                break true;
            }
            // What goes away is not waited for: there may be another state.
            if joining.plan().wants_state() && !self.peers.iter().any(|peer| peer.is_asked && peer.has_state) {
                break false;
            }
            self.ask(&mut joining, &extent);
            let now = Instant::now();
            let wakes = self.peers.iter().filter_map(|peer| peer.wakes(now)).min();
            let flight = tokio::select! {
                Some(flight) = self.flights.join_next() => flight,
                () = sleep_until(wakes.unwrap_or(now)), if wakes.is_some() => continue,
                else => break false,
            };
            let Flight { peer, wanted, landed } = match flight {
                Ok(flight) => flight?,
                Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
                Err(_) => return Err(Fault::Stopped),
            };
            match self.judge(peer, &wanted, landed) {
                Some(checked) => {
                    told(self.came.bytes);
                    if let Some(fork) = self.fork(&checked.headers) {
                        joining.give_up();
                        return Ok((Fetched::Refused(fork), self.came));
                    }
                    let (back, taken) = apart(move || {
                        let taken = joining.take(checked);
                        (joining, taken)
                    })
                    .await?;
                    joining = back;
                    if let Err(fault) = taken {
                        joining.give_up();
                        return Ok((Fetched::Refused(fault), self.came));
                    }
                }
                None => joining.plan().give_back(wanted),
            }
        };
        let Self { peers, mut came, .. } = self;
        came.givers = peers.iter().filter(|peer| peer.has_given).map(|peer| peer.giver.url().to_owned()).collect();
        if is_complete {
            return Ok((Fetched::All(Box::new(joining)), came));
        }
        let fetched = if joining.plan().wants_state() { Fetched::NoState } else { Fetched::NotAll };
        joining.give_up();
        Ok((fetched, came))
    }

    /// Asks for as much as the nodes may be asked for at a time, each time the one with the least to do.
    fn ask(&mut self, joining: &mut Joining, extent: &Arc<Extent>) {
        let now = Instant::now();
        loop {
            let mut peers: Vec<_> = self.peers.iter_mut().enumerate().collect();
            peers.retain(|(_, peer)| peer.may_be_asked(now));
            peers.sort_by_key(|(_, peer)| peer.in_flight);
            let next = peers.into_iter().find_map(|(index, peer)| {
                joining.plan().ask(|path| peer.has(path, now)).map(|wanted| (index, peer, wanted))
            });
            let Some((index, peer, wanted)) = next else { return };
            peer.in_flight += 1;
            let (giver, kept) = (peer.giver.clone(), self.kept.clone());
            self.flights.spawn(fly(index, giver, kept, extent.clone(), wanted));
        }
    }

    /// What a node is worth after what it did; the chunk if it is right.
    fn judge(&mut self, peer: usize, wanted: &Wanted, landed: Landed) -> Option<Checked> {
        let peer = self.peers.get_mut(peer)?;
        peer.in_flight -= 1;
        let (now, path) = (Instant::now(), wanted.path());
        let fault = match landed {
            Landed::Right(checked, bytes) => {
                if bytes > 0 {
                    (peer.failures, peer.rests_until, peer.has_given) = (0, None, true);
                }
                self.came.bytes += bytes;
                return Some(checked);
            }
            // It may have a block above what it proved, of another chain that a quorum signed: that is no lie of it, and the
            // headers will show it.
            Landed::Wrong(_) if !peer.is_of_chain && peer.lacks(path, now) => None,
            Landed::Wrong(invalid) => Some((true, format!("{path}: {invalid}"))),
            Landed::NotHere if peer.lacks(path, now) => None,
            Landed::NotHere => peer.fails(now).then(|| (false, format!("{path}: it says that it has none"))),
            Landed::Failed(fault) => peer.fails(now).then(|| (false, format!("{path}: {fault}"))),
        };
        if let Some((lied, reason)) = fault
            && std::mem::take(&mut peer.is_asked)
        {
            self.came.dropped.push(dropped(&peer.giver, lied, reason));
        }
        None
    }

    /// Notes which nodes are of one chain with these headers of it, or what a node proved that cannot be.
    fn fork(&mut self, headers: &[Header]) -> Option<JoinFault> {
        let on_chain = self.peers.iter().find(|peer| peer.is_of_chain)?.giver.url().to_owned();
        for peer in &mut self.peers {
            let Some(header) = headers.iter().find(|header| header.height == peer.tip.height) else { continue };
            if header.contradicts(&peer.tip) {
                let forked =
                    |url: &str, header: &Header| Box::new(Forked { url: url.to_owned(), header: header.clone() });
                return Some(JoinFault::Fork(forked(&on_chain, header), forked(peer.giver.url(), &peer.tip)));
            }
            peer.is_of_chain |= *header == peer.tip;
        }
        None
    }
}

/// Takes one chunk from where an earlier try kept it, or from a node.
async fn fly(
    peer: usize,
    giver: Arc<dyn Giver>,
    kept: Kept,
    extent: Arc<Extent>,
    wanted: Wanted,
) -> Result<Flight, Fault> {
    let landed = land(&*giver, kept, extent, wanted.clone()).await?;
    Ok(Flight { peer, wanted, landed })
}

async fn land(giver: &dyn Giver, kept: Kept, extent: Arc<Extent>, wanted: Wanted) -> Result<Landed, Fault> {
    let path = wanted.path();
    let known = apart({
        let (kept, extent, wanted) = (kept.clone(), extent.clone(), wanted.clone());
        move || kept.read(&wanted).and_then(|bytes| wanted.check(&extent, &bytes).ok())
    });
    if let Some(checked) = known.await? {
        return Ok(Landed::Right(checked, 0));
    }
    let bytes = match giver.chunk(path).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Landed::NotHere),
        Err(fault) => return Ok(Landed::Failed(fault)),
    };
    apart(move || match wanted.check(&extent, &bytes) {
        Ok(checked) => {
            kept.write(&wanted, &bytes);
            Landed::Right(checked, bytes.len() as u64)
        }
        Err(invalid) => Landed::Wrong(invalid),
    })
    .await
}
