//! What a node does with what arrives, and what must hold of what it says.

use super::*;
use crate::vote::Statement;

impl World {
    pub(super) fn input(&mut self, node: usize, input: Input) {
        let mut effects = Vec::new();
        let now = self.moment();
        // A refusal is an answer.
        let _ = self.nodes[node].voter.step(now, input, &mut effects);
        for effect in effects {
            self.carry_out(node, effect);
        }
    }

    pub(super) fn carry_out(&mut self, node: usize, effect: Effect) {
        let honest = self.lie_of(node).is_none();
        match effect {
            Effect::Record(record) => self.nodes[node].record = record,
            Effect::Broadcast(vote) => {
                if honest {
                    self.assert_is_a_validators(node, &vote);
                    self.note_vote(node, &vote.statement);
                }
                self.broadcast(node, &Message::Vote(vote));
            }
            Effect::BroadcastNullify { vote, best } => {
                if honest {
                    self.assert_is_a_validators(node, &vote);
                    self.note_nullify(node, vote.statement);
                }
                self.broadcast(node, &Message::Nullify(vote, best));
            }
            Effect::Entered { .. } | Effect::Began { .. } => {
                (self.nodes[node].leads, self.nodes[node].standing) = (None, None);
            }
            Effect::Campaign { term, permit, parent } => self.stand(node, term, permit, parent),
            Effect::Grant(grant) => {
                if honest {
                    self.assert_is_a_validators(node, &grant);
                }
                let to = usize::try_from(grant.statement.candidate.get()).expect("few nodes");
                self.send(node, to, Message::Grant(grant));
            }
            Effect::Final(block) => self.finalize(node, *block),
            Effect::SelfCut { from } => {
                let keep = usize::try_from(from).expect("small") - 1;
                self.nodes[node].log.truncate(keep);
                self.input(node, Input::Truncated { from });
            }
            Effect::ReadAgain { from } => {
                let first = usize::try_from(from).expect("small") - 1;
                let again: Vec<LogEntry> = self.nodes[node].log.drain(first..).collect();
                again.into_iter().for_each(|entry| self.flush(node, entry));
            }
            Effect::AskFor { height } => {
                let others = self.others(node);
                let to = others[usize::try_from(self.dice.below(others.len() as u64)).expect("small")];
                self.send(node, to, Message::Ask(height.get()));
            }
            Effect::Evidence(evidence) => {
                let culprits = evidence.verify_in(&self.chain.consortium, &self.sets).expect("evidence holds");
                let liar = self.liar.map(|(liar, _)| Self::id(liar));
                assert!(culprits.iter().all(|culprit| Some(culprit.node) == liar), "{evidence:?}");
            }
            Effect::OldFork(certificates) => panic!("node {node}: {certificates:?}"),
            Effect::Conflict(conflict) => panic!("node {node}: {conflict:?}"),
        }
    }

    /// No honest node ever contradicts itself.
    pub(super) fn note_vote(&mut self, node: usize, ballot: &Ballot) {
        let first = *self.votes.entry((node, ballot.view)).or_insert(ballot.block);
        assert_eq!(first, ballot.block, "node {node} voted twice in {:?}", ballot.view);
        if ballot.kind == VoteKind::Finalize {
            let given_up = self.given_up.get(&node).into_iter().flatten();
            assert!(
                given_up.into_iter().all(|nullify| !nullify.covers(ballot.view)),
                "node {node} at {:?}",
                ballot.view
            );
            self.finalized.entry(node).or_default().insert(ballot.view);
        }
    }

    pub(super) fn note_nullify(&mut self, node: usize, nullify: Nullify) {
        let finalized = self.finalized.get(&node).into_iter().flatten();
        assert!(finalized.into_iter().all(|view| !nullify.covers(*view)), "node {node}: {nullify:?}");
        self.given_up.entry(node).or_default().push(nullify);
    }

    /// One final block at each height.
    pub(super) fn finalize(&mut self, node: usize, block: Final) {
        if self.lie_of(node).is_none() {
            assert!(!block.executed.is_closed() || block.executed.is_closing(), "a carrier is no part of the chain");
            if block.executed.is_closing() && self.sets.last().epoch < block.executed.validators().epoch {
                let proof = ClosingProof { certificate: block.certificate.clone(), carriers: block.carriers.clone() };
                let (closing, next) = (block.block.header.clone(), block.executed.validators());
                let hand_over = HandOver { closing, proof, next, re_genesis: None };
                self.sets.take(&hand_over).expect("an old quorum hands over");
            }
            let height = block.executed.height.get();
            let canon = *self.canon.entry(height).or_insert(block.executed.digest);
            assert_eq!(canon, block.executed.digest, "two final blocks at height {height}");
        }
        self.nodes[node].finals.push(block);
    }

    pub(super) fn take(&mut self, from: usize, to: usize, message: Message) {
        if self.cut_off.contains(&from) || self.cut_off.contains(&to) {
            return;
        }
        match message {
            Message::Vote(vote) => self.input(to, Input::Vote(vote)),
            Message::Nullify(vote, best) => {
                if let Some(best) = best {
                    self.input(to, Input::Certificate(best));
                }
                self.input(to, Input::Nullify(vote));
            }
            Message::Candidate { term, permit, parent } => {
                self.input(to, Input::Candidate { term, candidate: Self::id(from), permit, parent });
            }
            Message::Grant(grant) => self.granted(to, grant),
            Message::Append { term, permit, log } => self.append(from, to, term, permit, &log),
            Message::Ask(height) => {
                let from_height = usize::try_from(height).expect("small").saturating_sub(1);
                let finals: Vec<&Final> = self.nodes[to].finals.iter().skip(from_height).take(8).collect();
                let until =
                    finals.iter().position(|block| block.executed.is_closing()).map_or(finals.len(), |at| at + 1);
                let Some(last) = finals[..until].last() else { return };
                let length = usize::try_from(last.log_index).expect("small");
                let log = self.nodes[to].log[..length].to_vec();
                let (certificate, carriers) = (last.certificate.clone(), last.carriers.clone());
                let closing = last.executed.is_closing().then_some(ClosingProof { certificate, carriers });
                let certificates = finals[..until].iter().map(|block| block.certificate.clone()).collect();
                self.send(to, from, Message::Finals { certificates, closing, log });
            }
            Message::Finals { certificates, closing, log } => {
                // What a quorum made final proves the log before it.
                self.take_over(to, &log);
                certificates.into_iter().for_each(|certificate| self.input(to, Input::Certificate(certificate)));
                if let Some(proof) = closing {
                    self.input(to, Input::Closing(Box::new(proof)));
                }
            }
        }
    }

    /// What raft and its guard do with a proven leader's log.
    pub(super) fn append(
        &mut self,
        from: usize,
        to: usize,
        term: u64,
        permit: Option<Nullification>,
        log: &[LogEntry],
    ) {
        if let Some(permit) = permit.clone() {
            self.input(to, Input::Nullification(permit));
        }
        // Who leads another epoch, only its own validators can say.
        if self.nodes[to].voter.term() > term || self.nodes[to].voter.epoch() != epoch_of(term) {
            return;
        }
        self.input(to, Input::Leads { term, leader: Self::id(from) });
        let own = &self.nodes[to].log;
        let same = own.iter().zip(log).take_while(|(own, leaders)| own.chain == leaders.chain).count();
        let final_index =
            self.nodes[to].finals.last().map_or(0, |last| usize::try_from(last.log_index).expect("small"));
        if same == log.len() || same < final_index {
            return;
        }
        let keeps = |entry: &LogEntry| {
            let view = entry.block.header.view;
            let signed = self.nodes[to].record.has_signed(&Ballot::for_header(VoteKind::Finalize, &entry.block.header));
            let covered =
                permit.as_ref().is_some_and(|permit| permit.votes.iter().all(|vote| vote.statement.covers(view)));
            signed && !covered
        };
        if own.iter().skip(same).any(keeps) {
            return;
        }
        if same < own.len() {
            self.nodes[to].log.truncate(same);
            self.input(to, Input::Truncated { from: same as u64 + 1 });
        }
        for entry in &log[same..] {
            self.flush(to, entry.clone());
        }
    }

    /// No honest node signs where it has no vote.
    fn assert_is_a_validators<S: Statement>(&self, node: usize, signed: &Signed<S>) {
        let set = self.sets.of(signed.statement.epoch()).expect("an epoch that began");
        assert_eq!(signed.verify(set, &self.chain.consortium.id()), Ok(()), "node {node}");
    }

    /// Puts a log into the place of the own one above what is final, if they have that in common.
    fn take_over(&mut self, node: usize, log: &[LogEntry]) {
        let own = &self.nodes[node].log;
        let same = own.iter().zip(log).take_while(|(own, other)| own.chain == other.chain).count();
        let last = self.nodes[node].finals.last();
        if same == log.len() || last.is_some_and(|last| (same as u64) < last.log_index) {
            return;
        }
        if same < own.len() {
            self.nodes[node].log.truncate(same);
            self.input(node, Input::Truncated { from: same as u64 + 1 });
        }
        for entry in &log[same..] {
            self.flush(node, entry.clone());
        }
    }

    pub(super) fn flush(&mut self, node: usize, entry: LogEntry) {
        let after = self.nodes[node].log.last().map_or(Digest::ZERO, |last| last.chain);
        let header = &entry.block.header;
        let (term, leader) = (header.view.term, header.leader);
        let block = Box::new(entry.block.clone());
        self.nodes[node].log.push(entry);
        let log_index = self.nodes[node].log.len() as u64;
        self.input(node, Input::Flushed { log_index, term, leader, after, block });
    }

    /// A node comes back with what was durable.
    pub(super) fn restart(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let (tip, certificate, carriers) = match state.finals.last() {
            Some(last) => (last.executed.clone(), Some(last.certificate.clone()), last.carriers.clone()),
            None => (self.chain.tip.clone(), None, Vec::new()),
        };
        let final_index = state.finals.last().map_or(0, |last| usize::try_from(last.log_index).expect("small"));
        let now = after_ms(self.now_ms);
        let record = state.record.clone();
        let signers = state.signers.clone();
        let voter = Voter::new(self.chain.consortium.clone(), signers, tip, certificate, record, now);
        state.voter = voter.with_carriers(carriers);
        (state.leads, state.standing, state.permit) = (None, None, None);
        state.grants.clear();
        let log: Vec<LogEntry> = state.log.drain(final_index..).collect();
        self.input(node, Input::Demand(true));
        log.into_iter().for_each(|entry| self.flush(node, entry));
    }
}
