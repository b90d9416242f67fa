//! Who leads a term, and where the leader's blocks go.

use std::time::Duration;

use wallet::{digest::Digest, units::NodeId};

use super::{Refusal, Voter, port::Effect};
use crate::{
    block::{View, epoch_of},
    certificate::{Certificate, Nullification},
    execute::{Executed, Place},
    vote::{Grant, Signed},
};

/// On what a leader builds.
struct Base<'a> {
    /// A block of the own log.
    parent: &'a Executed,
    /// After which view the leader's block stands: the parent's, or the start of the epoch.
    stands: View,
    /// Of the parent.
    certificate: Option<&'a Certificate>,
    /// Why a block of the term may follow it.
    skipped: Option<Nullification>,
}

impl Voter {
    /// Where the leader of `term` puts its next block: on the final block of the term, or, as the first of the term, on
    /// the highest certified one that a quorum's nullify votes reach back to. `after` is the chain hash of the log to
    /// which the block will be appended. None while a block of the term is open, or this node gave the term up.
    pub fn may_propose(&self, term: u64, after: Digest) -> Option<Place> {
        let open = self.stages.iter().any(|(_, staged)| staged.refused().is_none() && staged.header.view.term >= term);
        let behind = self.certified.keys().any(|view| view.term >= term);
        let over = self.record.nullified_through().is_some_and(|through| through >= term);
        let changing = self.cutting.is_some() || self.rereading.is_some();
        if self.halted || changing || term != self.terms.term() || open || behind || over {
            return None;
        }
        let (tip, certificate, stands) = (&self.tip, self.tip_certificate.as_ref(), self.tip_view());
        let Base { parent, stands, certificate, skipped } = if self.tip.view.term == term {
            Base { parent: tip, stands, certificate, skipped: None }
        } else {
            self.base(term)?
        };
        let view = stands.next_in(term)?;
        let carriers = if parent.digest == tip.digest { self.tip_carriers.clone() } else { Vec::new() };
        Some(Place { parent: parent.clone(), certificate: certificate.cloned(), carriers, skipped, view, after })
    }

    /// On what the first block of `term` may stand: the highest possible.
    fn base(&self, term: u64) -> Option<Base<'_>> {
        let mut certified: Vec<(&Executed, Option<&Certificate>)> = self
            .stages
            .executed()
            .filter_map(|(_, _, executed)| {
                Some((executed, Some(self.certificate_of(executed.view, &executed.digest)?)))
            })
            .collect();
        certified.sort_by_key(|(executed, _)| executed.view);
        certified.insert(0, (&self.tip, self.tip_certificate.as_ref()));
        let fitting = certified.into_iter().rev().filter(|(parent, _)| parent.view.term < term);
        let start = View::start_of(self.epoch());
        fitting.into_iter().find_map(|(parent, certificate)| {
            let stands = parent.view.max(start);
            if stands == start && term == View::first_term(self.epoch()) {
                return Some(Base { parent, stands, certificate, skipped: None });
            }
            let skipped = self.nullifies.bridge(stands, term, self.quorum())?;
            Some(Base { parent, stands, certificate, skipped: Some(skipped) })
        })
    }

    /// Stands for leader when it is this node's turn and it can show on what it would build. Once, and again when it can
    /// build on more.
    pub(super) fn campaign(&mut self) {
        let (term, now) = (self.terms.term(), self.now.steady);
        let Some(me) = self.signer.as_ref().map(|signer| signer.node) else { return };
        let over = self.record.nullified_through().is_some_and(|through| through >= term);
        if over || self.terms.leader().is_some() || self.cutting.is_some() || self.rereading.is_some() {
            return;
        }
        if !self.terms.is_turn(me, self.validators(), self.turn_step(), now) {
            return;
        }
        let Some(Base { stands: view, certificate, skipped: permit, .. }) = self.base(term) else { return };
        let parent = certificate.filter(|_| view > View::start_of(self.epoch())).cloned();
        if self.terms.stood.is_some_and(|stood| stood >= (term, view)) {
            return;
        }
        self.terms.stood = Some((term, view));
        self.effects.push(Effect::Campaign { term, permit, parent });
    }

    /// Answers a node that wants to lead a term.
    pub(super) fn candidate(
        &mut self,
        term: u64,
        candidate: NodeId,
        permit: Option<&Nullification>,
        parent: Option<Certificate>,
    ) -> Result<(), Refusal> {
        if term < self.terms.term() {
            return Err(Refusal::TermOver { term: self.terms.term() });
        }
        self.of_this_epoch(epoch_of(term))?;
        let (view, first) = (self.parent_view(parent)?, View::first_term(self.epoch()));
        match permit {
            None if term == first && view == View::start_of(self.epoch()) => {}
            Some(permit) if term > first && view.term < term && permit.bridges(view, term) => {
                self.nullification(permit)?;
                self.enter_term();
            }
            _ => return Err(Refusal::NotPermitted),
        }
        if term != self.terms.term() {
            return Err(Refusal::TermOver { term: self.terms.term() });
        }
        if view < self.tip_view() {
            return Err(Refusal::ParentBehind { parent: view, tip: self.tip_view() });
        }
        if self.terms.is_barred(candidate, self.validators()) {
            return Err(Refusal::Barred { candidate });
        }
        if !self.terms.is_turn(candidate, self.validators(), self.turn_step(), self.now.steady) {
            return Err(Refusal::NotItsTurn { candidate });
        }
        self.grant(term, candidate)
    }

    /// The view of a candidate's parent, once its certificate is found valid.
    fn parent_view(&mut self, parent: Option<Certificate>) -> Result<View, Refusal> {
        let Some(parent) = parent else { return Ok(View::start_of(self.epoch())) };
        let view = parent.view;
        let known = |held: &Certificate| (held.view, held.height, held.block) == (view, parent.height, parent.block);
        let is_tip = self.tip_certificate.as_ref().is_some_and(known);
        if !is_tip && !self.certified.get(&view).is_some_and(known) {
            parent.verify(self.validators(), &self.tip.name)?;
            match self.certificate(parent) {
                // Valid, and only too far up to be kept: a node that is behind may still say whom it follows.
                Err(Refusal::BeyondWindow { .. }) => {}
                taken => taken?,
            }
        }
        Ok(view)
    }

    fn grant(&mut self, term: u64, candidate: NodeId) -> Result<(), Refusal> {
        let over = self.record.nullified_through().is_some_and(|through| through >= term);
        let led_by_other = self.terms.leader().is_some_and(|leader| leader != candidate);
        let Some(signer) = self.signer.clone().filter(|_| !over && !led_by_other && !self.halted) else {
            return Err(Refusal::NotGranted { term });
        };
        let before = self.record.clone();
        self.record.grant(term, candidate)?;
        if self.record != before {
            self.effects.push(Effect::Record(self.record.clone()));
        }
        let (consortium, epoch) = (self.tip.name, self.validators().epoch);
        let grant = Signed::sign(Grant { consortium, epoch, term, candidate }, &signer);
        self.effects.push(Effect::Grant(grant));
        Ok(())
    }

    /// What lies between two turns: half of a leader's timeout, or a quarter of the patience if that is more.
    fn turn_step(&self) -> Duration {
        let parameters = &self.parameters;
        let half = Duration::from_millis(parameters.leader_timeout_ms / 2);
        half.max(self.timer.patience(parameters) / 4)
    }
}
