//! The thread that votes: drives the core's [`Voter`] and carries out its effects in order, disk first.
//!
//! It is a thread of its own because it executes blocks, checks signatures and waits for the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::CommittedLeaderId;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};
use wallet::{digest::Digest, identity::PublicKey, units::NodeId};

use super::{
    clock::Clock,
    core::Cut,
    fault::Fault,
    log_store::Link,
    raft::{RaftLogId, raft_id},
    resumption::Custody,
    shared::Shared,
    terms::Candidacy,
    transport::Word,
    vote_record::{VoteFile, Votes},
};
use crate::{
    event::Entry,
    execute::{Proposal, propose_with},
    finality::{Effect, Final, Input, Moment, Refusal, Statements, VoteRecord, Voter},
    planted::planted,
    vote::{SignedGrant, Signer},
};

/// How often the voter is told that time passed.
pub(crate) const TICK: Duration = Duration::from_millis(250);

/// What the thread is told.
pub(crate) enum Message {
    /// The log on the disk changed.
    Log,
    /// Time passed. The voter is told at the right time even if this message is dropped because others wait.
    Tick,
    /// From a peer: a vote or a certificate. From the guard: a complaint.
    Input(Input),
    /// What a peer said, with its share of the messages that may wait.
    Said { input: Input, _share: OwnedSemaphorePermit },
    /// Somebody stands for leader, perhaps this node.
    Candidate { candidate: NodeId, candidacy: Box<Candidacy>, reply: oneshot::Sender<Option<SignedGrant>> },
    /// The leader of `term` wants a block of `candidates`.
    Propose { term: u64, candidates: Vec<Entry>, reply: oneshot::Sender<Result<Box<Proposal>, Vec<Entry>>> },
    /// Somebody asks what this node holds signed by its key.
    Statements { of: NodeId, reply: oneshot::Sender<Statements> },
    /// A peer told what it holds signed by this node's key.
    Heard { from: NodeId, statements: Statements },
    /// The replica shuts down.
    Stop,
}

/// See the module.
pub(crate) struct Validator {
    pub(crate) shared: Arc<Shared>,
    pub(crate) voter: Voter,
    pub(crate) votes: Votes,
    pub(crate) file: VoteFile,
    /// Blocks of the raft log that the voter knows and that are not final.
    pub(crate) open: BTreeMap<u64, OpenBlock>,
    /// The last entry of the raft log when this process started.
    pub(crate) log_at_start: Option<u64>,
    /// The first raft index that the voter has not been told of.
    pub(crate) next_index: u64,
    /// From where on it wants to be told once more.
    pub(crate) reread: Option<u64>,
    /// Generation of the log that it was told of.
    pub(crate) generation: u64,
    /// When the clock of view timers began.
    pub(crate) steady: Instant,
    /// With what it signs once it may: in each epoch with the one that the ledger names.
    pub(crate) keys: Vec<Signer>,
    /// Their public halves: to derive them takes longer than most messages.
    pub(crate) own: Vec<PublicKey>,
    /// Whether it may.
    pub(crate) custody: Custody,
    /// When the voter is told the next time that time passed.
    pub(crate) next_tick: Instant,
    /// For how many ticks the leader of this term was not heard.
    pub(crate) silent_ticks: u32,
    /// The highest term whose leader the voter was told of.
    pub(crate) told_leader_of: u64,
    /// Whether the voter was told that entries wait.
    pub(crate) told_demand: bool,
    /// Since when the leader of a term passes over what waits here.
    pub(crate) passed_over: (u64, Option<Duration>),
    /// What the voter was told of that.
    pub(crate) told_passed_over: (u64, Option<Duration>),
    /// What the voter granted in the step under way.
    pub(crate) granted: Option<SignedGrant>,
}

/// What time it is, with `began` as the beginning of the steady clock.
pub(crate) fn moment(clock: &dyn Clock, began: Instant) -> Moment {
    Moment { wall: clock.now(), steady: began.elapsed() }
}

/// A block in the raft log.
pub(crate) struct OpenBlock {
    pub(super) log_id: RaftLogId,
    pub(super) digest: Digest,
    /// Of its entries.
    pub(super) ids: Arc<[Digest]>,
    /// Whether it came when its time says.
    pub(super) is_timely: bool,
}

impl Validator {
    /// Works on a thread of its own until it is told to stop or something fails.
    pub(crate) fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut next = Some(Message::Log);
        while let Some(message) = next {
            if !self.go_on(message) {
                return;
            }
            next = messages.blocking_recv();
        }
    }

    /// The same as a task, for a simulation. The disk takes its time before the next message.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) async fn run_as_task(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut next = Some(Message::Log);
        while let Some(message) = next {
            if !self.go_on(message) {
                return;
            }
            tokio::time::sleep(super::simulated::disk_latency()).await;
            next = messages.recv().await;
        }
    }

    /// Handles one message: false if it was the last one. Nothing is signed once somebody said why this replica stops.
    fn go_on(&mut self, message: Message) -> bool {
        if self.shared.alarm.raised().is_some() {
            return false;
        }
        self.handle(message).unwrap_or_else(|fault| {
            self.shared.fail(fault);
            false
        })
    }

    fn handle(&mut self, message: Message) -> Result<bool, Fault> {
        match message {
            Message::Log | Message::Tick => {}
            Message::Input(input) => self.take(input)?,
            Message::Said { input, .. } => self.take(input)?,
            Message::Candidate { candidate, candidacy, reply } => {
                self.read_log()?;
                // A candidate that is gone asks again.
                let _ = reply.send(self.grant(candidate, *candidacy)?);
            }
            Message::Propose { term, candidates, reply } => {
                self.read_log()?;
                // The proposer may be gone: then it is no leader any more.
                let _ = reply.send(self.propose(term, candidates));
            }
            Message::Statements { of, reply } => {
                // Who is gone asks again.
                let _ = reply.send(self.held_of(of));
            }
            Message::Heard { from, statements } => self.heard(from, &statements)?,
            Message::Stop => return Ok(false),
        }
        self.read_leader()?;
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.watch_leader()?;
            let _ = self.step(Input::Tick)?;
            self.tell_term();
        }
        self.read_log()?;
        self.read_demand()?;
        self.shared.observed.note_custody(&self.custody);
        self.shared.status.send_replace(self.voter.status());
        Ok(true)
    }

    /// Something that came from outside. What was cut from the log is gone for the voter before it hears more.
    fn take(&mut self, input: Input) -> Result<(), Fault> {
        if self.shared.log.end().generation != self.generation {
            self.read_log()?;
        }
        if let Err(refusal) = self.step(input)? {
            self.shared.observed.hold_back(refusal.name());
            tracing::debug!(%refusal, "finality input refused");
        }
        Ok(())
    }

    /// Tells the voter after a start which block was certified when it last signed something.
    pub(super) fn restore_best(&mut self) -> Result<(), Fault> {
        if let Some(best) = self.votes.best.clone() {
            // One that is no news is refused, which is as well.
            let _ = self.step(Input::Certificate(best))?;
        }
        Ok(())
    }

    /// The voter's answer to a candidate.
    fn grant(&mut self, candidate: NodeId, candidacy: Candidacy) -> Result<Option<SignedGrant>, Fault> {
        let Candidacy { term, permit, parent } = candidacy;
        self.granted = None;
        if let Err(refusal) = self.step(Input::Candidate { term, candidate, permit, parent })? {
            tracing::info!(node = %candidate, term, %refusal, "candidate refused");
        }
        Ok(self.granted.take())
    }

    pub(super) fn step(&mut self, input: Input) -> Result<Result<(), Refusal>, Fault> {
        self.check_input(&input)?;
        let mut effects = Vec::new();
        let taken = self.voter.step(moment(&*self.shared.clock, self.steady), input, &mut effects);
        // A later record holds what the ones before it do: one write is enough, before anything leaves. But not one that
        // knows of a final block before that is on the disk: it forgets what made the block final.
        let mut effects = effects.into_iter().peekable();
        while effects.peek().is_some() {
            let mut until_final = Vec::new();
            while let Some(effect) = effects.next_if(|effect| !matches!(effect, Effect::Final(_))) {
                until_final.push(effect);
            }
            let mut last = until_final.iter().rev().find_map(|effect| match effect {
                Effect::Record(record) => Some(record.clone()),
                _ => None,
            });
            for effect in until_final {
                match effect {
                    Effect::Record(_) => {
                        if let Some(record) = last.take() {
                            self.write_record(record)?;
                        }
                    }
                    effect => self.carry_out(effect)?,
                }
            }
            if let Some(finalized) = effects.next() {
                self.carry_out(finalized)?;
            }
        }
        Ok(taken)
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Fault> {
        match effect {
            Effect::Record(record) => self.write_record(record)?,
            Effect::Broadcast(vote) => self.shared.lines.broadcast(&Word::Vote(vote)),
            Effect::BroadcastNullify { vote, best } => self.shared.lines.broadcast(&Word::Nullify { vote, best }),
            Effect::Entered { term, permit } => {
                tracing::info!(term, "entered a term");
                self.silent_ticks = 0;
                self.shared.terms.enter(term, permit.into());
            }
            Effect::Began { epoch, term } => {
                tracing::info!(epoch, term, "the validators of the next epoch vote from here on");
                self.silent_ticks = 0;
                self.shared.terms.enter(term, None);
                self.take_up_key();
            }
            Effect::Campaign { term, permit, parent } => {
                self.shared.campaign.send_replace(Some(Candidacy { term, permit, parent }));
            }
            Effect::Grant(grant) => self.granted = Some(grant),
            Effect::Final(finalized) => self.make_final(&finalized)?,
            Effect::SelfCut { from } => self.shared.ask_to_cut(Cut { from, generation: self.generation }),
            Effect::ReadAgain { from } => self.reread = Some(self.reread.map_or(from, |reread| reread.min(from))),
            Effect::AskFor { height } => self.shared.ask_for(height),
            Effect::Evidence(evidence) => self.shared.keep_proof(&evidence)?,
            Effect::OldFork(certificates) => self.shared.keep_fork(&certificates[0], &certificates[1])?,
            Effect::Conflict(conflict) => return Err(self.shared.keep_conflict(&conflict)?),
        }
        Ok(())
    }

    fn write_record(&mut self, record: VoteRecord) -> Result<(), Fault> {
        if let Some((_, digest)) = record.highest_finalized()
            && let Some(block) = self.open.values().find(|block| block.digest == digest)
        {
            self.votes.finalized_at = self.votes.finalized_at.max(Some(block.log_id));
        }
        self.votes.record = record;
        self.votes.best = self.voter.best_certificate().cloned();
        if !planted!(VoteRecordNotWritten) {
            self.save_votes()?;
        }
        self.shared.finalized_at.send_replace(self.votes.finalized_at);
        Ok(())
    }

    /// Puts the record on the disk, and how long the log was then.
    pub(super) fn save_votes(&mut self) -> Result<(), Fault> {
        self.votes.log = self.shared.log.end();
        self.file.save(&self.votes)
    }

    fn make_final(&mut self, finalized: &Final) -> Result<(), Fault> {
        let shared = &self.shared;
        let open = self.open.get(&finalized.log_index);
        let OpenBlock { log_id, ids, is_timely, .. } =
            open.ok_or_else(|| Fault::Impossible(format!("raft entry {} became final unseen", finalized.log_index)))?;
        let (log_id, ids, is_timely) = (*log_id, ids.clone(), *is_timely);
        let before = shared.tip.borrow().clone();
        // First of all, so that nobody cuts meanwhile what becomes final.
        shared.log.set_final(log_id)?;
        shared.store.commit(finalized, &before, log_id)?;
        shared.log.note_final(log_id);
        self.open = self.open.split_off(&(log_id.index + 1));
        shared.ordered.forget_up_to(log_id.index);
        // In this order: who waits for the state may look at the log's final entry next.
        shared.final_at.send_replace(Some(log_id));
        let now = Arc::new(finalized.executed.clone());
        shared.pins.note(&before, &now);
        shared.tip.send_replace(now);
        shared.check_promises(finalized, &before)?;
        shared.outbox.settle(&ids);
        shared.observed.note_final(ids.len());
        self.judge_leader(&finalized.block, is_timely);
        self.look_for_resumption(finalized)?;
        self.note_recovery();
        Ok(())
    }

    fn propose(&self, term: u64, candidates: Vec<Entry>) -> Result<Box<Proposal>, Vec<Entry>> {
        // The block names what is before it in the raft log. Nobody but this leader writes there, one block at a time,
        // so that is the log's end, once it holds the first entry of the term.
        let leads = |link: &Link| link.log_id.leader_id == CommittedLeaderId::new(term, raft_id(self.shared.me));
        let Some(end) = self.shared.log.last().filter(leads) else { return Err(candidates) };
        let Some((place, signer)) = self.voter.may_propose(term, end.chain).zip(self.voter.signer()) else {
            return Err(candidates);
        };
        if !self.votes.record.may_lead(term) {
            return Err(candidates);
        }
        let Some(due) = self.shared.promises.begin(place.view) else {
            tracing::debug!(view = ?place.view, "a block of this view was proposed before: not again");
            return Err(candidates);
        };
        let mut due: Vec<Entry> =
            due.into_iter().filter(|entry| place.parent.state.entry(entry.id()).is_none()).collect();
        let candidates = if due.is_empty() {
            candidates
        } else {
            let first: BTreeSet<Digest> = due.iter().map(Entry::id).collect();
            due.extend(candidates.into_iter().filter(|entry| !first.contains(&entry.id())));
            due
        };
        let (now, checks) = (self.shared.clock.now(), &*self.shared.checks);
        let proposal = propose_with(&self.shared.consortium, place, signer, now, candidates, checks);
        checks.note_proposal(proposal.block.clone(), proposal.executed.clone());
        Ok(Box::new(proposal))
    }
}
