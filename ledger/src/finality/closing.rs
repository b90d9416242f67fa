//! Blocks that become final, and what contradicts them.

use std::sync::Arc;

use wallet::digest::Digest;

use super::{
    HEIGHT_WINDOW, Voter,
    port::{Conflict, Effect, Final},
};
use crate::{
    block::{Block, Header},
    certificate::Certificate,
    execute::BlockInvalid,
    hand_over::{ClosingProof, closed_by},
    planted::planted,
    vote::VoteKind,
};

/// Where the next final block stands, what certifies it, and the carriers between, if it closes its epoch.
type NextFinal = (u64, Certificate, Vec<Header>);

impl Voter {
    /// Makes the next block final if it, or one that descends from it, is certified and both are executed here. Whether
    /// that happened.
    pub(super) fn complete(&mut self) -> bool {
        if self.conflicts() {
            return false;
        }
        let Some((log_index, certificate, carriers)) = self.next_final() else { return false };
        if self.cutting.is_some_and(|cut| cut <= log_index) {
            // It is about to go, and comes again. What is final must not be cut.
            return false;
        }
        let Some((block, executed)) = self.stages.advance(log_index) else { return false };
        self.tip = executed.clone();
        self.parameters = executed.state.parameters();
        self.tip_header = Some(block.header.clone());
        self.tip_certificate = Some(certificate.clone());
        self.tip_carriers = carriers.clone();
        self.since = self.now.wall;
        self.behind_at_last_tick = false;
        self.timer.became_final(self.now.steady);
        self.record.raise_floor(self.tip.view);
        self.tally.forget_up_to(self.tip.view);
        self.nullifies.forget_before(self.tip.view.term);
        self.recent.insert(self.tip.height, (self.tip.digest, certificate.clone()));
        self.recent.retain(|height, _| height.get().saturating_add(HEIGHT_WINDOW) > self.tip.height.get());
        let block = Arc::unwrap_or_clone(block);
        self.effects.push(Effect::Final(Box::new(Final { certificate, carriers, block, executed, log_index })));
        let (tip, digest) = (self.tip.view, self.tip.digest);
        let passed = |held: &&Certificate| held.view <= tip || held.height <= self.tip.height;
        let contradicting = self
            .certified
            .values()
            .filter(passed)
            .find(|held| held.kind == VoteKind::Finalize && held.height >= self.tip.height && held.block != digest);
        let shown = self.shown.as_ref().filter(|proof| self.contradicted_by(proof).is_some());
        if let Some(theirs) = contradicting.or(shown.map(|proof| &proof.certificate)).cloned()
            && let Some(ours) = self.tip_certificate.clone()
        {
            self.halt(Conflict::TwoCertificates { ours, theirs });
        }
        self.certified.retain(|view, held| *view > tip && held.height > self.tip.height);
        if !self.halted {
            self.begin_epoch();
        }
        true
    }

    /// The block that follows the tip on the way to the lowest one that a quorum finalized, and its certificate. If it
    /// closes its epoch, the certificate of that one, and the headers between.
    fn next_final(&self) -> Option<NextFinal> {
        let mut finals = self.certified.values().filter(|held| held.kind == VoteKind::Finalize);
        let held = finals.find_map(|held| {
            let (index, staged, _) = self.stages.find(&held.block)?;
            Some((index, held.clone(), Arc::clone(staged.block()?), Vec::new()))
        });
        let (mut index, finalizing, mut block, mut carriers) = held.or_else(|| self.shown_final())?;
        let mut certificate = finalizing.clone();
        while block.header.parent != self.tip.digest && !planted!(AncestorsSkipped) {
            // Executed, so it is here with a valid certificate of its parent.
            let (at, staged, parent) = self.stages.find(&block.header.parent)?;
            let known = self.certificate_of(parent.view, &parent.digest).or(block.parent_certificate.as_ref());
            carriers.insert(0, block.header.clone());
            (index, certificate, block) = (at, known?.clone(), Arc::clone(staged.block()?));
        }
        let closes = block.header.is_closing();
        Some(if closes { (index, finalizing, carriers) } else { (index, certificate, Vec::new()) })
    }

    /// The closing block that is final by what somebody showed, if it is executed here.
    fn shown_final(&self) -> Option<(u64, Certificate, Arc<Block>, Vec<Header>)> {
        let ClosingProof { certificate, carriers } = self.shown.as_ref()?;
        let (_, block) = closed_by(certificate, carriers)?;
        let (index, staged, _) = self.stages.find(&block)?;
        let block = staged.block().filter(|block| block.header.is_closing())?;
        Some((index, certificate.clone(), Arc::clone(block), carriers.clone()))
    }

    /// Stops at a block that a quorum finalized and that cannot be valid here.
    fn conflicts(&mut self) -> bool {
        let finals = self.certified.values().filter(|held| held.kind == VoteKind::Finalize);
        let found = finals.flat_map(|held| {
            let same = self.stages.iter().filter(|(_, staged)| staged.digest == held.block);
            same.filter_map(move |(_, staged)| Some((held, staged, staged.refused()?)))
        });
        let next_height = self.tip.height.next();
        let of_another_parent = |reason: &BlockInvalid| matches!(reason, BlockInvalid::Parent { .. });
        let conflict = found.into_iter().find(|(held, staged, reason)| {
            !staged.is_out_of_place()
                || (of_another_parent(reason)
                    && Some(held.height) == next_height
                    && staged.header.parent != self.tip.digest)
        });
        let Some((certificate, reason)) = conflict.map(|(held, _, reason)| (held.clone(), reason.clone())) else {
            return false;
        };
        self.halt(Conflict::CertifiedInvalid { certificate, reason });
        true
    }

    /// Tells the shell to cut the log where a final block contradicts it.
    pub(super) fn cut_what_contradicts(&mut self) {
        if self.rereading.is_some() {
            return;
        }
        let absent = |held: &&Certificate| held.kind == VoteKind::Finalize && !self.stages.contains(&held.block);
        let against = |held: &Certificate| self.stages.first_against(held.height, &held.block);
        let from = self.certified.values().filter(absent).filter_map(against).min();
        if let Some(from) = from.filter(|from| self.cutting.is_none_or(|cut| *from < cut)) {
            self.cutting = Some(from);
            self.effects.push(Effect::SelfCut { from });
        }
    }

    /// A block was certified: has it read once more if it was refused for what the certificate may set right, and before
    /// it those of its ancestors of which this is so.
    pub(super) fn read_again(&mut self, block: &Digest) {
        let Some(from) = self.stages.lowest_to_reread(block) else { return };
        self.stages.reread(from);
        self.rereading = Some(from);
        self.effects.push(Effect::ReadAgain { from });
    }

    pub(super) fn halt(&mut self, conflict: Conflict) {
        if !std::mem::replace(&mut self.halted, true) {
            self.effects.push(Effect::Conflict(Box::new(conflict)));
        }
    }
}
