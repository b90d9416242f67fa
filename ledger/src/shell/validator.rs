//! The thread that votes: drives the core's [`Voter`] and carries out its effects in order, disk first.
//!
//! It is a thread of its own because it executes blocks, checks signatures and waits for the disk.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use wallet::{codec, digest::Digest};

use super::{
    fault::Fault,
    raft::{RaftLogId, block_of},
    shared::Shared,
    vote_record::{VoteFile, Votes},
};
use crate::{
    block::{View, Vote},
    event::Entry,
    execute::{Proposal, propose},
    finality::{Conflict, Effect, Final, Input, Refusal, Voter},
};

const TICK: Duration = Duration::from_millis(250);

/// What the thread is told.
pub(crate) enum Message {
    /// The log on the disk changed.
    Log,
    /// From a peer: a vote or a certificate.
    Input(Input),
    /// The leader of `term` wants a block of `candidates`.
    Propose { term: u64, candidates: Vec<Entry>, reply: oneshot::Sender<Result<Box<Proposal>, Vec<Entry>>> },
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
    /// The first raft index that the voter has not been told of.
    pub(crate) next_index: u64,
    /// Generation of the log that it was told of.
    pub(crate) generation: u64,
}

/// A block in the raft log.
pub(crate) struct OpenBlock {
    log_id: RaftLogId,
    digest: Digest,
}

impl Validator {
    /// Works until it is told to stop or something fails.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        if let Err(fault) = self.work(messages) {
            self.shared.fail(fault);
        }
    }

    fn work(&mut self, messages: &Receiver<Message>) -> Result<(), Fault> {
        let mut next_tick = Instant::now();
        loop {
            self.read_log()?;
            self.shared.status.send_replace(self.voter.status());
            let until_tick = next_tick.saturating_duration_since(Instant::now());
            if until_tick.is_zero() {
                next_tick = Instant::now() + TICK;
                let _ = self.step(Input::Tick)?;
                continue;
            }
            let message = match messages.recv_timeout(until_tick) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            match message {
                Message::Log => {}
                Message::Input(input) => {
                    if let Err(refusal) = self.step(input)? {
                        tracing::debug!(%refusal, "finality input refused");
                    }
                }
                Message::Propose { term, candidates, reply } => {
                    self.read_log()?;
                    // The proposer may be gone: then it is no leader any more.
                    let _ = reply.send(self.propose(term, candidates));
                }
                Message::Stop => return Ok(()),
            }
        }
    }

    /// Tells the voter what was cut from the log and what was added to it.
    fn read_log(&mut self) -> Result<(), Fault> {
        let log = self.shared.log.clone();
        let flushed = log.end();
        if flushed.generation != self.generation {
            if let Some(from) = log.cut_since(self.generation) {
                self.open.split_off(&from);
                self.shared.ordered.forget_from(from);
                self.next_index = self.next_index.min(from);
                let _ = self.step(Input::Truncated { from })?;
            }
            self.generation = flushed.generation;
        }
        while flushed.index >= Some(self.next_index) {
            let entries = log.entries_from(self.next_index)?;
            if entries.is_empty() {
                break;
            }
            for stored in entries {
                let log_id = stored.entry.log_id;
                if let Some(block) = block_of(stored.entry) {
                    let digest = block.header.digest();
                    let ids = block.entries.iter().map(Entry::id).collect();
                    self.open.insert(log_id.index, OpenBlock { log_id, digest });
                    let term = log_id.leader_id.term;
                    let input = Input::Flushed { log_index: log_id.index, term, block: Box::new(block) };
                    match self.step(input)? {
                        // Goes on after the next final block.
                        Err(Refusal::TooManyBlocks | Refusal::Halted) => return Ok(()),
                        _ => self.shared.ordered.note(log_id.index, ids),
                    }
                }
                self.next_index = log_id.index + 1;
            }
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<Result<(), Refusal>, Fault> {
        let mut effects = Vec::new();
        let taken = self.voter.step(self.shared.clock.now(), input, &mut effects);
        for effect in effects {
            self.carry_out(effect)?;
        }
        Ok(taken)
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), Fault> {
        match effect {
            Effect::Record(record) => {
                if let Some((_, digest)) = record.highest_finalized()
                    && let Some(block) = self.open.values().find(|block| block.digest == digest)
                {
                    self.votes.finalized_at = self.votes.finalized_at.max(Some(block.log_id));
                }
                self.votes.record = record;
                self.file.save(&self.votes)?;
                self.shared.finalized_at.send_replace(self.votes.finalized_at);
            }
            Effect::Broadcast(vote) => self.shared.broadcast(&vote),
            Effect::Final(finalized) => self.make_final(&finalized)?,
            Effect::SelfCut { from } => self.shared.ask_to_cut(from),
            Effect::AskFor { height } => self.shared.ask_for(height),
            Effect::Equivocation(votes) => self.keep_equivocation(&votes)?,
            Effect::Conflict(conflict) => return Err(self.keep_conflict(&conflict)?),
        }
        Ok(())
    }

    fn make_final(&mut self, finalized: &Final) -> Result<(), Fault> {
        let shared = &self.shared;
        let open = self.open.get(&finalized.log_index);
        let log_id = open
            .ok_or_else(|| Fault::Impossible(format!("raft entry {} became final unseen", finalized.log_index)))?
            .log_id;
        let before = shared.tip.borrow().clone();
        shared.store.commit(finalized, &before, log_id)?;
        shared.log.set_final(log_id.index);
        self.open = self.open.split_off(&(log_id.index + 1));
        shared.ordered.forget_up_to(log_id.index);
        // In this order: who waits for the state may look at the log's final entry next.
        shared.final_at.send_replace(Some(log_id));
        shared.tip.send_replace(Arc::new(finalized.executed.clone()));
        shared.outbox.settle(&finalized.block.entries);
        Ok(())
    }

    fn propose(&self, term: u64, candidates: Vec<Entry>) -> Result<Box<Proposal>, Vec<Entry>> {
        let Some((parent, certificate)) = self.voter.may_propose() else { return Err(candidates) };
        let number = match parent.view {
            View { term: before, .. } if before > term => return Err(candidates),
            View { term: before, number } if before == term => number + 1,
            _ => 1,
        };
        let (view, now) = (View { term, number }, self.shared.clock.now());
        Ok(Box::new(propose(&self.shared.consortium, parent, certificate.cloned(), view, now, candidates)))
    }

    fn keep_equivocation(&self, votes: &[Vote; 2]) -> Result<(), Fault> {
        let node = votes[0].validator;
        tracing::error!(%node, height = %votes[0].ballot.height, "a validator voted for two blocks in one view");
        // The first pair of a node is proof enough.
        self.shared.keep_evidence(&format!("equivocation-{node}"), &codec::encode(votes))
    }

    fn keep_conflict(&self, conflict: &Conflict) -> Result<Fault, Fault> {
        let (name, evidence, fault) = match conflict {
            Conflict::TwoCertificates { ours, theirs } => (
                format!("fork-{}", ours.height),
                codec::encode(&(ours, theirs)),
                Fault::Fork { height: ours.height, ours: ours.block, theirs: theirs.block },
            ),
            Conflict::CertifiedInvalid { certificate, reason } => (
                format!("invalid-{}", certificate.height),
                codec::encode(certificate),
                Fault::CertifiedInvalid { height: certificate.height, reason: reason.to_string() },
            ),
        };
        self.shared.keep_evidence(&name, &evidence)?;
        Ok(fault)
    }
}
