//! Starting a replica: from the files to a running core.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, RwLock, atomic::AtomicU64},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use wallet::identity::PublicKey;

use super::{
    alarm::Alarm,
    election, errands,
    fault::Fault,
    files::Files,
    lineage::Lineage,
    lines::{self, Lines},
    log_store::blocking,
    observed::{Listening, Observed},
    pins::{self, Pins},
    promises::Promises,
    proposer,
    raft::first_entry,
    replica::{Replica, ReplicaOptions, Tasks},
    resumption::Custody,
    sending,
    shared::{Heard, Shared},
    statements,
    terms::Terms,
    transport::Transport,
    validator::{Message, Validator, moment},
};
use crate::{checks::Remembered, finality::Voter, vote::Signer};

/// Messages that wait for the voting thread at most.
const MESSAGES_MAX: usize = 4096;

pub(crate) async fn open(options: ReplicaOptions, transport: Arc<dyn Transport>) -> Result<Replica, Fault> {
    let ReplicaOptions { dir, consortium, me, node_key, next_key, clock } = options;
    let found = node_key.public_key();
    let (alarm, files) = {
        let (dir, consortium) = (dir.clone(), consortium.clone());
        blocking(move || Ok((Alarm::of(dir.clone())?, Files::open(&dir, &consortium, me)?))).await?
    };
    let Files { log, store, tip, vote_file, votes, may_vote } = files;
    store.watch_by(&alarm);
    log.watch_by(&alarm);
    let own = [Some(node_key), next_key].into_iter().flatten();
    let keys: Vec<Signer> = own.map(|key| Signer { node: me, key }).collect();
    let named = tip.executed.state.node(me).map(|record| record.node.key);
    let own: Vec<PublicKey> = keys.iter().map(|signer| signer.key.public_key()).collect();
    let key = keys.iter().zip(&own).find(|(_, own)| named == Some(**own)).map(|(signer, _)| signer.clone());
    let key = key.ok_or(Fault::WrongKey { node: me, found })?;
    let steady = tokio::time::Instant::now();
    let tip_executed = Arc::new(tip.executed.clone());
    let lineage = Lineage::of(&store, &tip_executed)?;
    let checks = Arc::new(Remembered::default());
    let voter = Voter::new(
        consortium.clone(),
        // It speaks once the peers have said that the record is the last one.
        None,
        tip.executed,
        tip.certificate,
        votes.record.clone(),
        moment(&*clock, steady),
    )
    .with_checks(checks.clone())
    .with_carriers(tip.carriers);
    let (messages, inbox) = mpsc::channel(MESSAGES_MAX);
    let (cuts, cuts_inbox) = mpsc::unbounded_channel();
    let observed = Arc::new(Observed::new());
    let (pinned, let_go) = Pins::new(&tip_executed);
    let shared = Arc::new(Shared {
        dir,
        me,
        votes: watch::Sender::new(false),
        recovered: watch::Sender::new(log.purged().is_none()),
        clock,
        transport: Arc::new(Listening { transport, observed: observed.clone() }),
        checks,
        lineage,
        first_entry: first_entry(&consortium),
        consortium,
        raft: RwLock::new(None),
        core_epoch: AtomicU64::default(),
        // What is in the log was appended by a leader of a term that this node had entered.
        terms: Arc::new(Terms::new(voter.status().term.max(log.last().map_or(0, |last| last.log_id.leader_id.term)))),
        campaign: watch::Sender::new(None),
        heard: Heard::default(),
        guard: tokio::sync::Mutex::new(()),
        pins: Arc::new(pinned),
        tip: watch::Sender::new(tip_executed),
        final_at: watch::Sender::new(tip.log_id),
        finalized_at: watch::Sender::new(votes.finalized_at),
        status: watch::Sender::new(voter.status()),
        alarm,
        outbox: Default::default(),
        queue: Default::default(),
        promises: Promises::new(key),
        ordered: Default::default(),
        validator: messages,
        lines: Lines::default(),
        cuts,
        asked: watch::Sender::new(None),
        peers: Mutex::default(),
        observed,
        log: log.clone(),
        store,
    });
    let mut validator = Validator {
        shared: shared.clone(),
        voter,
        votes,
        file: vote_file,
        open: BTreeMap::new(),
        log_at_start: log.end().index(),
        next_index: tip.log_id.map_or(0, |at| at.index + 1),
        reread: None,
        generation: log.end().generation,
        keys,
        own,
        custody: Custody::Asking(BTreeSet::new()),
        steady,
        next_tick: tokio::time::Instant::now(),
        silent_ticks: 0,
        told_leader_of: 0,
        told_demand: false,
        passed_over: (0, None),
        told_passed_over: (0, None),
        granted: None,
    };
    validator.begin_custody(may_vote)?;
    validator.restore_best()?;
    let mut tasks = JoinSet::new();
    let thread = start_validator(validator, inbox, &mut tasks)?;
    let mut spawn = |task: BoxFuture<'static, ()>| tasks.spawn(or_fail(shared.clone(), task));
    spawn(lines::follow(shared.clone()).boxed());
    spawn(errands::tick(shared.clone()).boxed());
    spawn(errands::heartbeat(shared.clone()).boxed());
    spawn(errands::tell_of_log(shared.clone()).boxed());
    spawn(statements::ask(shared.clone()).boxed());
    spawn(sending::run(shared.clone()).boxed());
    spawn(errands::fetch_certificates(shared.clone()).boxed());
    spawn(errands::cut_on_demand(shared.clone(), cuts_inbox).boxed());
    spawn(errands::watch_core(shared.clone()).boxed());
    spawn(errands::stop_core_on_fault(shared.clone()).boxed());
    spawn(election::run(shared.clone()).boxed());
    spawn(election::leave_ended_terms(shared.clone()).boxed());
    spawn(proposer::run(shared.clone()).boxed());
    spawn(pins::free(let_go).boxed());
    let replica = Replica { shared, tasks: Arc::new(Mutex::new(Tasks { tasks, validator: thread })) };
    if let Err(fault) = replica.shared.start().await {
        replica.shutdown().await;
        return Err(fault);
    }
    Ok(replica)
}

/// A task that panics stops the replica: without it the rest would go on as if nothing were missing.
pub(super) async fn or_fail(shared: Arc<Shared>, task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        shared.fail(Fault::Impossible("a task of the replica panicked".to_owned()));
    }
}

/// Starts the voting thread. In a simulation, which has one thread, voting is a task.
fn start_validator(
    validator: Validator,
    inbox: mpsc::Receiver<Message>,
    tasks: &mut JoinSet<()>,
) -> Result<Option<std::thread::JoinHandle<()>>, Fault> {
    #[cfg(any(test, feature = "testing"))]
    if super::simulated::is_on() {
        tasks.spawn(validator.run_as_task(inbox));
        return Ok(None);
    }
    let _ = tasks;
    let thread = std::thread::Builder::new()
        .name("ledger-validator".to_owned())
        .spawn(move || {
            let shared = validator.shared.clone();
            if catch_unwind(AssertUnwindSafe(|| validator.run(inbox))).is_err() {
                shared.fail(Fault::Impossible("the voting thread panicked".to_owned()));
            }
        })
        .map_err(|source| Fault::file("the voting thread", source))?;
    Ok(Some(thread))
}
