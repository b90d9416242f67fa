//! Starting a replica: from the files to a running core, and its core again after a self-cut.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, RwLock, mpsc::sync_channel},
    time::Duration,
};

use openraft::{Config, SnapshotPolicy};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use wallet::units::NodeId;

use super::{
    errands,
    fault::Fault,
    final_store::{FinalStore, Tip},
    log_store::{LogStore, blocking},
    network::Peers,
    proposer,
    raft::{Raft, RaftLogId, RaftVote, block_of, first_entry, leader_of, membership, raft_id},
    replica::{Replica, ReplicaOptions, Tasks},
    shared::Shared,
    state_machine::FinalStateMachine,
    transport::{Transport, VOTES_MAX},
    validator::Validator,
    vote_record::{VoteFile, Votes},
};
use crate::finality::{Signer, VoteRecord, Voter};

/// Messages that wait for the voting thread at most.
const MESSAGES_MAX: usize = 4096;

/// Raft entries in one request at most; the log store bounds their bytes as well.
const RAFT_ENTRIES_MAX: u64 = 256;

/// What the files hold.
struct Files {
    log: LogStore,
    store: FinalStore,
    tip: Tip,
    vote_file: VoteFile,
    votes: Votes,
    /// Whether the record is complete, so that this node may vote.
    may_vote: bool,
}

pub(crate) async fn open(options: ReplicaOptions, transport: Arc<dyn Transport>) -> Result<Replica, Fault> {
    let ReplicaOptions { dir, consortium, me, node_key, clock } = options;
    let found = node_key.public_key();
    if consortium.node(me).is_none_or(|node| node.key != found) {
        return Err(Fault::WrongKey { node: me, found });
    }
    let files = {
        let (dir, consortium) = (dir.clone(), consortium.clone());
        blocking(move || Files::open(&dir, &consortium, me)).await?
    };
    let Files { log, store, tip, vote_file, votes, may_vote } = files;
    if !may_vote {
        tracing::error!("the vote record is missing: this node follows, but does not vote");
    }
    let signer = may_vote.then(|| Signer { node: me, key: node_key });
    let tip_executed = Arc::new(tip.executed.clone());
    let voter =
        Voter::new(consortium.clone(), signer, tip.executed, tip.certificate, votes.record.clone(), clock.now());
    let (messages, inbox) = sync_channel(MESSAGES_MAX);
    let (cuts, cuts_inbox) = mpsc::unbounded_channel();
    let others = (0..).map(NodeId::new).take(consortium.nodes().len()).filter(|node| *node != me);
    let (outgoing_votes, lines): (BTreeMap<_, _>, Vec<_>) = others
        .map(|node| {
            let (line, votes) = mpsc::channel(VOTES_MAX * 4);
            ((node, line), (node, votes))
        })
        .unzip();
    let shared = Arc::new(Shared {
        dir,
        me,
        votes: may_vote,
        clock,
        transport,
        first_entry: first_entry(&consortium),
        consortium,
        raft: RwLock::new(None),
        guard: tokio::sync::Mutex::new(()),
        tip: watch::Sender::new(tip_executed),
        final_at: watch::Sender::new(tip.log_id),
        finalized_at: watch::Sender::new(votes.finalized_at),
        status: watch::Sender::new(voter.status()),
        fault: watch::Sender::new(None),
        outbox: Default::default(),
        queue: Default::default(),
        ordered: Default::default(),
        validator: messages,
        outgoing_votes,
        cuts,
        asked: watch::Sender::new(None),
        peers: Mutex::default(),
        log: log.clone(),
        store,
    });
    let validator = Validator {
        shared: shared.clone(),
        voter,
        votes,
        file: vote_file,
        open: BTreeMap::new(),
        next_index: tip.log_id.map_or(0, |at| at.index + 1),
        generation: log.end().generation,
    };
    let thread = std::thread::Builder::new()
        .name("ledger-validator".to_owned())
        .spawn(move || validator.run(&inbox))
        .map_err(|source| Fault::File { path: "the voting thread".into(), source })?;
    let mut tasks = JoinSet::new();
    tasks.spawn(errands::tell_of_log(shared.clone()));
    tasks.spawn(errands::send_entries(shared.clone()));
    tasks.spawn(errands::fetch_certificates(shared.clone()));
    tasks.spawn(errands::cut_on_demand(shared.clone(), cuts_inbox));
    tasks.spawn(errands::watch_core(shared.clone()));
    tasks.spawn(errands::stop_core_on_fault(shared.clone()));
    tasks.spawn(proposer::run(shared.clone()));
    for (node, votes) in lines {
        tasks.spawn(errands::send_votes(shared.clone(), node, votes));
    }
    let replica = Replica { shared, tasks: Arc::new(Mutex::new(Tasks { tasks, validator: Some(thread) })) };
    if let Err(fault) = replica.shared.start_core().await {
        replica.shutdown().await;
        return Err(fault);
    }
    Ok(replica)
}

impl Files {
    fn open(dir: &std::path::Path, consortium: &genesis::Consortium, me: NodeId) -> Result<Self, Fault> {
        let (store, tip) = FinalStore::open(&dir.join("final"), consortium)?;
        let log = LogStore::open(&dir.join("log"))?;
        let vote_file = VoteFile::new(dir);
        let found = vote_file.load()?;
        let is_new = tip.log_id.is_none() && log.last().is_none();
        let may_vote = is_new || found.is_some();
        let votes = match found {
            Some(votes) if votes.consortium != consortium.id() || votes.node != me => {
                return Err(Fault::OtherConsortium { expected: consortium.id(), found: votes.consortium });
            }
            Some(votes) => votes,
            None => Votes { consortium: consortium.id(), node: me, record: VoteRecord::default(), finalized_at: None },
        };
        if is_new {
            // Before anything else, so that a folder with a log but no record is one that lost it.
            vote_file.save(&votes)?;
            log.append_first(first_entry(consortium))?;
        }
        match tip.log_id {
            Some(log_id) => {
                check_holds(&log, log_id, &tip)?;
                log.set_final(log_id.index);
            }
            None if log.last().is_none() => log.append_first(first_entry(consortium))?,
            None => {}
        }
        Ok(Self { log, store, tip, vote_file, votes, may_vote })
    }
}

/// The raft log must hold the final block: it is on the disk before anybody votes for it.
fn check_holds(log: &LogStore, log_id: RaftLogId, tip: &Tip) -> Result<(), Fault> {
    let stored = log.entry(log_id.index)?.filter(|stored| stored.entry.log_id == log_id);
    let digest = stored.and_then(|stored| block_of(stored.entry)).map(|block| block.header.digest());
    if digest == Some(tip.executed.digest) {
        return Ok(());
    }
    Err(Fault::Missing { store: "log", what: format!("the final block at raft index {}", log_id.index) })
}

impl Shared {
    /// Starts openraft on the log as it is.
    pub(crate) async fn start_core(&self) -> Result<(), Fault> {
        let parameters = self.consortium.parameters();
        let config = Config {
            cluster_name: self.consortium.name().to_owned(),
            heartbeat_interval: parameters.heartbeat_ms,
            election_timeout_min: parameters.election_timeout_ms_min,
            election_timeout_max: parameters.election_timeout_ms_max,
            snapshot_policy: SnapshotPolicy::Never,
            max_payload_entries: RAFT_ENTRIES_MAX,
            ..Config::default()
        };
        let config = config.validate().map_err(|error| Fault::Raft(error.to_string()))?;
        let peers = Peers {
            transport: self.transport.clone(),
            log: self.log.clone(),
            final_at: self.final_at.subscribe(),
            backoff: Duration::from_millis(parameters.heartbeat_ms / 2),
        };
        let alone = self.consortium.nodes().len() == 1;
        let machine = FinalStateMachine::new(membership(&self.first_entry), self.final_at.subscribe(), alone);
        let raft = Raft::new(raft_id(self.me), Arc::new(config), peers, self.log.clone(), machine)
            .await
            .map_err(|error| Fault::Raft(error.to_string()))?;
        self.set_raft(raft);
        Ok(())
    }

    /// Cuts the log from `from`, which a certificate contradicts, and starts the core again on what is left.
    ///
    /// A leader does not come back as leader of its term: it would reuse log ids for other content.
    pub(crate) async fn self_cut(&self, from: u64) -> Result<(), Fault> {
        let _one_at_a_time = self.guard.lock().await;
        tracing::warn!(from, "a certificate contradicts the own log: cutting it and restarting the core");
        let Some(raft) = self.take_raft() else { return Ok(()) };
        // An error means that the core has ended by itself.
        let _ = raft.shutdown().await;
        let (log, me) = (self.log.clone(), self.me);
        blocking(move || {
            if let Some(vote) = log.vote()?.filter(|vote| leader_of(vote) == Some(me)) {
                log.set_vote(&RaftVote::new(vote.leader_id.term + 1, raft_id(me)))?;
            }
            log.cut(from)
        })
        .await?;
        self.start_core().await
    }
}
