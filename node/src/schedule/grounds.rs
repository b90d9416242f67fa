//! Why a session moved or was evicted, kept by every node: an entry names a decision that its node alone has, and that node
//! may stop, be removed or lose its disk. So each node asks for the decision as soon as an entry names it, and again until it
//! is anchored, and keeps it beside the chain: its own, too, which it finds in its log unless that is lost.
//!
//! Whoever made a decision cannot make others keep much, wait for long or forget what is not its own: what is kept is
//! small and stands under its name, few are waited for at a time, and for a day, or longer where too few nodes answer.

mod missing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use ledger::{
    archive::GROUNDS_BYTES_MAX,
    block::FinalBlock,
    bundle::{Grounds, anchored},
    shell::{fault::Fault, final_store::GivenUp},
};
use scheduler::decision::Decision;
use tokio::time::{Instant, sleep_until, timeout};
use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    units::{BlockHeight, NodeId},
};

use self::missing::{Missing, Unread, WANTED_MAX, Wanted};
use super::{
    Shared, blocking, lock,
    messages::{DECISIONS_MAX, GroundsReply, GroundsRequest},
    refusal::Refusal,
};
use crate::peer::{PeerFault, SessionReply, SessionRequest};

/// How long another node may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Blocks without a decision after which it is written down how far they were read.
const READ_AGAIN_MAX: u64 = 1_000;
/// Blocks that are read again at a time, between two looks at all else.
const AT_ONCE: u64 = 32;

/// How far the decisions are here that entries name: what a bundle needs, and who asks why a batch was evicted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collection {
    /// Up to there each of them came, or was given up.
    pub complete_height: BlockHeight,
    /// How many are waited for, by who made them. Of each node some 256 at most at a time: what it named above these is not
    /// counted yet.
    pub missing: BTreeMap<NodeId, u64>,
    /// How many were given up, and did not come since: nobody handed them out for long enough.
    pub given_up: BTreeMap<NodeId, u64>,
}

/// Collects the decisions of others, for as long as the node runs.
pub(super) async fn collect(shared: Arc<Shared>) {
    let replica = shared.node.replica.clone();
    if let Err(fault) = Collector::run(shared).await {
        replica.fail(fault);
    }
}

/// What came of a question: none if nothing is to be kept.
type Answered = (Wanted, Result<Collected, Refusal>);
/// Blocks in which entries of a node are to be found again.
type Again = Result<(NodeId, Vec<FinalBlock>), Fault>;

struct Collector {
    shared: Arc<Shared>,
    missing: Missing,
    asking: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// One at a time.
    reading: FuturesUnordered<BoxFuture<'static, Again>>,
    /// Up to there it is written down that all is here or given up.
    collected: BlockHeight,
    /// How many are written down as given up.
    given_up: BTreeMap<NodeId, u64>,
}

impl Collector {
    async fn run(shared: Arc<Shared>) -> Result<(), Fault> {
        let replica = shared.node.replica.clone();
        let store = replica.store().clone();
        let read = move || Ok::<_, Fault>((store.grounds_collected()?, store.grounds_given_up(WANTED_MAX)?));
        let (collected, given_up_before) = blocking(read).await?;
        let Some(from) = collected.next() else { return Ok(()) };
        let mut blocks = std::pin::pin!(replica.subscribe(from));
        let (asking, reading, given_up) = Default::default();
        let mut collector = Self { shared, missing: Missing::after(collected), asking, reading, collected, given_up };
        for (by, GivenUp { count, first }) in given_up_before {
            collector.given_up.insert(by, count);
            collector.missing.ask_again(by, &first, Instant::now());
        }
        loop {
            collector.show();
            collector.read_again();
            let due = collector.missing.due();
            tokio::select! {
                block = blocks.next() => match block {
                    Some(block) => collector.read(&block?).await?,
                    None => return Ok(()),
                },
                Some((wanted, answer)) = collector.asking.next() => collector.on_answer(wanted, answer).await?,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => collector.ask(),
                Some(again) = collector.reading.next() => collector.take_up(again?).await?,
            }
        }
    }

    /// Says how far it is.
    fn show(&self) {
        let (complete_height, missing) = (self.missing.complete_to(), self.missing.waited_for());
        let given_up = self.given_up.clone();
        *lock(&self.shared.collection) = Collection { complete_height, missing, given_up };
    }

    async fn read(&mut self, block: &FinalBlock) -> Result<(), Fault> {
        self.missing.read(&block.block, Instant::now());
        self.keep(None).await
    }

    /// Begins to read the next blocks again for whose entries there is room now.
    fn read_again(&self) {
        let Some(Unread { by, from, to }) = self.missing.unread().filter(|_| self.reading.is_empty()) else { return };
        let store = self.shared.node.replica.store().clone();
        let read = blocking(move || {
            let heights = from.get()..=to.get().min(from.get().saturating_add(AT_ONCE - 1));
            let block = |height| {
                let missing = || Fault::Missing { store: "final", what: format!("block {height}") };
                store.block(BlockHeight::new(height))?.ok_or_else(missing)
            };
            Ok::<_, Fault>((by, heights.map(block).collect::<Result<Vec<_>, Fault>>()?))
        });
        self.reading.push(read.boxed());
    }

    async fn take_up(&mut self, (by, blocks): (NodeId, Vec<FinalBlock>)) -> Result<(), Fault> {
        let now = Instant::now();
        for block in &blocks {
            if !self.missing.read_again(by, &block.block, now) {
                break;
            }
        }
        self.keep(None).await
    }

    /// Asks for what is due.
    fn ask(&mut self) {
        for wanted in self.missing.ask(Instant::now()) {
            let shared = self.shared.clone();
            self.asking.push(async move { (wanted, shared.collected(&wanted).await) }.boxed());
        }
    }

    async fn on_answer(&mut self, wanted: Wanted, answer: Result<Collected, Refusal>) -> Result<(), Fault> {
        let by = wanted.by;
        match answer.unwrap_or(Collected::Missing { is_denied: false }) {
            Collected::Missing { is_denied } => {
                let time = self.shared.node.replica.state().time;
                match self.missing.not_found(by, is_denied, time, Instant::now()) {
                    Some(given_up) => self.give_up(given_up).await,
                    None => self.keep(None).await,
                }
            }
            Collected::Found(found) => {
                self.missing.found(by);
                self.keep(found.map(|grounds| (by, grounds))).await
            }
        }
    }

    async fn give_up(&mut self, Wanted { by, decision, wallet, .. }: Wanted) -> Result<(), Fault> {
        tracing::warn!(node = %by, %decision, "nobody hands out this decision: given up");
        self.collected = self.missing.complete_to();
        let (store, collected) = (self.shared.node.replica.store().clone(), self.collected);
        let is_new = blocking(move || store.give_up_grounds(by, decision, wallet, collected)).await?;
        *self.given_up.entry(by).or_default() += u64::from(is_new);
        Ok(())
    }

    /// Writes down what was found, and now and then how far all is here.
    async fn keep(&mut self, found: Option<(NodeId, Grounds)>) -> Result<(), Fault> {
        let collected = self.missing.complete_to();
        let behind = collected.get().saturating_sub(self.collected.get());
        if found.is_none() && behind < READ_AGAIN_MAX {
            return Ok(());
        }
        self.collected = collected;
        let (store, by) = (self.shared.node.replica.store().clone(), found.as_ref().map(|(by, _)| *by));
        let had_been_given_up = blocking(move || store.keep_grounds(found.as_slice(), collected)).await?;
        if let Some(given_up) = by.and_then(|by| self.given_up.get_mut(&by)) {
            *given_up = given_up.saturating_sub(had_been_given_up);
        }
        Ok(())
    }
}

/// What came of asking for a decision that is to be kept.
enum Collected {
    /// It came; none if it is here already, or is nothing that is kept.
    Found(Option<Grounds>),
    /// Nobody handed it out with its anchor. Whether at least half of the others answered: one of them is honest.
    Missing { is_denied: bool },
}

/// What the others have of a decision.
struct Heard {
    told: Result<Told, Refusal>,
    /// How many of them answered, with it or without.
    answered: usize,
    /// How many nodes beside this one take part.
    peers: usize,
}

impl Heard {
    /// Whether at least half of the others answered. Of 3f that is more than f.
    fn is_of_half(&self) -> bool {
        self.answered * 2 >= self.peers
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
        Ok(self.ask_for(by, decision).await?.told?.into())
    }

    /// As far as it is in this node's own files.
    pub(super) async fn own_grounds(&self, by: NodeId, decision: Digest) -> Result<Option<Grounds>, Refusal> {
        match self.kept(by, decision).await? {
            Some(grounds) => Ok(Some(grounds)),
            None => Ok(self.logged(by, decision).await?.map(Grounds::from)),
        }
    }

    /// As it is kept beside the chain.
    async fn kept(&self, by: NodeId, decision: Digest) -> Result<Option<Grounds>, Fault> {
        let replica = self.node.replica.clone();
        blocking(move || replica.store().grounds(by, decision)).await
    }

    /// As it is in this node's own log.
    async fn logged(&self, by: NodeId, decision: Digest) -> Result<Option<Told>, Refusal> {
        if by != self.node.me {
            return Ok(None);
        }
        let Some(grounds) = Grounds::of(&self.own_decisions(decision, DECISIONS_MAX).await?) else { return Ok(None) };
        Ok(Some(self.judge(by, grounds).await?))
    }

    /// Like [`Self::grounds`], for what is kept. Also what is in the own log, which may be lost before the ledger is.
    async fn collected(&self, wanted: &Wanted) -> Result<Collected, Refusal> {
        let Wanted { by, decision, wallet, .. } = *wanted;
        if self.kept(by, decision).await?.is_some() {
            return Ok(Collected::Found(None));
        }
        let (told, is_denied) = match self.logged(by, decision).await? {
            Some(told) => (Ok(told), false),
            None => {
                let heard = self.ask_for(by, decision).await?;
                let is_denied = heard.is_of_half();
                (heard.told, is_denied)
            }
        };
        Ok(match told {
            Ok(Told::Anchored(grounds)) => Collected::Found(Some(grounds).filter(|grounds| is_kept(grounds, wallet))),
            Ok(Told::Alone(_)) | Err(_) => Collected::Missing { is_denied },
        })
    }

    /// Asks the node that made it, and all others at once where that does not lead to an anchor.
    async fn ask_for(&self, by: NodeId, decision: Digest) -> Result<Heard, Fault> {
        let others: BTreeSet<NodeId> = self.node.members().peers(self.node.me).iter().map(|peer| peer.node).collect();
        let of_maker = match by == self.node.me {
            true => Err(nonsense(by, "its own log does not have it any more")),
            false => self.ask_one(by, by, decision).await,
        };
        let mut heard = Heard {
            answered: of_maker.is_ok().into(),
            peers: others.len(),
            told: match of_maker {
                Ok(Some(grounds)) => Ok(self.judge(by, grounds).await?),
                Ok(None) => Err(nonsense(by, "it does not have the decision")),
                Err(fault) => Err(fault),
            }
            .map_err(|fault| Refusal::SourceSilent { source_node: by, fault }),
        };
        if matches!(heard.told, Ok(Told::Anchored(_))) {
            return Ok(heard);
        }
        let others = others.into_iter().filter(|node| *node != by);
        let mut answers: FuturesUnordered<_> = others.map(|node| self.ask_one(node, by, decision)).collect();
        while let Some(answer) = answers.next().await {
            heard.answered += usize::from(answer.is_ok());
            // Without its anchor it is nobody's word but the maker's.
            if let Ok(Some(grounds)) = answer
                && let told @ Told::Anchored(_) = self.judge(by, grounds).await?
            {
                return Ok(Heard { told: Ok(told), ..heard });
            }
        }
        Ok(heard)
    }

    /// Asks one node; none if it answers and does not have it, or hands out another.
    async fn ask_one(&self, node: NodeId, by: NodeId, decision: Digest) -> Result<Option<Grounds>, PeerFault> {
        let request = SessionRequest::Grounds(GroundsRequest { by, decision });
        let answer = timeout(ANSWER_WITHIN, self.node.link.ask(node, request, ANSWER_WITHIN)).await;
        match answer.map_err(|_| nonsense(node, "it does not answer"))?? {
            SessionReply::Grounds(GroundsReply { grounds }) => Ok(grounds.filter(|grounds| {
                let is_bounded = grounds.decision.len() <= scheduler::decision::DECISION_BYTES_MAX
                    && grounds.later.len() < DECISIONS_MAX as usize;
                is_bounded && grounds.hash() == decision
            })),
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

fn nonsense(from: NodeId, reason: &str) -> PeerFault {
    PeerFault::Nonsense { from, reason: reason.to_owned() }
}

/// Whether it is a decision about the wallet, and no larger than decisions are.
fn is_kept(grounds: &Grounds, wallet: WalletAddress) -> bool {
    codec::encoded_size(grounds) <= GROUNDS_BYTES_MAX
        && Decision::decode(&grounds.decision).is_ok_and(|decision| decision.wallet == wallet)
}

#[cfg(test)]
mod tests {
    use scheduler::{decision::LogHead, thresholds::Thresholds, tick::Scheduler};
    use wallet::units::Timestamp;

    use super::*;
    use crate::schedule::samples;

    /// With up to f liars among 3f others one of half of them is honest.
    #[test]
    fn what_fewer_than_half_of_the_others_answered_is_not_denied() {
        for (peers, half) in [(1, 1), (2, 1), (3, 2), (6, 3), (9, 5)] {
            let heard = |answered| Heard { told: Ok(Told::Alone(NOTHING)), answered, peers }.is_of_half();
            assert_eq!([half - 1, half].map(heard), [false, true], "{peers}");
        }
        let alone = Heard { told: Ok(Told::Alone(NOTHING)), answered: 0, peers: 0 };
        assert!(alone.is_of_half(), "there is nobody to wait for");
    }

    const NOTHING: Grounds = Grounds { decision: Vec::new(), later: Vec::new() };

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
