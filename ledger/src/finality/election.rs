//! Who leads a term, and where the leader's blocks go.

use std::time::Duration;

use wallet::{digest::Digest, units::NodeId};

use super::{Refusal, Voter, port::Effect};
use crate::{
    block::View,
    certificate::{Certificate, Nullification},
    execute::{Executed, Place},
    vote::{Grant, Signed},
};

/// A block of the own log with its certificate, and why a block of the term may follow it.
type Base<'a> = (&'a Executed, Option<&'a Certificate>, Option<Nullification>);

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
        let (parent, certificate, skipped) = if self.tip.view.term == term {
            (&self.tip, self.tip_certificate.as_ref(), None)
        } else {
            self.base(term)?
        };
        let view = parent.view.next_in(term)?;
        Some(Place { parent: parent.clone(), certificate: certificate.cloned(), skipped, view, after })
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
        fitting.into_iter().find_map(|(parent, certificate)| {
            if parent.view == View::START && term == 1 {
                return Some((parent, certificate, None));
            }
            let skipped = self.nullifies.bridge(parent.view, term, self.quorum())?;
            Some((parent, certificate, Some(skipped)))
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
        let Some((parent, certificate, permit)) = self.base(term) else { return };
        let (view, parent) = (parent.view, certificate.cloned());
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
        let view = self.parent_view(parent)?;
        match permit {
            None if term == 1 && view == View::START => {}
            Some(permit) if term > 1 && view.term < term && permit.bridges(view, term) => {
                self.nullification(permit)?;
                self.enter_term();
            }
            _ => return Err(Refusal::NotPermitted),
        }
        if term != self.terms.term() {
            return Err(Refusal::TermOver { term: self.terms.term() });
        }
        if view < self.tip.view {
            return Err(Refusal::ParentBehind { parent: view, tip: self.tip.view });
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
        let Some(parent) = parent else { return Ok(View::START) };
        let view = parent.view;
        let known = |held: &Certificate| (held.view, held.height, held.block) == (view, parent.height, parent.block);
        let is_tip = self.tip_certificate.as_ref().is_some_and(known);
        if !is_tip && !self.certified.get(&view).is_some_and(known) {
            parent.verify(self.validators(), &self.consortium.id())?;
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
        let (consortium, epoch) = (self.consortium.id(), self.validators().epoch);
        let grant = Signed::sign(Grant { consortium, epoch, term, candidate }, &signer);
        self.effects.push(Effect::Grant(grant));
        Ok(())
    }

    /// What lies between two turns: half of a leader's timeout, or a quarter of the patience if that is more.
    fn turn_step(&self) -> Duration {
        let parameters = self.consortium.parameters();
        let half = Duration::from_millis(parameters.leader_timeout_ms / 2);
        half.max(self.timer.patience(parameters) / 4)
    }
}
