//! Proposals and ballots: who may make them, when they count, and what becomes of them.

use genesis::OperatorId;
use wallet::{
    codec,
    digest::Digest,
    identity::{Signature, context},
    units::Timestamp,
};

use super::{
    Step,
    enactment::{self, Site},
};
use crate::{
    governance::{
        ACTIONS_MAX, Action, BallotCast, PROPOSALS_MAX, ProposalEnacted, ProposalMade, ProposalWithdrawn, quorum,
    },
    planted::planted,
    refusal::Refusal,
    state::{BallotRecord, OperatorRecord, ProposalRecord, Record, Stage, Standing, State, StateKey},
};

impl Step<'_> {
    /// Refused unless it could be enacted as things are now; whether it still can is checked again when it is.
    pub(super) fn proposal_made(&mut self, event: &ProposalMade) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let terms = &event.terms;
        if terms.consortium != self.consortium.id() {
            return Err(Refusal::ForeignConsortium { found: terms.consortium });
        }
        let (count, proposal) = (terms.actions.len(), terms.digest());
        if !(1..=ACTIONS_MAX).contains(&count) {
            return Err(Refusal::ActionCount { count });
        }
        let current = self.state.founded().electorate;
        if terms.electorate != current {
            return Err(Refusal::ElectorateChanged { current, named: terms.electorate });
        }
        if self.state.proposal(proposal).is_some() {
            return Err(Refusal::ProposalExists { proposal });
        }
        self.by_operator(&terms.operator, context::GOVERNANCE_PROPOSAL, &codec::encode(terms), &event.signature)?;
        self.list_proposal(&terms.operator, proposal)?;
        self.changes_by((proposal, self.at.time), &terms.actions)?;
        let ballot = BallotRecord { operator: terms.operator.clone(), approves: true, entry: self.id };
        let (made_at, expires_at, ballots) = (self.at.time, self.end_of_life(self.at.time), vec![ballot]);
        let (terms, stage) = (terms.clone(), Stage::Open);
        self.count(proposal, ProposalRecord { terms, made_at, expires_at, ballots, stage });
        Ok(())
    }

    pub(super) fn ballot_cast(&mut self, event: &BallotCast) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let ballot = &event.ballot;
        self.by_operator(&ballot.operator, context::GOVERNANCE_BALLOT, &codec::encode(ballot), &event.signature)?;
        let mut record = self.pending(ballot.proposal)?;
        if record.ballots.iter().any(|cast| cast.operator == ballot.operator) {
            return Err(Refusal::BallotTwice { operator: ballot.operator.clone() });
        }
        let (operator, approves) = (ballot.operator.clone(), ballot.approves);
        record.ballots.push(BallotRecord { operator, approves, entry: self.id });
        self.count(ballot.proposal, record);
        Ok(())
    }

    pub(super) fn proposal_withdrawn(&mut self, event: &ProposalWithdrawn) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let mut record = self.pending(event.proposal)?;
        // What a quorum agreed to is not its proposer's any more.
        if record.stage != Stage::Open {
            return Err(Refusal::ProposalPassed { proposal: event.proposal });
        }
        let (proposer, message) = (record.terms.operator.clone(), event.proposal.as_bytes());
        self.by_operator(&proposer, context::GOVERNANCE_WITHDRAWAL, message, &event.signature).map_err(|refusal| {
            match refusal {
                Refusal::OperatorSignature { operator } => Refusal::NotProposer { operator },
                other => other,
            }
        })?;
        record.stage = Stage::Withdrawn;
        self.put(StateKey::Proposal(event.proposal), Record::Proposal(Box::new(record)));
        Ok(())
    }

    /// Anybody in force may enact what passed: it is nobody's to choose any more.
    pub(super) fn proposal_enacted(&mut self, event: &ProposalEnacted) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let mut record = self.pending(event.proposal)?;
        let Stage::Passed { enactable_at } = record.stage else {
            let found = record.ballots.iter().filter(|ballot| ballot.approves).count();
            return Err(Refusal::ProposalNotPassed { found, quorum: quorum(self.state.electorate().len()) });
        };
        if self.at.time < enactable_at {
            return Err(Refusal::ProposalLocked { enactable_at });
        }
        let changes = self.changes_by((event.proposal, record.made_at), &record.terms.actions)?;
        self.changes.extend(changes);
        record.stage = Stage::Enacted { at: self.at.height };
        self.put(StateKey::Proposal(event.proposal), Record::Proposal(Box::new(record)));
        Ok(())
    }

    /// What the actions of a proposal change as things are now.
    fn changes_by(
        &self,
        (proposal, made_at): (Digest, Timestamp),
        actions: &[Action],
    ) -> Result<Vec<(StateKey, Record)>, Refusal> {
        let Self { consortium, checks, .. } = *self;
        let site = Site { consortium, checks, proposal, made_at, height: self.at.height };
        enactment::changes(self.state, actions, &site)
    }

    /// Until when something can become of a proposal that waits since `time`, by the rule of today.
    fn end_of_life(&self, time: Timestamp) -> Timestamp {
        later(time, self.state.parameters().proposal_life_ms)
    }

    /// A proposal of which something can still become.
    fn pending(&self, proposal: Digest) -> Result<ProposalRecord, Refusal> {
        let record = self.state.proposal(proposal).ok_or(Refusal::ProposalUnknown { proposal })?;
        match record.stage {
            Stage::Open | Stage::Passed { .. } => {}
            Stage::Rejected => return Err(Refusal::ProposalRejected { proposal }),
            Stage::Withdrawn => return Err(Refusal::ProposalTakenBack { proposal }),
            Stage::Enacted { .. } => return Err(Refusal::ProposalDone { proposal }),
        }
        let named = record.terms.electorate;
        if named != self.state.founded().electorate {
            return Err(Refusal::ProposalSuperseded { proposal, named });
        }
        if self.at.time > record.expires_at && !planted!(ExpiredEnacted) {
            return Err(Refusal::ProposalExpired { proposal, expired_at: record.expires_at });
        }
        Ok(record)
    }

    /// Writes a proposal back with what its ballots make of it. Which way it goes does not depend on their order: nobody
    /// has two, and both ways cannot be reached.
    fn count(&mut self, proposal: Digest, mut record: ProposalRecord) {
        let (operators, approvals) =
            (self.state.electorate().len(), record.ballots.iter().filter(|ballot| ballot.approves).count());
        let (rejections, quorum) = (record.ballots.len() - approvals, quorum(operators));
        if record.stage == Stage::Open && approvals >= quorum {
            let lock = if record.terms.waits() { self.state.parameters().proposal_lock_ms } else { 0 };
            let enactable_at = later(self.at.time, lock);
            (record.stage, record.expires_at) = (Stage::Passed { enactable_at }, self.end_of_life(enactable_at));
        } else if rejections > operators.saturating_sub(quorum) {
            record.stage = Stage::Rejected;
        }
        self.put(StateKey::Proposal(proposal), Record::Proposal(Box::new(record)));
    }

    /// Adds a proposal to those of its operator, and drops those of which nothing can become any more.
    fn list_proposal(&mut self, operator: &OperatorId, proposal: Digest) -> Result<(), Refusal> {
        let mut record = in_force(self.state, operator)?;
        record.proposals.retain(|other| self.pending(*other).is_ok());
        let count = record.proposals.len();
        if count >= PROPOSALS_MAX {
            return Err(Refusal::ProposalsFull { operator: operator.clone(), count });
        }
        record.proposals.push(proposal);
        self.put(StateKey::Operator(operator.clone()), Record::Operator(record));
        Ok(())
    }

    /// The operator must be in force and have signed.
    fn by_operator(
        &self,
        operator: &OperatorId,
        context: &str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), Refusal> {
        let key = in_force(self.state, operator)?.operator.key;
        let refused = |_| Refusal::OperatorSignature { operator: operator.clone() };
        self.checks.verify(&key, context, message, signature).map_err(refused)
    }
}

fn later(time: Timestamp, by_ms: u64) -> Timestamp {
    Timestamp::new(time.get().saturating_add(by_ms))
}

fn in_force(state: &State, operator: &OperatorId) -> Result<OperatorRecord, Refusal> {
    let record = state.operator(operator).filter(|record| record.standing == Standing::InForce);
    record.ok_or_else(|| Refusal::OperatorNotInForce { operator: operator.clone() })
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
