//! Why a session moved, kept by every node: an offer names a decision that its node alone has, and that node may stop, be
//! removed or lose its disk. So each node asks for the decision as soon as an offer names it, and again until it is
//! anchored, and keeps it beside the chain.
//!
//! Whoever made a decision cannot make others keep much, wait for long or forget what is not its own: what is kept is
//! small and stands under its name, few are waited for at a time, and for a day.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use ledger::{
    block::FinalBlock,
    bundle::{Grounds, anchored},
    event::Event,
    shell::fault::Fault,
};
use scheduler::decision::Decision;
use tokio::time::{Instant, sleep_until, timeout};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{
    Shared, blocking,
    messages::{DECISIONS_MAX, GROUNDS_BYTES_MAX, GroundsReply, GroundsRequest},
    refusal::Refusal,
};
use crate::peer::{PeerFault, SessionReply, SessionRequest};

/// How long another node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// When a decision is asked for after an offer named it: it is anchored by then. Doubles up to [`AGAIN_AFTER_MAX`].
const AGAIN_AFTER_MIN: Duration = Duration::from_secs(4);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(300);
/// How long after the offer a decision is asked for, by the times of blocks, in ms.
const ASKED_FOR_MS: u64 = 24 * 60 * 60 * 1000;
/// Decisions of one node that are waited for at most. What it names beyond that is not collected.
const WANTED_MAX: usize = 256;
/// Blocks without a decision after which it is written down how far they were read.
const READ_AGAIN_MAX: u64 = 1_000;

/// A decision that an offer names.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    by: NodeId,
    decision: Digest,
    wallet: WalletAddress,
    height: BlockHeight,
    time: Timestamp,
    tries: u32,
    due: Instant,
}

/// Collects the decisions of others, for as long as the node runs.
pub(super) async fn collect(shared: Arc<Shared>) {
    let replica = shared.node.replica.clone();
    if let Err(fault) = Collector::run(shared).await {
        replica.fail(fault);
    }
}

/// What came of a question: none if nothing is to be kept.
type Answered = (Wanted, Result<Option<Told>, Refusal>);

struct Collector {
    shared: Arc<Shared>,
    wanted: BTreeMap<NodeId, Vec<Wanted>>,
    /// Questions under way, at most one about each node's decisions: a silent one holds up nobody else's.
    asking: FuturesUnordered<BoxFuture<'static, Answered>>,
    asked: BTreeMap<NodeId, Wanted>,
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
        let (wanted, asking, asked) = Default::default();
        let mut collector = Self { shared, wanted, asking, asked, read: collected, collected };
        loop {
            let due = collector.due();
            tokio::select! {
                block = blocks.next() => match block {
                    Some(block) => collector.read(&block?).await?,
                    None => return Ok(()),
                },
                Some((wanted, answer)) = collector.asking.next() => collector.on_answer(wanted, answer).await?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => collector.ask(),
            }
        }
    }

    async fn read(&mut self, block: &FinalBlock) -> Result<(), Fault> {
        let header = &block.block.header;
        for entry in &block.block.entries {
            let Event::MigrationOffered(offer) = &entry.body.event else { continue };
            // Its own log is this node's to keep.
            let by = entry.body.author;
            let wanted = self.wanted.entry(by).or_default();
            if by == self.shared.node.me || wanted.len() >= WANTED_MAX {
                continue;
            }
            let (decision, wallet, due) = (offer.decision, offer.wallet, Instant::now() + AGAIN_AFTER_MIN);
            wanted.push(Wanted { by, decision, wallet, height: header.height, time: header.time, tries: 0, due });
        }
        self.read = header.height;
        let behind = self.finished().get().saturating_sub(self.collected.get());
        if behind >= READ_AGAIN_MAX { self.keep(None).await } else { Ok(()) }
    }

    /// When somebody is to be asked next.
    fn due(&self) -> Option<Instant> {
        let free = self.wanted.iter().filter(|(by, _)| !self.asked.contains_key(by));
        free.flat_map(|(_, wanted)| wanted).map(|wanted| wanted.due).min()
    }

    /// Asks for what is due.
    fn ask(&mut self) {
        let now = Instant::now();
        for (by, wanted) in &mut self.wanted {
            if self.asked.contains_key(by) {
                continue;
            }
            let Some(at) = wanted.iter().position(|wanted| wanted.due <= now) else { continue };
            let (wanted, shared) = (wanted.swap_remove(at), self.shared.clone());
            self.asked.insert(*by, wanted);
            let asking = async move { (wanted, shared.collected(&wanted).await) };
            self.asking.push(asking.boxed());
        }
    }

    async fn on_answer(&mut self, mut wanted: Wanted, answer: Result<Option<Told>, Refusal>) -> Result<(), Fault> {
        self.asked.remove(&wanted.by);
        match answer {
            Ok(Some(Told::Anchored(grounds))) => return self.keep(Some((wanted.by, grounds))).await,
            Ok(None) => {}
            Ok(Some(Told::Alone(_))) | Err(_) => {
                let age = self.shared.node.replica.state().time.get().saturating_sub(wanted.time.get());
                if age > ASKED_FOR_MS {
                    let Wanted { by, decision, .. } = wanted;
                    tracing::warn!(node = %by, %decision, "nobody hands out this decision: given up");
                } else {
                    wanted.tries += 1;
                    wanted.due = Instant::now() + AGAIN_AFTER_MAX.min(AGAIN_AFTER_MIN * (1 << wanted.tries.min(7)));
                    self.wanted.entry(wanted.by).or_default().push(wanted);
                }
            }
        }
        self.keep(None).await
    }

    async fn keep(&mut self, found: Option<(NodeId, Grounds)>) -> Result<(), Fault> {
        let collected = self.finished();
        let behind = collected.get().saturating_sub(self.collected.get());
        if found.is_none() && behind < READ_AGAIN_MAX {
            return Ok(());
        }
        self.collected = collected;
        let store = self.shared.node.replica.store().clone();
        blocking(move || store.keep_grounds(found.as_slice(), collected)).await
    }

    /// Up to there nothing is missing.
    fn finished(&self) -> BlockHeight {
        let missing = self.wanted.values().flatten().chain(self.asked.values());
        let first = missing.map(|wanted| wanted.height).min();
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
        if let Some(grounds) = blocking(move || replica.store().grounds(by, decision)).await? {
            return Ok(Some(grounds));
        }
        if by != self.node.me {
            return Ok(None);
        }
        let Some(grounds) = Grounds::of(&self.own_decisions(decision, DECISIONS_MAX).await?) else { return Ok(None) };
        Ok(Some(self.judge(by, grounds).await?.into()))
    }

    /// Like [`Self::grounds`]; none if it is here already, or is nothing that is kept.
    async fn collected(&self, wanted: &Wanted) -> Result<Option<Told>, Refusal> {
        let Wanted { by, decision, wallet, .. } = *wanted;
        if self.own_grounds(by, decision).await?.is_some() {
            return Ok(None);
        }
        let told = self.ask_for(by, decision).await?;
        Ok(match &told {
            Told::Anchored(grounds) if !is_kept(grounds, wallet) => None,
            _ => Some(told),
        })
    }

    /// Asks the node that made it, and all others at once where that does not lead to an anchor.
    async fn ask_for(&self, by: NodeId, decision: Digest) -> Result<Told, Refusal> {
        let of_maker = match self.ask_one(by, by, decision).await {
            Ok(grounds) => match self.judge(by, grounds).await? {
                anchored @ Told::Anchored(_) => return Ok(anchored),
                alone => Ok(alone),
            },
            Err(fault) => Err(Refusal::SourceSilent { source_node: by, fault }),
        };
        let others: BTreeSet<NodeId> = self.node.members().peers(self.node.me).iter().map(|peer| peer.node).collect();
        let others = others.into_iter().filter(|node| *node != by);
        let mut answers: FuturesUnordered<_> = others.map(|node| self.ask_one(node, by, decision)).collect();
        while let Some(answer) = answers.next().await {
            // Without its anchor it is nobody's word but the maker's.
            if let Ok(grounds) = answer
                && let told @ Told::Anchored(_) = self.judge(by, grounds).await?
            {
                return Ok(told);
            }
        }
        of_maker
    }

    async fn ask_one(&self, node: NodeId, by: NodeId, decision: Digest) -> Result<Grounds, PeerFault> {
        let nonsense = |reason: &str| PeerFault::Nonsense { from: node, reason: reason.to_owned() };
        let request = SessionRequest::Grounds(GroundsRequest { by, decision });
        let answer = timeout(ANSWER_WITHIN, self.node.link.ask(node, request, ANSWER_WITHIN)).await;
        match answer.map_err(|_| nonsense("it does not answer"))?? {
            SessionReply::Grounds(GroundsReply { grounds: Some(grounds) }) => {
                let is_bounded = grounds.decision.len() <= scheduler::decision::DECISION_BYTES_MAX
                    && grounds.later.len() < DECISIONS_MAX as usize;
                if is_bounded && grounds.hash() == decision {
                    Ok(grounds)
                } else {
                    Err(nonsense("it is another decision"))
                }
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
                // Where the ledger is damaged its alarm stops the node.
                Err(_) => Told::Alone(Grounds { later: Vec::new(), ..grounds }),
            })
        })
        .await
    }
}

/// Whether it is a decision about the wallet, and no larger than decisions are.
fn is_kept(grounds: &Grounds, wallet: WalletAddress) -> bool {
    codec::encoded_size(grounds) <= GROUNDS_BYTES_MAX
        && Decision::decode(&grounds.decision).is_ok_and(|decision| decision.wallet == wallet)
}

#[cfg(test)]
mod tests {
    use scheduler::{decision::LogHead, thresholds::Thresholds, tick::Scheduler};

    use super::*;
    use crate::schedule::samples;

    /// A node that names another's decision, or a huge one, fills nobody's disk.
    #[test]
    fn only_a_decision_about_the_wallet_and_of_the_size_of_one_is_kept() {
        let mut scheduler = Scheduler::new(Thresholds::default(), LogHead::default());
        let decision = samples::command(&mut scheduler, 0).decision;
        let (wallet, bytes) = (decision.wallet, decision.encode());
        let grounds = |decision: Vec<u8>, links: usize| {
            let link = ledger::bundle::Link { at: Timestamp::new(1), reason: Digest::ZERO };
            Grounds { decision, later: vec![link; links] }
        };
        assert!(is_kept(&grounds(bytes.clone(), 3), wallet));
        assert!(!is_kept(&grounds(bytes.clone(), 3), WalletAddress(Digest([9; 32]))));
        assert!(!is_kept(&grounds(b"no decision".to_vec(), 0), wallet));
        assert!(!is_kept(&grounds(bytes, GROUNDS_BYTES_MAX / 40), wallet));
    }
}
