//! Why a session moved or was evicted, kept by every node: what is final names a decision that its node alone has, and that
//! node may stop, be removed or lose its disk. So each node asks for the decision as soon as an entry names it, and again
//! until it is anchored, and keeps it beside the chain.

use std::{sync::Arc, time::Duration};

use futures::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use ledger::{
    block::FinalBlock,
    bundle::{Grounds, anchored},
    event::Event,
    shell::fault::Fault,
};
use tokio::time::{Instant, sleep_until, timeout};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use super::{
    Shared, blocking,
    messages::{DECISIONS_MAX, GroundsReply, GroundsRequest},
    refusal::Refusal,
};
use crate::peer::{PeerFault, SessionReply, SessionRequest};

/// How long another node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// When a decision is asked for after an entry named it: it is anchored by then. Doubles up to [`AGAIN_AFTER_MAX`].
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(4);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);
/// How often: for some two days.
const TRIES_MAX: u32 = 600;
/// Decisions that are waited for at most. Until there are fewer, no more blocks are read.
const WANTED_MAX: usize = 4_096;
/// Questions at a time.
const QUESTIONS_MAX: usize = 4;
/// Blocks without a decision after which it is written down how far they were read.
const READ_AGAIN_MAX: u64 = 1_000;

/// A decision that an entry names.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    by: NodeId,
    decision: Digest,
    height: BlockHeight,
    tries: u32,
    due: Instant,
}

/// The decisions that the entries of a block name, and who made them.
fn named(block: &FinalBlock) -> impl Iterator<Item = (NodeId, Digest)> {
    block.block.entries.iter().filter_map(|entry| match &entry.body.event {
        Event::MigrationOffered(offer) => Some((entry.body.author, offer.decision)),
        Event::BatchEvicted(evicted) => Some((entry.body.author, evicted.decision)),
        _ => None,
    })
}

/// Collects the decisions of others, for as long as the node runs.
pub(super) async fn collect(shared: Arc<Shared>) {
    let replica = shared.node.replica.clone();
    if let Err(fault) = Collector::run(shared).await {
        replica.fail(fault);
    }
}

struct Collector {
    shared: Arc<Shared>,
    wanted: Vec<Wanted>,
    /// Up to there the blocks were read, and up to there all that they name is here or given up.
    read: BlockHeight,
    collected: BlockHeight,
}

impl Collector {
    async fn run(shared: Arc<Shared>) -> Result<(), Fault> {
        let replica = shared.node.replica.clone();
        let collected = replica.store().grounds_collected()?;
        let Some(from) = collected.next() else { return Ok(()) };
        let mut blocks = std::pin::pin!(replica.subscribe(from));
        let mut collector = Self { shared, wanted: Vec::new(), read: collected, collected };
        loop {
            let due = collector.wanted.iter().map(|wanted| wanted.due).min();
            tokio::select! {
                block = blocks.next(), if collector.wanted.len() < WANTED_MAX => match block {
                    Some(block) => collector.read(block?).await?,
                    None => return Ok(()),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => collector.ask().await?,
            }
        }
    }

    async fn read(&mut self, block: FinalBlock) -> Result<(), Fault> {
        let (me, height, due) = (self.shared.node.me, block.block.header.height, Instant::now() + AGAIN_AFTER_MIN);
        let wanted = named(&block).map(|(by, decision)| Wanted { by, decision, height, tries: 0, due });
        // Its own log is this node's to keep.
        self.wanted.extend(wanted.filter(|wanted| wanted.by != me));
        self.read = height;
        let behind = self.finished().get().saturating_sub(self.collected.get());
        if behind >= READ_AGAIN_MAX { self.keep(Vec::new()).await } else { Ok(()) }
    }

    /// Asks for all that is due.
    async fn ask(&mut self) -> Result<(), Fault> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.wanted.drain(..).partition(|wanted| wanted.due <= now);
        self.wanted = later;
        let shared = self.shared.clone();
        let answers = stream::iter(due).map(|wanted| {
            let shared = shared.clone();
            async move { (wanted, shared.collected(wanted.by, wanted.decision).await) }
        });
        let answers: Vec<_> = answers.buffer_unordered(QUESTIONS_MAX).collect().await;
        let mut found = Vec::new();
        for (mut wanted, answer) in answers {
            match answer {
                Ok(Some(Told::Anchored(grounds))) => found.push(grounds),
                Ok(None) => {}
                Ok(Some(Told::Alone(_))) | Err(_) if wanted.tries + 1 < TRIES_MAX => {
                    wanted.tries += 1;
                    wanted.due = Instant::now() + AGAIN_AFTER_MAX.min(AGAIN_AFTER_MIN * (1 << wanted.tries.min(7)));
                    self.wanted.push(wanted);
                }
                Ok(Some(Told::Alone(_))) | Err(_) => {
                    tracing::warn!(node = %wanted.by, decision = %wanted.decision, "nobody hands out this decision: given up");
                }
            }
        }
        self.keep(found).await
    }

    async fn keep(&mut self, grounds: Vec<Grounds>) -> Result<(), Fault> {
        let collected = self.finished();
        if grounds.is_empty() && collected == self.collected {
            return Ok(());
        }
        self.collected = collected;
        let store = self.shared.node.replica.store().clone();
        blocking(move || store.keep_grounds(&grounds, collected)).await
    }

    /// Up to there nothing is missing.
    fn finished(&self) -> BlockHeight {
        let first = self.wanted.iter().map(|wanted| wanted.height).min();
        first.map_or(self.read, |height| BlockHeight::new(height.get().saturating_sub(1)))
    }
}

/// A decision that somebody handed out.
pub(super) enum Told {
    /// With what leads to an anchored end of its log: this is what its node stands by for ever.
    Anchored(Grounds),
    /// Not yet.
    Alone(Grounds),
}

impl From<Told> for Grounds {
    fn from((Told::Anchored(grounds) | Told::Alone(grounds)): Told) -> Self {
        grounds
    }
}

impl Shared {
    /// The decision of node `by` with this hash: kept, from that node, or from another one that kept it.
    pub(super) async fn grounds(&self, by: NodeId, decision: Digest) -> Result<Grounds, Refusal> {
        if let Some(grounds) = self.own_grounds(by, decision).await? {
            return Ok(grounds);
        }
        Ok(self.ask_for(by, decision).await?.into())
    }

    /// As far as it is in this node's own files.
    pub(super) async fn own_grounds(&self, by: NodeId, decision: Digest) -> Result<Option<Grounds>, Refusal> {
        let replica = self.node.replica.clone();
        if let Some(grounds) = blocking(move || replica.store().grounds(decision)).await? {
            return Ok(Some(grounds));
        }
        if by != self.node.me {
            return Ok(None);
        }
        let Some(grounds) = Grounds::of(&self.own_decisions(decision, DECISIONS_MAX).await?) else { return Ok(None) };
        Ok(Some(self.judge(by, grounds).await?.into()))
    }

    /// Like [`Self::grounds`]; none if it is here already.
    async fn collected(&self, by: NodeId, decision: Digest) -> Result<Option<Told>, Refusal> {
        if self.own_grounds(by, decision).await?.is_some() {
            return Ok(None);
        }
        self.ask_for(by, decision).await.map(Some)
    }

    /// Asks the node that made it, then all others at once.
    async fn ask_for(&self, by: NodeId, decision: Digest) -> Result<Told, Refusal> {
        let silent = match self.ask_one(by, by, decision).await {
            Ok(grounds) => return Ok(self.judge(by, grounds).await?),
            Err(fault) => Refusal::SourceSilent { source_node: by, fault },
        };
        let others =
            self.node.members().peers(self.node.me).into_iter().map(|peer| peer.node).filter(|node| *node != by);
        let mut answers: FuturesUnordered<_> = others.map(|node| self.ask_one(node, by, decision)).collect();
        while let Some(answer) = answers.next().await {
            // Without its anchor it is nobody's word but the maker's.
            if let Ok(grounds) = answer
                && let told @ Told::Anchored(_) = self.judge(by, grounds).await?
            {
                return Ok(told);
            }
        }
        Err(silent)
    }

    async fn ask_one(&self, node: NodeId, by: NodeId, decision: Digest) -> Result<Grounds, PeerFault> {
        let nonsense = |reason: &str| PeerFault::Nonsense { from: node, reason: reason.to_owned() };
        let request = SessionRequest::Grounds(GroundsRequest { by, decision });
        let answer = timeout(ANSWER_WITHIN, self.node.link.ask(node, request, ANSWER_WITHIN)).await;
        match answer.map_err(|_| nonsense("it does not answer"))?? {
            SessionReply::Grounds(GroundsReply { grounds: Some(grounds) }) => {
                if grounds.hash() != decision || grounds.later.len() >= DECISIONS_MAX as usize {
                    return Err(nonsense("it is another decision"));
                }
                Ok(grounds)
            }
            SessionReply::Grounds(GroundsReply { grounds: None }) => Err(nonsense("it does not have the decision")),
            _ => Err(PeerFault::unexpected(node)),
        }
    }

    /// What the ledger says of it.
    async fn judge(&self, by: NodeId, grounds: Grounds) -> Result<Told, Fault> {
        let replica = self.node.replica.clone();
        blocking(move || {
            let view = replica.store().view(replica.state())?;
            Ok(match anchored(&view, by, &grounds) {
                Ok(settled) => Told::Anchored(settled),
                Err(_) => Told::Alone(Grounds { later: Vec::new(), ..grounds }),
            })
        })
        .await
    }
}
