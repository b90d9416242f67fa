//! Blocks of the own log: executing them on their parents, and the certificates that they bring.

use std::sync::Arc;

use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::{
    HEIGHT_WINDOW, Refusal, Voter,
    port::{Conflict, Effect},
    stages::{Outcome, Place},
};
use crate::{
    block::{Block, View},
    certificate::{Certificate, Nullification},
    evidence::{Evidence, Execution, blames_leader},
    execute::{BlockInvalid, Executed, execute_with, is_bound},
    hand_over::ClosingProof,
    planted::planted,
    vote::{SignedNullify, Vote, VoteKind},
};

impl Voter {
    pub(super) fn flushed(&mut self, place: Place, block: Box<Block>) -> Result<(), Refusal> {
        if self.stages.is_full() {
            return Err(Refusal::TooManyBlocks);
        }
        // What is bad about them makes the block invalid, which executing it finds out.
        if let Some(certificate) = &block.parent_certificate {
            let (certificate, carriers) = (certificate.clone(), block.carriers.clone());
            let _ = match carriers.is_empty() {
                true => self.certificate(certificate),
                false => self.closing(ClosingProof { certificate, carriers }),
            };
        }
        if let Some(skipped) = &block.skipped {
            let _ = self.nullification(skipped);
        }
        if self.halted {
            return Ok(());
        }
        if self.rereading.is_some_and(|from| from < place.log_index) {
            // It comes again after the one that is waited for.
            return Ok(());
        }
        self.rereading = None;
        let digest = block.header.digest();
        if self.stages.holds(&place, &digest) {
            return Ok(());
        }
        self.stages.truncate(place.log_index);
        self.note_proposal(&block);
        self.stages.insert(place, block, digest, self.now.wall);
        Ok(())
    }

    pub(super) fn truncated(&mut self, from: u64) {
        self.stages.truncate(from);
        self.cutting.take_if(|cut| from <= *cut);
        self.rereading.take_if(|reread| from <= *reread);
    }

    /// Remembers which block its leader proposed in a view, and reports a second one.
    fn note_proposal(&mut self, block: &Block) {
        let header = &block.header;
        let of_now = header.consortium == self.tip.name && header.epoch == self.epoch();
        if !of_now || header.view <= self.tip_view() || self.stages.has_noted(header) {
            return;
        }
        let key = self.validators().key(header.leader);
        if key.is_some_and(|key| header.is_proposed_by_with(&key, &block.proposal, &*self.checks))
            && let Some(evidence) = self.stages.note_proposal(block)
        {
            self.accuse(header.leader, evidence);
        }
    }

    /// Takes a certificate, be its block in the own log or not.
    pub(super) fn certificate(&mut self, certificate: Certificate) -> Result<(), Refusal> {
        let Certificate { kind, view, height, block, .. } = certificate;
        let is_final = kind == VoteKind::Finalize;
        if view.epoch() < self.epoch() {
            return self.of_closed_epoch(&certificate.into());
        }
        self.of_this_epoch(view.epoch())?;
        if height <= self.tip.height || view <= self.tip.view {
            let at = height.min(self.tip.height);
            let ours = self.recent.get(&at).filter(|(ours, _)| is_final && (at, *ours) != (height, block));
            let Some((_, ours)) = ours.cloned() else { return Ok(()) };
            certificate.verify_with(self.validators(), &self.tip.name, &*self.checks)?;
            self.halt(Conflict::TwoCertificates { ours, theirs: certificate });
            return Ok(());
        }
        self.within_window(height)?;
        let held = self.certified.get(&view);
        if held.is_some_and(|held| held.block == block && (held.kind == VoteKind::Finalize || !is_final)) {
            return Ok(());
        }
        certificate.verify_with(self.validators(), &self.tip.name, &*self.checks)?;
        self.certify(certificate);
        Ok(())
    }

    /// Takes a valid certificate of a block above the tip.
    pub(super) fn certify(&mut self, certificate: Certificate) {
        let (view, block) = (certificate.view, certificate.block);
        let before = self.certificate_of(view, &block).map(|held| held.kind);
        self.insert(certificate);
        let after = self.certificate_of(view, &block).map(|held| held.kind);
        if after != before && !self.halted {
            self.read_again(&block);
        }
    }

    fn insert(&mut self, certificate: Certificate) {
        let is_final = certificate.kind == VoteKind::Finalize;
        if is_final {
            let contradicts = |held: &&Certificate| {
                let same_place = held.height == certificate.height || held.view == certificate.view;
                held.kind == VoteKind::Finalize && same_place && held.block != certificate.block
            };
            if let Some(ours) = self.certified.values().find(contradicts).cloned() {
                return self.halt(Conflict::TwoCertificates { ours, theirs: certificate });
            }
        }
        match self.certified.get(&certificate.view).cloned() {
            Some(held) if held.block != certificate.block => {
                // More than f liars, but no two final blocks yet.
                self.report_common_signers(&held, &certificate);
                if is_final {
                    self.certified.insert(certificate.view, certificate);
                }
            }
            Some(held) if held.kind == VoteKind::Finalize || !is_final => {}
            held => {
                if held.is_none() {
                    self.timer.progress(self.now.steady);
                }
                self.certified.insert(certificate.view, certificate);
            }
        }
    }

    fn report_common_signers(&mut self, one: &Certificate, other: &Certificate) {
        let vote = |certificate: &Certificate, node| {
            let (_, signature) = certificate.signatures.iter().find(|(signer, _)| *signer == node)?;
            let statement = certificate.ballot(&self.tip.name);
            Some(Vote { statement, validator: node, signature: *signature })
        };
        let both = one.signatures.iter().filter_map(|(node, _)| Some([vote(one, *node)?, vote(other, *node)?]));
        let double_votes: Vec<[Vote; 2]> = both.collect();
        for votes in double_votes {
            self.accuse(votes[0].validator, Evidence::DoubleVote(Box::new(votes)));
        }
    }

    /// Takes nullify votes that prove something together. Each counts by itself as well.
    pub(super) fn nullification(&mut self, nullification: &Nullification) -> Result<(), Refusal> {
        nullification.votes.iter().try_for_each(|vote| self.of_this_epoch(vote.statement.epoch))?;
        // First: whatever is said of all votes is true of none.
        nullification.check_signers(self.validators())?;
        if nullification.votes.iter().all(|vote| self.nullifies.knows(vote)) {
            return Ok(());
        }
        nullification.verify_with(self.validators(), &self.tip.name, &*self.checks)?;
        for vote in &nullification.votes {
            self.count_nullify(*vote);
        }
        Ok(())
    }

    /// Takes a valid nullify vote.
    pub(super) fn count_nullify(&mut self, vote: SignedNullify) {
        let contradicting = self
            .tally
            .of_node(vote.validator)
            .find(|other| other.statement.kind == VoteKind::Finalize && vote.statement.covers(other.statement.view));
        if let Some(finalize) = contradicting.copied() {
            self.accuse(vote.validator, Evidence::NullifiedFinalized { nullify: vote, finalize });
        }
        if vote.statement.through >= self.tip_view().term {
            self.nullifies.insert(vote);
        }
    }

    /// The window begins at the best block of the own log, for which a quorum voted: what follows it can become final.
    pub(super) fn within_window(&self, height: BlockHeight) -> Result<(), Refusal> {
        let best = self.best().0.height;
        if height.get() > best.get().saturating_add(HEIGHT_WINDOW) {
            return Err(Refusal::BeyondWindow { height, best });
        }
        Ok(())
    }

    /// Executes what can be executed. Whether anything was judged.
    pub(super) fn judge(&mut self) -> bool {
        let waiting: Vec<u64> =
            self.stages.iter().filter(|(_, staged)| is_unjudged(&staged.outcome)).map(|(index, _)| index).collect();
        let mut moved = false;
        for index in waiting {
            moved |= self.judge_one(index);
        }
        self.stages.prune();
        moved
    }

    fn judge_one(&mut self, index: u64) -> bool {
        let Some(staged) = self.stages.get_mut(index) else { return false };
        let (Outcome::Waiting(block) | Outcome::Early(block, _)) = &staged.outcome else { return false };
        let (block, digest) = (Arc::clone(block), staged.digest);
        let was_early = matches!(staged.outcome, Outcome::Early(..));
        let header = &block.header;
        let is_certified = self.certificate_of(header.view, &digest).is_some() || self.is_shown(&digest);
        let (found, expected) = (header.view.epoch(), self.epoch());
        let outcome = if found != expected {
            // It is read once more when its epoch begins here.
            Outcome::Refused(BlockInvalid::OtherEpoch { found, expected })
        } else if !is_certified && self.stages.is_second(header) {
            Outcome::Refused(BlockInvalid::ViewTaken)
        } else if let Some(early) = self.too_early(header.time).filter(|_| !is_certified) {
            // Nobody votes for it in another term, and a leader has one block open at a time.
            let may_wait = header.view.term == self.terms.term() && (was_early || self.stages.may_be_early());
            if may_wait { Outcome::Early(Arc::clone(&block), early) } else { Outcome::Refused(early) }
        } else {
            let parent = match self.stages.find(&header.parent) {
                Some((at, _, parent)) if at < index => Some(parent),
                _ => (header.parent == self.tip.digest).then_some(&self.tip),
            };
            match parent.map(|parent| self.execute(parent, &block)) {
                Some(Ok(executed)) => Outcome::Executed(Arc::clone(&block), executed),
                Some(Err(reason)) => {
                    self.blame(&block, &reason);
                    Outcome::Refused(reason)
                }
                None => Outcome::Refused(BlockInvalid::Parent { found: header.parent, expected: self.tip.digest }),
            }
        };
        if let Outcome::Executed(block, executed) = &outcome {
            let (term, certificate) = (executed.view.term, block.parent_certificate.clone());
            // Valid, as executing it showed.
            if let Some(certificate) = certificate.filter(|certificate| certificate.view > self.tip_view()) {
                self.certify(certificate);
            }
            self.arrive(term);
        }
        let moved = !(was_early && matches!(outcome, Outcome::Early(..)));
        if let Some(staged) = self.stages.get_mut(index) {
            staged.outcome = outcome;
        }
        moved
    }

    /// Whether this block is final by what somebody showed.
    fn is_shown(&self, block: &Digest) -> bool {
        self.shown.as_ref().and_then(ClosingProof::closes).is_some_and(|(_, closing)| closing == *block)
    }

    /// The clock was looked at before: a certificate is worth more than it.
    fn execute(&self, parent: &Executed, block: &Block) -> Result<Executed, BlockInvalid> {
        let bound = |reason| {
            if is_bound(parent, block) { reason } else { BlockInvalid::OtherBody }
        };
        execute_with(&self.consortium, parent, block, &*self.checks).map_err(bound)
    }

    fn too_early(&self, time: Timestamp) -> Option<BlockInvalid> {
        let (clock, ahead_ms_max) = (self.now.wall, self.parameters.clock_ahead_ms);
        let is_ahead = time.get() > clock.get().saturating_add(ahead_ms_max) && !planted!(FutureAccepted);
        is_ahead.then_some(BlockInvalid::TimeAhead { time, clock })
    }

    /// Reports a leader whose block breaks a rule that its signature binds it to.
    fn blame(&mut self, block: &Block, reason: &BlockInvalid) {
        // Making it executes the block again.
        let is_known = self.accused.contains(&("invalid-block", block.header.leader));
        if is_known || !blames_leader(reason) {
            return;
        }
        let parent = match self.stages.find(&block.header.parent) {
            Some((_, staged, executed)) => Some((Some(&staged.header), executed)),
            None if self.tip.view == View::START => Some((None, &self.tip)),
            None => self.tip_header.as_ref().map(|header| (Some(header), &self.tip)),
        };
        let execution = parent.map(|(header, executed)| Execution::of(&self.consortium, header, executed, block));
        if let Some(Ok(execution)) = execution {
            self.accuse(block.header.leader, Evidence::InvalidBlock(Box::new(execution)));
        }
    }

    /// Reports the first evidence of a kind against a node: more of it would cost the honest and prove no more.
    pub(super) fn accuse(&mut self, node: NodeId, evidence: Evidence) {
        if self.accused.insert((evidence.kind(), node)) {
            self.effects.push(Effect::Evidence(Box::new(evidence)));
        }
    }
}

fn is_unjudged(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Waiting(_) | Outcome::Early(..))
}
