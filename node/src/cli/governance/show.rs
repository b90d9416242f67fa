//! What stands on the ledger about governance, as a node says it.

use std::fmt;

use genesis::{OperatorId, Parameters};
use ledger::{
    governance::Action,
    state::{AuditorRecord, NodeRecord, OperatorRecord, ProposalRecord, Stage, Standing},
};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use super::action::InWords;

/// The answer of `GET /ledger/v1/governance`, as far as it is needed here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Governance {
    height: BlockHeight,
    time: Timestamp,
    epoch: u64,
    pub(super) electorate: u64,
    quorum: usize,
    operators: Vec<OperatorRecord>,
    nodes: Vec<ListedNode>,
    auditors: Vec<AuditorRecord>,
    parameters: Parameters,
    proposals: Vec<ListedProposal>,
}

#[derive(Clone, Debug, Deserialize)]
struct ListedNode {
    id: NodeId,
    record: NodeRecord,
}

#[derive(Clone, Debug, Deserialize)]
struct ListedProposal {
    digest: Digest,
    record: ProposalRecord,
}

impl Governance {
    /// The proposal of this digest, if the node lists it.
    pub(super) fn proposal(&self, digest: Digest) -> Option<&ProposalRecord> {
        self.proposals.iter().find(|listed| listed.digest == digest).map(|listed| &listed.record)
    }

    /// What to print: all proposals, or those of which something can still become.
    pub(super) fn shown(&self, all: bool) -> Shown {
        let operator = |record: &OperatorRecord| Line {
            id: record.operator.id.to_string(),
            name: record.operator.name.clone(),
            key: record.operator.key.to_string(),
            standing: record.standing,
        };
        let node = |ListedNode { id, record }: &ListedNode| Line {
            id: id.to_string(),
            name: format!("{} of {} in {}", record.node.name, record.node.operator, record.node.region),
            key: record.node.key.to_string(),
            standing: record.standing,
        };
        let granted = self.auditors.iter().filter(|record| record.granted).map(|record| record.auditor.clone());
        let proposals = self.proposals.iter().map(|listed| self.shown_proposal(listed));
        Shown {
            height: self.height,
            epoch: self.epoch,
            electorate: self.electorate,
            quorum: self.quorum,
            operators: self.operators.iter().map(operator).collect(),
            nodes: self.nodes.iter().map(node).collect(),
            auditors: granted.collect(),
            parameters: self.parameters.clone(),
            proposals: proposals.filter(|proposal| all || proposal.is_pending()).collect(),
        }
    }

    fn shown_proposal(&self, ListedProposal { digest, record }: &ListedProposal) -> ShownProposal {
        let said = |approves: bool| -> Vec<OperatorId> {
            let ballots = record.ballots.iter().filter(|ballot| ballot.approves == approves);
            ballots.map(|ballot| ballot.operator.clone()).collect()
        };
        let (approve, reject) = (said(true), said(false));
        let is_silent = |operator: &&OperatorRecord| {
            operator.standing == Standing::InForce
                && !record.ballots.iter().any(|ballot| ballot.operator == operator.operator.id)
        };
        let silent = self.operators.iter().filter(is_silent).map(|operator| operator.operator.id.clone()).collect();
        let (enactable_at, expires_at) = match record.stage {
            Stage::Open => (None, Some(record.expires_at)),
            Stage::Passed { enactable_at } => (Some(enactable_at), Some(record.expires_at)),
            Stage::Rejected | Stage::Withdrawn | Stage::Enacted { .. } => (None, None),
        };
        let status = match record.stage {
            Stage::Rejected => Status::Rejected,
            Stage::Withdrawn => Status::Withdrawn,
            Stage::Enacted { .. } => Status::Enacted,
            _ if record.terms.electorate != self.electorate => Status::Superseded,
            _ if expires_at.is_some_and(|at| self.time > at) => Status::Expired,
            Stage::Open => Status::Open,
            Stage::Passed { .. } => Status::Passed,
        };
        ShownProposal {
            digest: *digest,
            operator: record.terms.operator.clone(),
            status,
            missing: if status == Status::Open { self.quorum.saturating_sub(approve.len()) } else { 0 },
            approve,
            reject,
            silent,
            enactable_at,
            expires_at,
            actions: record.terms.actions.clone(),
        }
    }
}

/// What `governance show` prints.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Shown {
    height: BlockHeight,
    epoch: u64,
    electorate: u64,
    quorum: usize,
    operators: Vec<Line>,
    nodes: Vec<Line>,
    auditors: Vec<genesis::Auditor>,
    parameters: Parameters,
    proposals: Vec<ShownProposal>,
}

#[derive(Clone, Debug, Serialize)]
struct Line {
    id: String,
    name: String,
    key: String,
    standing: Standing,
}

/// A proposal with what its ballots and the time made of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ShownProposal {
    digest: Digest,
    operator: OperatorId,
    status: Status,
    /// How many more have to approve.
    missing: usize,
    approve: Vec<OperatorId>,
    reject: Vec<OperatorId>,
    /// Who has not voted.
    silent: Vec<OperatorId>,
    enactable_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Open,
    Passed,
    Rejected,
    Withdrawn,
    Enacted,
    Superseded,
    Expired,
}

impl ShownProposal {
    const fn is_pending(&self) -> bool {
        matches!(self.status, Status::Open | Status::Passed)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { height, epoch, electorate, quorum, .. } = self;
        write!(f, "height {height}, epoch {epoch}, electorate {electorate}: {quorum} operators have to approve")?;
        for (kind, lines) in [("operator", &self.operators), ("node", &self.nodes)] {
            for Line { id, name, key, standing } in lines {
                write!(f, "\n{kind} {id}: {name}, {}, key {key}", standing_in_words(*standing))?;
            }
        }
        for auditor in &self.auditors {
            write!(f, "\nauditor {:?}: key hash {}", auditor.name, auditor.key_hash)?;
        }
        if self.proposals.is_empty() {
            return f.write_str("\nno proposal is open");
        }
        self.proposals.iter().try_for_each(|proposal| write!(f, "\n{proposal}"))
    }
}

impl fmt::Display for ShownProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal {} of {}: ", self.digest, self.operator)?;
        match (self.status, self.enactable_at) {
            (Status::Open, _) => write!(f, "open, {} more have to approve", self.missing)?,
            (Status::Passed, Some(at)) => write!(f, "passed, enacted from block time {at} ms on")?,
            (Status::Passed, None) => f.write_str("passed")?,
            (Status::Rejected, _) => f.write_str("rejected")?,
            (Status::Withdrawn, _) => f.write_str("withdrawn")?,
            (Status::Enacted, _) => f.write_str("enacted")?,
            (Status::Superseded, _) => f.write_str("superseded: the operators in force or their keys changed")?,
            (Status::Expired, _) => f.write_str("expired")?,
        }
        for (what, who) in [("for it", &self.approve), ("against it", &self.reject), ("silent", &self.silent)] {
            if !who.is_empty() {
                let who: Vec<&str> = who.iter().map(OperatorId::as_str).collect();
                write!(f, "\n    {what}: {}", who.join(", "))?;
            }
        }
        self.actions.iter().try_for_each(|action| write!(f, "\n    - {}", InWords(action)))
    }
}

const fn standing_in_words(standing: Standing) -> &'static str {
    match standing {
        Standing::InForce => "in force",
        Standing::Suspended => "suspended",
        Standing::Keyless => "without a key",
        Standing::Removed => "removed",
    }
}

#[cfg(test)]
mod tests {
    use ledger::testing::{Chain, consortium};

    use super::*;

    fn of(chain: &Chain) -> Governance {
        let state = &chain.tip.state;
        let operators: Vec<OperatorRecord> = state.operators().collect();
        let listed = operators.iter().flat_map(|record| record.proposals.clone());
        let proposal = |digest| ListedProposal { digest, record: state.proposal(digest).expect("it is listed") };
        Governance {
            height: chain.tip.height,
            time: chain.tip.time,
            epoch: state.epoch(),
            electorate: state.governance().expect("genesis puts it").electorate,
            quorum: ledger::governance::quorum(state.electorate().len()),
            proposals: listed.map(proposal).collect(),
            nodes: state.nodes().map(|(id, record)| ListedNode { id, record }).collect(),
            auditors: Vec::new(),
            parameters: state.parameters(),
            operators,
        }
    }

    #[test]
    fn a_proposal_shows_who_is_missing_until_it_passed_and_none_once_it_is_done() {
        let mut chain = Chain::new(consortium(4));
        let action = || vec![Action::Suspend(ledger::governance::Member::Node(NodeId::new(3)))];
        let proposal = chain.propose_actions(0, action()).expect("it is made");
        let status = |chain: &Chain, all| {
            let proposals = of(chain).shown(all).proposals;
            proposals.iter().map(|shown| (shown.status, shown.missing, shown.silent.len())).collect::<Vec<_>>()
        };
        assert_eq!(status(&chain, false), [(Status::Open, 2, 3)]);
        chain.cast(1, proposal, false).expect("a ballot");
        assert_eq!(status(&chain, false), [(Status::Open, 2, 2)]);
        chain.cast(2, proposal, true).expect("a ballot");
        chain.cast(3, proposal, true).expect("a ballot");
        assert_eq!(status(&chain, false), [(Status::Passed, 0, 0)]);
        chain.push(chain.enacting(proposal)).expect("it is enacted");
        assert_eq!((status(&chain, false), status(&chain, true)), (vec![], vec![(Status::Enacted, 0, 0)]));
        let text = of(&chain).shown(false).to_string();
        assert!(text.contains("suspended") && text.ends_with("no proposal is open"), "{text}");

        chain.propose_actions(0, vec![chain.joining_operator(4)]).expect("it is made");
        chain.wait_ms(chain.tip.state.parameters().proposal_life_ms + 1);
        chain.propose_actions(1, vec![chain.joining_operator(5)]).expect("it is made");
        let all = status(&chain, true);
        assert!(all.contains(&(Status::Expired, 0, 3)) && all.contains(&(Status::Open, 2, 3)), "{all:?}");
    }
}
