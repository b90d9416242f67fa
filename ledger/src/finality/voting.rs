//! Votes: those of others, and what this node signs.

use super::{
    Refusal, Voter,
    port::{Complaint, Effect},
    stages::Staged,
};
use crate::{
    block::View,
    certificate::CertificateInvalid,
    evidence::Evidence,
    execute::Executed,
    planted::planted,
    vote::{Ballot, Nullify, Signed, SignedNullify, Vote, VoteKind},
};

impl Voter {
    /// Takes a vote of somebody for a block.
    pub(super) fn vote(&mut self, vote: Vote) -> Result<(), Refusal> {
        if self.validators().key(vote.validator).is_some() && vote.statement.consortium == self.tip.name {
            self.heard.vote(&vote);
        }
        let Ballot { view, height, .. } = vote.statement;
        if view <= self.tip_view() || height <= self.tip.height {
            return Ok(());
        }
        self.of_this_epoch(vote.statement.epoch)?;
        self.within_window(height)?;
        if self.tally.holds(&vote) {
            return Ok(());
        }
        vote.verify_with(self.validators(), &self.tip.name, &*self.checks)?;
        self.count(vote);
        Ok(())
    }

    /// Takes a vote of somebody against views.
    pub(super) fn nullify_vote(&mut self, vote: SignedNullify) -> Result<(), Refusal> {
        if self.validators().key(vote.validator).is_some() && vote.statement.consortium == self.tip.name {
            self.heard.nullify(&vote);
        }
        if self.nullifies.knows(&vote) || vote.statement.through < self.tip_view().term {
            return Ok(());
        }
        self.of_this_epoch(vote.statement.epoch)?;
        if vote.statement.through < vote.statement.from.term {
            return Err(CertificateInvalid::EmptySpan { signer: vote.validator }.into());
        }
        vote.verify_with(self.validators(), &self.tip.name, &*self.checks)?;
        self.count_nullify(vote);
        Ok(())
    }

    /// Counts a valid vote, and takes the certificate that it completes.
    fn count(&mut self, vote: Vote) {
        let ballot = vote.statement;
        if let Some(evidence) = self.tally.insert(vote) {
            self.accuse(vote.validator, evidence);
        }
        let covers = |nullify: &&SignedNullify| nullify.statement.covers(ballot.view);
        let nullify = self.nullifies.of_node(vote.validator).find(covers).copied();
        if let Some(nullify) = nullify.filter(|_| ballot.kind == VoteKind::Finalize) {
            self.accuse(vote.validator, Evidence::NullifiedFinalized { nullify, finalize: vote });
        }
        if self.tally.count(&ballot) >= self.quorum_for(&ballot) {
            self.certify(self.tally.certificate(&ballot));
        }
    }

    fn quorum_for(&self, ballot: &Ballot) -> usize {
        let executed = self.stages.find(&ballot.block).filter(|_| planted!(ClosedByNextSet));
        executed.map_or(self.quorum(), |(_, _, executed)| executed.validators().quorum())
    }

    /// Notarizes the blocks of this term that may be. Whether anything was signed.
    ///
    /// Within a term a leader goes on from what is final. Else one that keeps its own finalize votes to itself could
    /// build a chain that a quorum notarizes and nobody can finish, longer than a validator that it starves can see.
    pub(super) fn notarize(&mut self) -> bool {
        let may = |staged: &Staged, executed: &Executed| {
            let is_certified = self.certificate_of(executed.view, &executed.digest).is_some();
            let is_in_line = executed.view.number == 1 || Some(executed.height) == self.tip.height.next();
            let is_its_leaders = self.terms.leader().is_none_or(|leader| leader == staged.header.leader);
            let is_good = is_in_line && is_its_leaders && !self.is_late(staged);
            executed.view.term == self.terms.term() && (is_certified || is_good)
        };
        let ballots: Vec<Ballot> = self
            .stages
            .executed()
            .filter(|(_, staged, executed)| may(staged, executed))
            .map(|(_, _, executed)| self.ballot(VoteKind::Notarize, executed))
            .collect();
        self.sign_all(ballots)
    }

    /// Finalizes the blocks that are certified. Whether anything was signed.
    pub(super) fn finalize(&mut self) -> bool {
        let ballots: Vec<Ballot> = self
            .stages
            .executed()
            .filter(|(_, _, executed)| self.certificate_of(executed.view, &executed.digest).is_some())
            .map(|(_, _, executed)| self.ballot(VoteKind::Finalize, executed))
            .collect();
        self.sign_all(ballots)
    }

    fn sign_all(&mut self, ballots: Vec<Ballot>) -> bool {
        ballots.into_iter().filter(|ballot| self.sign(*ballot)).count() > 0
    }

    /// Records and broadcasts a vote, unless it was signed before or would contradict one that was. Whether it was
    /// signed.
    fn sign(&mut self, ballot: Ballot) -> bool {
        let Some(signer) = self.signer.clone() else { return false };
        if self.record.has_signed(&ballot) || self.record.sign(&ballot).is_err() {
            return false;
        }
        self.effects.push(Effect::Record(self.record.clone()));
        let vote = Signed::sign(ballot, &signer);
        self.effects.push(Effect::Broadcast(vote));
        self.count(vote);
        true
    }

    /// Records and broadcasts that this node gives up what comes after the best that it knows, through a term. Whether
    /// it was signed.
    ///
    /// A view in which this node finalized is never covered, because the votes begin after it.
    pub(super) fn give_up(&mut self, through: u64, why: Complaint) -> bool {
        let Some(signer) = self.signer.clone() else { return false };
        let (best, certificate) = self.best();
        let (best, certificate) = (best.view, certificate.cloned());
        let finalized = self.record.finalized_view().filter(|_| !planted!(NullifyAfterFinalize));
        let after = finalized.unwrap_or(View::START).max(self.record.floor).max(best);
        let Some(from) = after.next() else { return false };
        if self.record.nullify(from, through).is_err() {
            return false;
        }
        self.terms.complained(why);
        self.effects.push(Effect::Record(self.record.clone()));
        let (consortium, epoch) = (self.tip.name, self.validators().epoch);
        let vote = Signed::sign(Nullify { consortium, epoch, from, through }, &signer);
        self.effects.push(Effect::BroadcastNullify { vote, best: certificate });
        self.count_nullify(vote);
        true
    }

    /// Counts again what this node signed before it started, so that it is sent again.
    pub(super) fn restore_own_statements(&mut self) {
        let Some(signer) = self.signer.clone() else { return };
        let (consortium, epoch) = (self.tip.name, self.validators().epoch);
        for ballot in self.record.ballots(consortium) {
            if ballot.height > self.tip.height && ballot.epoch == epoch {
                self.count(Signed::sign(ballot, &signer));
            }
        }
        for nullify in self.record.nullifies(consortium).into_iter().filter(|nullify| nullify.epoch == epoch) {
            self.count_nullify(Signed::sign(nullify, &signer));
        }
    }

    pub(super) fn ballot(&self, kind: VoteKind, executed: &Executed) -> Ballot {
        Ballot {
            consortium: self.tip.name,
            epoch: self.validators().epoch,
            kind,
            view: executed.view,
            height: executed.height,
            block: executed.digest,
        }
    }
}
