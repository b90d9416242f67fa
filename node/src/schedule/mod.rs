//! The tick: every 500 ms, what to do with each session that this node holds, why, and doing it.
//!
//! A tick looks at measured values only, lets the rules speak, and stores each decision before it is carried out. The
//! end of the decision log is anchored on the ledger soon after it grew, so that no operator can rewrite why a session
//! moved. After a start nothing is decided before the ledger has told what was anchored of the log; sessions are served
//! where they are meanwhile.

mod act;
mod anchor;
mod grounds;
pub mod log;
pub mod messages;
pub mod refusal;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ledger::{
    bundle::Grounds,
    execute::Executed,
    shell::clock::{Clock as _, SystemClock},
};
use scheduler::{
    action::Action,
    decision::{LogHead, Logged},
    record::NextAction,
    thresholds::Thresholds,
    tick::Scheduler,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{NodeId, Timestamp},
};

use crate::{
    routing::Routing,
    session::{Sessions, command::CommandReply, context::NodeContext},
};
pub use grounds::Collection;
use log::{DecisionFile, LogFault, Verified};
use messages::{DECISIONS_MAX, GroundsReply, GroundsRequest};
use refusal::Refusal;
use view::View;

/// The log's file in the node's folder.
pub(crate) const FILE: &str = "decisions";

/// Bytes of decisions that are read for one answer at most.
const DECISION_BYTES_MAX: usize = 2 << 20;
/// How long a command waits for a wallet whose creation is not final yet; an election fits in.
const CREATION_PATIENCE: Duration = Duration::from_secs(10);
/// How long a command waits after a start until this node may decide; an idle consortium makes a block each ten seconds.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// What the service needs.
pub struct Parts {
    /// The node's sessions.
    pub sessions: Sessions,
    /// What it knows about loads.
    pub routing: Routing,
    /// The node's folder.
    pub data_dir: PathBuf,
    /// Time between two ticks.
    pub tick: Duration,
    /// The numbers in the rules.
    pub thresholds: Thresholds,
}

/// The running service. Clones are one service.
#[derive(Clone)]
pub struct Schedule {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

struct Shared {
    node: Arc<NodeContext>,
    sessions: Sessions,
    routing: Routing,
    thresholds: Thresholds,
    started: Timestamp,
    /// Held from the look at the sessions until the decision is stored, so that nobody decides on what has changed, and
    /// the log on the disk has the scheduler's order.
    scheduler: tokio::sync::Mutex<Scheduler>,
    log: Arc<Mutex<DecisionFile>>,
    /// Length of the log when an anchor was submitted last.
    submitted: Mutex<u64>,
    collection: Mutex<Collection>,
    /// What is being done with each session, from the decision on.
    busy: Mutex<BTreeMap<WalletAddress, Busy>>,
    fault: watch::Sender<Option<String>>,
}

/// An action that is under way.
#[derive(Clone, Copy, Debug)]
struct Busy {
    next: NextAction,
    /// Blocks that it takes at its destination.
    blocks: u32,
}

impl Schedule {
    /// Opens the decision log, checks it against its anchor, and starts to tick. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// [`LogFault`] if the log is damaged, or lacks what this node anchored.
    pub async fn start(parts: Parts) -> Result<Self, LogFault> {
        let Parts { sessions, routing, data_dir, tick, thresholds } = parts;
        let node = sessions.context().clone();
        let log = blocking(move || DecisionFile::open(&data_dir.join(FILE))).await?;
        log.check_anchor(anchored(&node.replica.state(), node.me))?;
        node.decisions.send_replace(log.head());
        let shared = Arc::new(Shared {
            node,
            sessions,
            routing,
            scheduler: tokio::sync::Mutex::new(Scheduler::new(thresholds.clone(), log.head())),
            thresholds,
            started: SystemClock.now(),
            log: Arc::new(Mutex::new(log)),
            submitted: Mutex::default(),
            collection: Mutex::default(),
            busy: Mutex::default(),
            fault: watch::Sender::new(None),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(tick_forever(shared.clone(), tick));
        tasks.spawn(anchor::run(shared.clone()));
        tasks.spawn(grounds::collect(shared.clone()));
        Ok(Self { shared, tasks: Arc::new(Mutex::new(tasks)) })
    }

    /// Does what the operator commands, if the rules that bind everybody allow it, and returns when it is done.
    ///
    /// # Errors
    /// [`Refusal`] of the rules, which is not logged, or of the session.
    pub async fn command(&self, wallet: WalletAddress, action: Action) -> Result<CommandReply, Refusal> {
        self.shared.command(wallet, action).await
    }

    /// Answers another node that asks why something was done.
    pub async fn on_grounds(&self, from: NodeId, GroundsRequest { by, decision }: GroundsRequest) -> GroundsReply {
        let grounds = self.shared.own_grounds(by, decision).await.unwrap_or_else(|fault| {
            tracing::error!(node = %from, %fault, "a decision cannot be handed out");
            None
        });
        GroundsReply { grounds }
    }

    /// The decision of node `by` that an entry names, up to an anchored end of its log if there is one by now.
    ///
    /// # Errors
    /// [`Refusal`] if nobody hands it out now.
    pub async fn grounds(&self, by: NodeId, decision: Digest) -> Result<Grounds, Refusal> {
        self.shared.grounds(by, decision).await
    }

    /// How far the decisions are here that entries name.
    pub fn collection(&self) -> Collection {
        lock(&self.shared.collection).clone()
    }

    /// The last decisions on a wallet, or on all, oldest first.
    ///
    /// # Errors
    /// [`LogFault`] if the log cannot be read.
    pub async fn decisions(&self, wallet: Option<WalletAddress>, count_max: usize) -> Result<Vec<Logged>, LogFault> {
        self.shared.with_log(move |log| log.decisions(wallet, count_max)).await
    }

    /// The first decisions on a wallet, or on all, from position `from` of the log on.
    ///
    /// # Errors
    /// [`LogFault`] if the log cannot be read.
    pub async fn decisions_from(
        &self,
        wallet: Option<WalletAddress>,
        from: u64,
        count_max: usize,
    ) -> Result<Vec<Logged>, LogFault> {
        self.shared.with_log(move |log| log.decisions_from(wallet, from, count_max)).await
    }

    /// Reads the whole log from the disk, checks its chain, and lets the rules decide again.
    ///
    /// # Errors
    /// [`LogFault`] if the log cannot be read.
    pub async fn verify(&self) -> Result<Verified, LogFault> {
        self.shared.with_log(|log| log.verify()).await
    }

    /// Set when a decision could not be stored. The node must stop then.
    pub fn fault(&self) -> watch::Receiver<Option<String>> {
        self.shared.fault.subscribe()
    }

    /// Ends the ticks. Actions that are under way go on for as long as their sessions run.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }
}

async fn tick_forever(shared: Arc<Shared>, tick: Duration) {
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(fault) = shared.tick().await {
            return shared.fail(&fault);
        }
    }
}

impl Shared {
    /// One tick: decide, store, and begin to do it.
    async fn tick(self: &Arc<Self>) -> Result<(), LogFault> {
        // Looked at under the lock: between look and decision nobody else decides.
        let mut scheduler = self.scheduler.lock().await;
        if !self.settle(&mut scheduler).await? {
            return Ok(());
        }
        let view = View::take(self).await;
        let mut decided = Vec::new();
        scheduler.step(SystemClock.now(), &view.snapshot(), &mut decided);
        for logged in decided {
            self.store(&logged).await?;
            let blocks = view.blocks(&logged.decision.wallet);
            self.begin(&logged, blocks);
            let shared = self.clone();
            tokio::spawn(async move { shared.act_and_tell(&logged).await });
        }
        Ok(())
    }

    async fn command(self: &Arc<Self>, wallet: WalletAddress, action: Action) -> Result<CommandReply, Refusal> {
        self.wait_until_told().await;
        self.wait_until_created(wallet).await;
        if action.destination() == Some(self.node.me) {
            return Err(scheduler::refusal::Refusal::NothingToDo.into());
        }
        let logged = {
            let mut scheduler = self.scheduler.lock().await;
            if !self.settle(&mut scheduler).await.inspect_err(|fault| self.fail(fault))? {
                return Err(Refusal::NotToldYet);
            }
            let view = View::take(self).await;
            let logged = scheduler.command(SystemClock.now(), &view.snapshot(), wallet, action)?;
            self.store(&logged).await.inspect_err(|fault| self.fail(fault))?;
            self.begin(&logged, view.blocks(&wallet));
            logged
        };
        // In a task of its own: a client that hangs up stops nothing.
        let shared = self.clone();
        let acting = tokio::spawn(async move { shared.act(&logged).await });
        acting.await.unwrap_or(Err(Refusal::Interrupted))
    }

    /// Holds the log against what this node anchored, which it may learn only now: its folder may be an older copy. False
    /// until the ledger here has told: what is decided before would be lost with such a log.
    async fn settle(&self, scheduler: &mut Scheduler) -> Result<bool, LogFault> {
        let tip = self.node.replica.state();
        let (anchor, is_told) = (anchored(&tip, self.node.me), self.is_told(&tip));
        let settled = self.with_log(move |log| log.settle(anchor).map(|()| log.head()));
        let head = settled.await?;
        if head != scheduler.log_head() {
            *scheduler = Scheduler::new(self.thresholds.clone(), head);
            self.node.decisions.send_replace(head);
        }
        Ok(is_told)
    }

    /// Whether a block is final here that was made after this start: then this node has caught up with what it anchored
    /// before, but for anchors that were still on their way.
    fn is_told(&self, tip: &Executed) -> bool {
        tip.time >= self.started
    }

    /// Nothing is decided before, by whoever commands it.
    async fn wait_until_told(&self) {
        let mut tips = self.node.replica.watch_state();
        // Whatever the outcome, `settle` looks for itself.
        let _ = timeout(START_PATIENCE, tips.wait_for(|tip| self.is_told(tip))).await;
    }

    /// Decoding begins before the creation is final, deciding does not: a command that comes in between waits.
    async fn wait_until_created(&self, wallet: WalletAddress) {
        let Some(session) = self.sessions.get(wallet) else { return };
        let mut view = session.watch();
        // Whatever the outcome, the scheduler looks for itself.
        let _ = timeout(CREATION_PATIENCE, view.wait_for(|view| view.holder.is_some())).await;
    }

    /// The decision is on the disk when this returns.
    async fn store(&self, logged: &Logged) -> Result<(), LogFault> {
        let logged = logged.clone();
        let head = self.with_log(move |log| log.append(&logged).map(|()| log.head())).await?;
        self.node.decisions.send_replace(head);
        self.anchor_many(head);
        Ok(())
    }

    async fn own_decisions(&self, from: Digest, count: u32) -> Result<Vec<Vec<u8>>, LogFault> {
        let count = count.min(DECISIONS_MAX) as usize;
        self.with_log(move |log| log.from_hash(&from, count, DECISION_BYTES_MAX)).await
    }

    async fn with_log<T: Send + 'static>(&self, work: impl FnOnce(&mut DecisionFile) -> T + Send + 'static) -> T {
        let log = self.log.clone();
        blocking(move || work(&mut lock(&log))).await
    }

    fn begin(&self, logged: &Logged, blocks: u32) {
        let Logged { decision, hash } = logged;
        let next = NextAction { action: decision.chosen, at: decision.at, decision: *hash };
        lock(&self.busy).insert(decision.wallet, Busy { next, blocks });
    }

    fn fail(&self, fault: &LogFault) {
        tracing::error!(%fault, code = fault.code(), "the decision log failed: this node decides nothing more");
        self.fault.send_replace(Some(fault.to_string()));
    }
}

/// The end of `node`'s log that is anchored.
pub(crate) fn anchored(executed: &Executed, node: NodeId) -> LogHead {
    let anchor = executed.state.anchor(node);
    anchor.map(|anchor| LogHead { length: anchor.decisions, hash: anchor.log_head }).unwrap_or_default()
}

/// Disk work, off the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("disk work does not panic")
}

/// A panic elsewhere leaves these values whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
