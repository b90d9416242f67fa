//! What the voting thread looks at between messages, and tells the voter of: the log, the leader, and what waits.

use std::{sync::Arc, time::Duration};

use wallet::{digest::Digest, units::NodeId};

use super::{
    fault::Fault,
    raft::{block_of, node_id},
    validator::{OpenBlock, TICK, Validator},
};
use crate::{
    event::Entry,
    finality::{Input, Refusal},
};

impl Validator {
    /// Tells the voter what was cut from the log and what was added to it.
    pub(super) fn read_log(&mut self) -> Result<(), Fault> {
        let log = self.shared.log.clone();
        let flushed = log.end();
        if flushed.generation != self.generation {
            if let Some(from) = log.cut_since(self.generation) {
                self.open.split_off(&from);
                self.shared.ordered.forget_from(from);
                self.next_index = self.next_index.min(from);
                if self.votes.finalized_at.is_some_and(|at| from <= at.index) {
                    // Its contradiction is final (see `Effect::SelfCut`), or its view is over (see `guard`).
                    self.votes.finalized_at = None;
                    self.save_votes()?;
                    self.shared.finalized_at.send_replace(None);
                }
                let _ = self.step(Input::Truncated { from })?;
            }
            self.generation = flushed.generation;
        }
        loop {
            if let Some(from) = self.reread.take() {
                self.next_index = self.next_index.min(from);
            }
            if flushed.index() < Some(self.next_index) {
                break;
            }
            let mut after = match self.next_index.checked_sub(1) {
                Some(before) => log.link(before)?.map_or(Digest::ZERO, |link| link.chain),
                None => Digest::ZERO,
            };
            let entries = log.entries_from(self.next_index)?;
            if entries.is_empty() {
                break;
            }
            for stored in entries {
                let log_id = stored.entry.log_id;
                if let Some(block) = block_of(stored.entry) {
                    let digest = block.header.digest();
                    let ids: Arc<[Digest]> = block.entries.iter().map(Entry::id).collect();
                    let is_timely = self.is_timely(&block);
                    // What the log held at the start says nothing about today's clock.
                    if Some(log_id.index) > self.log_at_start {
                        self.shared.observed.note_block_time(block.header.time, self.shared.clock.now());
                    }
                    self.open.insert(log_id.index, OpenBlock { log_id, digest, ids: ids.clone(), is_timely });
                    let term = log_id.leader_id.term;
                    // An id that no node has is of no leader either.
                    let leader = node_id(log_id.leader_id.node_id).unwrap_or(NodeId::new(u32::MAX));
                    let input = Input::Flushed { log_index: log_id.index, term, leader, after, block: Box::new(block) };
                    match self.step(input)? {
                        // Goes on after the next final block.
                        Err(Refusal::TooManyBlocks | Refusal::Halted) => return Ok(()),
                        _ => self.shared.ordered.note(log_id.index, ids.iter().copied().collect()),
                    }
                }
                self.next_index = log_id.index + 1;
                after = stored.chain;
            }
        }
        Ok(())
    }

    /// Tells the voter who leads.
    pub(super) fn read_leader(&mut self) -> Result<(), Fault> {
        let Some(proof) = self.shared.terms.leads() else { return Ok(()) };
        let (term, leader) = (proof.leadership.term, proof.leadership.leader);
        if term > self.told_leader_of {
            self.told_leader_of = term;
            self.silent_ticks = 0;
            if let Some(permit) = &proof.permit {
                let _ = self.step(Input::Nullification(permit.clone()))?;
            }
            let _ = self.step(Input::Leads { term, leader })?;
        }
        Ok(())
    }

    /// Lets the shell know of a term that the voter entered because of a block, and of a permit that it found later.
    pub(super) fn tell_term(&self) {
        let (term, known) = (self.voter.term(), self.shared.terms.entered());
        if term > known.term || (term == known.term && known.permit.is_none()) {
            self.shared.terms.enter(term, self.voter.permit());
        }
    }

    /// Tells the voter when entries begin to wait or to be passed over, and when none are any more.
    pub(super) fn read_demand(&mut self) -> Result<(), Fault> {
        let demand = self.shared.has_demand();
        if demand != self.told_demand {
            self.told_demand = demand;
            let _ = self.step(Input::Demand(demand))?;
        }
        if self.passed_over.1.is_some() {
            // What was passed over may be final or refused by now.
            self.look_at_what_waits(self.passed_over.0);
        }
        if self.passed_over != self.told_passed_over {
            self.told_passed_over = self.passed_over;
            let (term, since) = self.passed_over;
            let _ = self.step(Input::PassedOver { term, since })?;
        }
        Ok(())
    }

    /// Complains of a leader that is not heard any more. Time counts by ticks, so that a node that was itself stopped
    /// for a while does not take that for the leader's silence.
    pub(super) fn watch_leader(&mut self) -> Result<(), Fault> {
        let shared = self.shared.clone();
        let term = shared.terms.entered().term;
        let is_led = shared.terms.proof_of(term).is_some();
        if !is_led || shared.leads_in(term) || shared.heard.take(term) {
            self.silent_ticks = 0;
            return Ok(());
        }
        self.silent_ticks += 1;
        let silence = TICK.saturating_mul(self.silent_ticks);
        if silence > Duration::from_millis(shared.consortium.parameters().leader_timeout_ms) {
            tracing::warn!(term, ?silence, "the leader is silent");
            self.silent_ticks = 0;
            let _ = self.step(Input::Complaint { term })?;
        }
        Ok(())
    }
}
