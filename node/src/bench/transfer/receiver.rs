//! The process to which the pages go: it reads the hop stream as the receiver of a move does, with the envelope in hand.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use gpu::stream::{Cursor, Next, Page, SegmentOptions, SegmentStream, Stream as _, Wake};
use wallet::units::PageIndex;

use super::{
    pages::Plan,
    side::{Nobody, RECEIVER, SOURCE, network},
};
use crate::{
    bench::{BenchFault, wrong},
    migration::{
        hop::{self, HopReader},
        intake,
    },
    network::{
        PeerNetwork,
        stream::{RemoteOptions, RemoteStream, StreamPeers},
    },
};

pub(super) struct Receiver {
    plan: Plan,
    dir: PathBuf,
    network: PeerNetwork,
}

impl Receiver {
    /// Returns once the source is connected.
    pub(super) async fn open(plan: Plan, source: SocketAddr, dir: &Path) -> Result<Self, BenchFault> {
        let network = network(RECEIVER, (SOURCE, source), Nobody).await?;
        network.connected().wait_for(|nodes| nodes.contains(&SOURCE)).await.map_err(wrong)?;
        Ok(Self { plan, dir: dir.to_owned(), network })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.network.listen_address()
    }

    /// Reads a hop stream to its end and verifies each page; with `keep` it is on the disk before it is trimmed.
    pub(super) async fn take(&self, number: u64, keep: bool) -> Result<(), BenchFault> {
        let descriptor = hop::descriptor(self.plan.offer(number));
        let folder = self.dir.join(format!("hop-{number}"));
        let incoming = match keep {
            true => Some(SegmentStream::open(&folder, descriptor.clone(), SegmentOptions::default())?),
            false => None,
        };
        let (have, root) = match &incoming {
            Some(incoming) => (incoming.state().tail, Some(incoming.root(incoming.state().tail)?)),
            None => (0, None),
        };
        let options = RemoteOptions { root, ..intake::remote_options() };
        let link = Arc::new(StreamPeers::new(self.network.clone()));
        let remote = RemoteStream::open(link, SOURCE, descriptor, Cursor(have), options)?;
        let kept = incoming.map(|incoming| HopReader::new(remote.clone(), incoming));
        self.read(&remote, kept.as_ref(), Cursor(have), number).await?;
        drop(kept);
        SegmentStream::remove(&folder)?;
        Ok(())
    }

    async fn read(
        &self,
        remote: &RemoteStream,
        kept: Option<&HopReader>,
        mut cursor: Cursor,
        number: u64,
    ) -> Result<(), BenchFault> {
        let (stream, opener) = (self.plan.stream(), self.plan.opener(number));
        loop {
            let mut taken: Vec<Page> = Vec::new();
            let is_over = loop {
                match remote.next(cursor)? {
                    Next::Item(page, after) => {
                        intake::check(&stream, self.plan.pages as u32, &page).map_err(wrong)?;
                        taken.push(page);
                        cursor = after;
                    }
                    Next::Blocked(_) => break false,
                    Next::End => break true,
                    Next::Gap { earliest } => return Err(wrong(format!("pages before {earliest} are missing"))),
                }
            };
            if let Some(kept) = kept {
                taken = kept.keep(taken).await.map_err(wrong)?;
            }
            remote.trim(cursor.0)?;
            for page in taken {
                opener.open(PageIndex::new(page.head.position), page.payload.to_vec()).map_err(wrong)?;
            }
            if is_over {
                break;
            }
            remote.wait(Wake::Page(cursor.0)).await;
        }
        match cursor.0 {
            pages if pages == self.plan.pages => Ok(()),
            pages => Err(wrong(format!("{pages} pages came instead of {}", self.plan.pages))),
        }
    }
}
