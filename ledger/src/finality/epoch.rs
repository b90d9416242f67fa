//! From one epoch to the next: the closing block's proof, and the vote of the next set, which starts on it.

use wallet::digest::Digest;

use super::{
    Refusal, Voter,
    port::{Conflict, Effect},
};
use crate::{
    block::View,
    certificate::{Certificate, CertificateInvalid},
    hand_over::ClosingProof,
    planted::planted,
    vote::VoteKind,
};

impl Voter {
    /// Which validator set votes.
    pub fn epoch(&self) -> u64 {
        self.validators.epoch
    }

    /// The view after which the next block of the chain stands: the tip's, or the start of the epoch that it opened.
    pub(super) fn tip_view(&self) -> View {
        self.tip.view.max(View::start_of(self.epoch()))
    }

    /// Of the keys that this node has, takes the one that votes in this epoch.
    pub(super) fn choose_signer(&mut self) {
        let mut own = self.signers.iter();
        let votes = own.find(|signer| self.validators.key(signer.node) == Some(signer.key.public_key()));
        self.signer = votes.cloned();
        self.restore_own_statements();
    }

    /// Begins the next epoch if the tip closed the present one: the vote starts anew, as the first did at genesis.
    pub(super) fn begin_epoch(&mut self) {
        if !self.tip.is_closed() {
            return;
        }
        let mut next = self.tip.validators();
        if planted!(RemovedStillVote) {
            let left = self.validators.members.iter().filter(|(node, _)| next.key(*node).is_none());
            next.members = left.chain(&next.members).copied().collect();
            next.members.sort_unstable();
        }
        let (epoch, start, term) = (next.epoch, View::start_of(next.epoch), View::first_term(next.epoch));
        self.validators = next;
        self.certified.clear();
        self.tally = Default::default();
        self.nullifies = Default::default();
        (self.shown, self.later_epoch) = (None, false);
        self.terms.begin_epoch(&self.validators, self.now.steady);
        // What its last leader owed is no debt of the next one.
        self.timer.passed_over(None);
        self.record.raise_floor(start);
        self.record.enter(term);
        self.effects.push(Effect::Began { epoch, term });
        // What stands above are carriers, or blocks of this epoch that came too early.
        if let Some(from) = self.stages.first_index() {
            self.stages.reread(from);
            self.rereading = Some(from);
            self.effects.push(Effect::ReadAgain { from });
        }
        self.choose_signer();
    }

    /// Whether what is said of `epoch` can be judged here.
    pub(super) fn of_this_epoch(&mut self, epoch: u64) -> Result<(), Refusal> {
        let expected = self.epoch();
        if epoch == expected {
            return Ok(());
        }
        self.later_epoch |= epoch > expected;
        Err(CertificateInvalid::OtherEpoch { found: epoch, expected }.into())
    }

    /// Takes the proof that the block which closes this epoch is final.
    pub(super) fn closing(&mut self, proof: ClosingProof) -> Result<(), Refusal> {
        let (height, block) = proof.closes().ok_or(CertificateInvalid::Carriers)?;
        let epoch = proof.certificate.view.epoch();
        if epoch < self.epoch() {
            return self.of_closed_epoch(&proof);
        }
        self.of_this_epoch(epoch)?;
        if proof.carriers.is_empty() {
            return self.certificate(proof.certificate);
        }
        if height <= self.tip.height {
            if let Some(ours) = self.contradicted_by(&proof) {
                proof.verify(&self.validators, &self.tip.name)?;
                self.halt(Conflict::TwoCertificates { ours, theirs: proof.certificate });
            }
        } else if self.shown.as_ref() != Some(&proof) && self.may_close(&block) {
            if !planted!(ClosingNotProven) {
                proof.verify(&self.validators, &self.tip.name)?;
            }
            self.shown = Some(proof);
            self.read_again(&block);
        }
        Ok(())
    }

    /// Whether this block is one that closes the epoch, as far as this node knows.
    fn may_close(&self, block: &Digest) -> bool {
        self.stages.find(block).is_none_or(|(_, staged, _)| staged.header.is_closing())
    }

    /// What is said of an epoch that is over is no news, unless it contradicts how that ended here. Then it is kept as
    /// evidence, once for each epoch.
    pub(super) fn of_closed_epoch(&mut self, proof: &ClosingProof) -> Result<(), Refusal> {
        let epoch = proof.certificate.view.epoch();
        let voted = self.tip.state.validators_of(epoch);
        let Some((ours, voted)) = self.contradicted_by(proof).zip(voted).filter(|_| !self.forked.contains(&epoch))
        else {
            return Ok(());
        };
        proof.verify(&voted.set, &self.tip.name)?;
        self.forked.insert(epoch);
        let theirs = proof.certificate.clone();
        self.effects.push(Effect::OldFork(Box::new([ours, theirs])));
        Ok(())
    }

    /// By what a block is final here that cannot be if this proof holds. A re-genesis drops what was above the last block
    /// that its operators knew to be final, be that final elsewhere: it says so, and contradicts nothing.
    pub(super) fn contradicted_by(&self, proof: &ClosingProof) -> Option<Certificate> {
        let (height, block) = proof.closes()?;
        let (own, ours) = self.recent.get(&height)?;
        // Above a closing block stand carriers, which are no part of the chain.
        let is_of_one_epoch = ours.view.epoch() == proof.certificate.view.epoch();
        let is_final = proof.certificate.kind == VoteKind::Finalize && !ours.view.is_re_genesis();
        let contradicts = is_final && is_of_one_epoch && *own != block;
        contradicts.then(|| ours.clone())
    }
}
