//! Terms: giving one up, entering the next, and who led those that failed.

use std::{collections::VecDeque, time::Duration};

use genesis::ValidatorSet;
use wallet::units::NodeId;

use super::{
    Voter,
    port::{Complaint, Effect},
    stages::{Outcome, Staged},
};
use crate::{
    block::{TERMS_PER_EPOCH, View, epoch_of},
    certificate::Certificate,
};

/// A late block that gets no certificate is complained of at this tick.
pub(super) const LATE_TICKS: u32 = 2;

/// Where a node stands between terms.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    term: u64,
    /// When it was entered, by the steady clock.
    entered_at: Duration,
    /// Who leads it.
    leader: Option<NodeId>,
    /// Leaders whose terms failed, each with the last such term: the latest last.
    failed: VecDeque<(u64, NodeId)>,
    /// The guard saw the leader of this term lie.
    guard: Option<u64>,
    /// Why this node gave the term up.
    complaint: Option<Complaint>,
    /// The term in which this node last stood for leader, and on which parent's view.
    pub(super) stood: Option<(u64, View)>,
}

impl Terms {
    pub(super) fn new(term: u64, now: Duration) -> Self {
        let failed = VecDeque::new();
        Self { term, entered_at: now, leader: None, failed, guard: None, complaint: None, stood: None }
    }

    /// Goes to the first term of the next epoch, in which these vote. Who stays and was barred remains so for as many
    /// terms as before.
    pub(super) fn begin_epoch(&mut self, validators: &ValidatorSet, now: Duration) {
        let term = View::first_term(validators.epoch);
        let mut failed = std::mem::take(&mut self.failed);
        failed.retain(|(_, node)| validators.key(*node).is_some());
        failed.drain(..failed.len().saturating_sub(validators.faults_max()));
        failed.iter_mut().for_each(|(failed, _)| *failed = term.saturating_sub(self.term.saturating_sub(*failed)));
        *self = Self { failed, ..Self::new(term, now) };
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub(super) fn complaint(&self) -> Option<Complaint> {
        self.complaint
    }

    pub(super) fn guard_complained(&mut self, term: u64) {
        if term == self.term {
            self.guard = Some(term);
        }
    }

    pub(super) fn complained(&mut self, why: Complaint) {
        self.complaint.get_or_insert(why);
    }

    /// Bars the leader of the term that is left, and at most as many others as may be faulty.
    fn enter(&mut self, term: u64, now: Duration, barred_max: usize) {
        if let Some(leader) = self.leader.take() {
            self.failed.retain(|(_, other)| *other != leader);
            self.failed.push_back((self.term, leader));
            while self.failed.len() > barred_max {
                self.failed.pop_front();
            }
        }
        (self.term, self.entered_at) = (term, now);
        (self.guard, self.complaint) = (None, None);
    }

    /// Whether the node may not lead this term.
    pub(super) fn is_barred(&self, node: NodeId, validators: &ValidatorSet) -> bool {
        let terms = 2 * validators.members.len() as u64;
        self.failed.iter().any(|(failed, other)| *other == node && self.term <= failed.saturating_add(terms))
    }

    /// How long after this node entered the term it is the turn of `node`, with `step` between two turns. The turns
    /// begin with another node in each term, and in the first term of each epoch, and pass over those that are barred.
    /// None for a node without a turn.
    fn turn(&self, node: NodeId, validators: &ValidatorSet, step: Duration) -> Option<Duration> {
        let count = validators.members.len();
        let turns = (self.term % TERMS_PER_EPOCH).saturating_add(epoch_of(self.term));
        let first = usize::try_from(turns % count.max(1) as u64).ok()?;
        let order = validators.members.iter().cycle().skip(first).take(count).map(|(member, _)| *member);
        let rank = order.filter(|member| !self.is_barred(*member, validators)).position(|member| member == node)?;
        Some(step.saturating_mul(u32::try_from(rank).ok()?))
    }

    /// Whether the turn of `node` has come.
    pub(super) fn is_turn(&self, node: NodeId, validators: &ValidatorSet, step: Duration, now: Duration) -> bool {
        let turn = self.turn(node, validators, step);
        turn.is_some_and(|turn| now.saturating_sub(self.entered_at) >= turn)
    }
}

impl Voter {
    /// Goes to the next term once a quorum gave up all before it.
    pub(super) fn enter_term(&mut self) {
        let Some(term) = self.nullifies.through(self.quorum()).and_then(|through| through.checked_add(1)) else {
            return;
        };
        if term <= self.terms.term() {
            return;
        }
        let Some(permit) = self.nullifies.permit(term, self.quorum()) else { return };
        // So that nobody is left behind who waits for this node's word, too.
        self.give_up(term - 1, Complaint::Others);
        self.go_to(term);
        self.effects.push(Effect::Entered { term, permit });
    }

    /// A block of `term` was executed: it carries the permit, or its parent did.
    pub(super) fn arrive(&mut self, term: u64) {
        if term > self.terms.term() {
            self.go_to(term);
        }
    }

    /// A quorum granted `term` to `leader`, as the shell has verified: so it gave up all terms before.
    pub(super) fn leads(&mut self, term: u64, leader: NodeId) {
        if self.of_this_epoch(epoch_of(term)).is_err() {
            return;
        }
        self.enter_term();
        if term > self.terms.term() {
            self.give_up(term - 1, Complaint::Replaced);
            self.go_to(term);
        }
        if term == self.terms.term() && self.terms.leader.replace(leader) != Some(leader) {
            self.timer.progress(self.now.steady);
        }
    }

    fn go_to(&mut self, term: u64) {
        if self.terms.leader.is_none() {
            self.terms.leader = self.stages.leader_of(self.terms.term());
        }
        if self.tip.view.term < self.terms.term() {
            self.timer.term_failed();
        }
        let barred_max = self.validators().faults_max();
        self.terms.enter(term, self.now.steady, barred_max);
        self.timer.progress(self.now.steady);
        self.timer.passed_over(None);
        self.record.enter(term);
    }

    /// Gives up the rest of the term, or of later ones, if there is a reason to. Whether it did.
    pub(super) fn complain(&mut self) -> bool {
        let (term, given_up) = (self.terms.term(), self.record.nullified_through());
        self.timer.observe(self.is_due(), self.now.steady);
        let enough = self.validators().faults_max() + 1;
        if let Some(through) = self.nullifies.through(enough).filter(|through| *through >= term)
            && given_up.is_none_or(|given_up| given_up < through)
        {
            return self.give_up(through, Complaint::Others);
        }
        if given_up.is_some_and(|given_up| given_up >= term) {
            return false;
        }
        let of_term = || self.stages.iter().map(|(_, staged)| staged).filter(|staged| staged.term == term);
        let why = if self.terms.guard == Some(term) {
            Complaint::Guard
        } else if of_term().any(|staged| staged.refused().is_some()) {
            Complaint::InvalidBlock
        } else if of_term().any(|staged| staged.ticks >= LATE_TICKS && self.is_late(staged) && self.is_open(staged)) {
            Complaint::LateBlock
        } else if self.timer.ran_out(&self.parameters, self.now.steady) {
            Complaint::TimeUp
        } else if self.timer.passes_over_too_long(&self.parameters, self.now.steady) {
            Complaint::PassedOver
        } else {
            return false;
        };
        self.give_up(term, why)
    }

    /// Whether somebody owes the consortium something: a block is open, entries wait, or nothing is final in this term.
    fn is_due(&self) -> bool {
        let open = |staged: &Staged| staged.refused().is_none();
        self.demand
            || self.tip.view.term < self.terms.term()
            || !self.certified.is_empty()
            || self.stages.iter().any(|(_, staged)| open(staged))
    }

    fn is_open(&self, staged: &Staged) -> bool {
        let certificate: Option<&Certificate> = self.certificate_of(staged.header.view, &staged.digest);
        matches!(staged.outcome, Outcome::Executed(..)) && certificate.is_none()
    }

    /// Whether its time lagged the clock when it came, by more than it may and than the network is slow.
    pub(super) fn is_late(&self, staged: &Staged) -> bool {
        let parameters = &self.parameters;
        let extra_ms = u64::try_from(self.timer.extra_patience(parameters).as_millis()).unwrap_or(u64::MAX);
        let limit = parameters.clock_behind_ms.saturating_add(extra_ms);
        staged.header.time.get().saturating_add(limit) < staged.arrived.get()
    }
}
