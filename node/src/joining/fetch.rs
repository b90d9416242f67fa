//! Asking several nodes at once until everything came.

use std::{path::Path, sync::Arc};

use ledger::{
    shell::join::Joining,
    snapshot::{Checked, ChunkInvalid, ChunkPath, Extent, Wanted},
};
use tokio::task::JoinSet;

use super::{Dropped, Kept, Source, apart, reasons, refused};
use crate::cli::Failure;

/// Chunks that are asked of one node at a time: while it sends one, the next is on its way.
const IN_FLIGHT_MAX: usize = 2;
/// A node that fails so often in a row is not asked again.
const FAILURES_MAX: u32 = 3;

/// What came, and from whom.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) bytes: u64,
    pub(super) sources: usize,
    pub(super) dropped: Vec<Dropped>,
}

/// The nodes that are asked.
pub(super) struct Fetching {
    peers: Vec<Peer>,
    kept: Kept,
    came: Came,
    flights: JoinSet<Flight>,
}

struct Peer {
    source: Source,
    has_state: bool,
    in_flight: usize,
    failures: u32,
    has_given: bool,
    is_asked: bool,
}

/// One chunk that was asked for.
struct Flight {
    peer: usize,
    wanted: Wanted,
    landed: Result<Landed, Failure>,
}

enum Landed {
    /// It is right; so many bytes of it came from the node.
    Right(Checked, u64),
    /// The node sent another.
    Wrong(ChunkInvalid),
}

impl Fetching {
    /// Asks `sources`, of which some say that they have the state that is taken. Others were `dropped` before.
    pub(super) fn new(sources: impl Iterator<Item = (Source, bool)>, dropped: Vec<Dropped>, kept: Kept) -> Self {
        let peer = |(source, has_state)| Peer {
            source,
            has_state,
            in_flight: 0,
            failures: 0,
            has_given: false,
            is_asked: true,
        };
        let peers = sources.map(peer).collect();
        Self { peers, kept, came: Came { dropped, ..Came::default() }, flights: JoinSet::new() }
    }

    /// Fetches everything that `joining` needs. `told` is told how many bytes came.
    pub(super) async fn all(
        mut self,
        mut joining: Joining,
        folder: &Path,
        mut told: impl FnMut(u64),
    ) -> Result<(Joining, Came), Failure> {
        let extent = joining.plan().extent().clone();
        loop {
            self.ask(&mut joining, &extent);
            let Some(flight) = self.flights.join_next().await else { break };
            let Flight { peer, wanted, landed } =
                flight.map_err(|error| Failure::new("N-154", error, "a chunk that was asked for"))?;
            match self.judge(peer, &wanted, landed) {
                Some(checked) => {
                    told(self.came.bytes);
                    let (back, taken) = apart(move || {
                        let taken = joining.take(checked);
                        (joining, taken)
                    })
                    .await?;
                    joining = back;
                    if let Err(fault) = taken {
                        joining.give_up();
                        return Err(refused(fault.into(), folder));
                    }
                }
                None => joining.plan().give_back(wanted),
            }
        }
        self.came.sources = self.peers.iter().filter(|peer| peer.has_given).count();
        if joining.plan().is_complete() {
            return Ok((joining, self.came));
        }
        joining.give_up();
        Err(Failure::new(
            "N-114",
            "no node is left that could send the rest of the ledger",
            reasons(&self.came.dropped),
        ))
    }

    /// Asks for as much as the nodes may be asked for at a time, each time the one with the least to do.
    fn ask(&mut self, joining: &mut Joining, extent: &Arc<Extent>) {
        loop {
            let mut peers: Vec<_> = self.peers.iter_mut().enumerate().collect();
            peers.retain(|(_, peer)| peer.is_asked && peer.in_flight < IN_FLIGHT_MAX);
            peers.sort_by_key(|(_, peer)| peer.in_flight);
            let next = peers.into_iter().find_map(|(index, peer)| {
                let has = |path| peer.has_state || !matches!(path, ChunkPath::State { .. });
                joining.plan().ask(has).map(|wanted| (index, peer, wanted))
            });
            let Some((index, peer, wanted)) = next else { return };
            peer.in_flight += 1;
            let (source, kept) = (peer.source.clone(), self.kept.clone());
            self.flights.spawn(fly(index, source, kept, extent.clone(), wanted));
        }
    }

    /// What a node is worth after what it did; the chunk if it is right.
    fn judge(&mut self, peer: usize, wanted: &Wanted, landed: Result<Landed, Failure>) -> Option<Checked> {
        let peer = self.peers.get_mut(peer)?;
        peer.in_flight -= 1;
        let dropped = match landed {
            Ok(Landed::Right(checked, bytes)) => {
                if bytes > 0 {
                    (peer.failures, peer.has_given) = (0, true);
                }
                self.came.bytes += bytes;
                return Some(checked);
            }
            Ok(Landed::Wrong(invalid)) => Some((true, format!("{}: {invalid}", wanted.path()))),
            Err(failure) => {
                peer.failures += 1;
                (peer.failures >= FAILURES_MAX).then(|| (false, format!("{}: {failure}", wanted.path())))
            }
        };
        if let Some((lied, reason)) = dropped
            && std::mem::take(&mut peer.is_asked)
        {
            self.came.dropped.push(peer.source.dropped(lied, reason));
        }
        None
    }
}

/// Takes one chunk from where an earlier try kept it, or from a node.
async fn fly(peer: usize, source: Source, kept: Kept, extent: Arc<Extent>, wanted: Wanted) -> Flight {
    let landed = land(&source, kept, extent, wanted.clone()).await;
    Flight { peer, wanted, landed }
}

async fn land(source: &Source, kept: Kept, extent: Arc<Extent>, wanted: Wanted) -> Result<Landed, Failure> {
    let path = wanted.path();
    let known = apart({
        let (kept, extent, wanted) = (kept.clone(), extent.clone(), wanted.clone());
        move || kept.read(&wanted).and_then(|bytes| wanted.check(&extent, &bytes).ok())
    });
    if let Some(checked) = known.await? {
        return Ok(Landed::Right(checked, 0));
    }
    let bytes = source.chunk(path).await?;
    apart(move || match wanted.check(&extent, &bytes) {
        Ok(checked) => {
            kept.write(&wanted, &bytes);
            Landed::Right(checked, bytes.len() as u64)
        }
        Err(invalid) => Landed::Wrong(invalid),
    })
    .await
}
