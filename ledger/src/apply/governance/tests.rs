mod ballots;
mod joining;
mod keys;
mod parameters;
mod sets;
mod standing;

use std::sync::Arc;

use genesis::{Auditor, Document, Model, Owner, Parameters};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId},
};

use crate::{
    apply::BlockContext,
    checks::Remembered,
    event::{Entry, Event, MigrationOffered},
    execute::{BlockInvalid, Executed, append, execute},
    governance::{Action, KeyClaim, Member, OperatorBallot, PROPOSALS_MAX, ProposalMade, quorum},
    refusal::Refusal,
    state::{KeyStatus, Stage, Standing, State},
    testing::{Chain, Session, consortium, consortium_with, next_node_key, node_key, operator_id, operator_key},
};

fn chain() -> Chain {
    Chain::new(consortium(4))
}

fn node(number: u32) -> Member {
    Member::Node(NodeId::new(number))
}

fn operator(number: u32) -> Member {
    Member::Operator(operator_id(number))
}

fn parameter(name: &str, from: u64, to: u64) -> Action {
    Action::SetParameter { name: name.to_owned(), from, to }
}

fn cheaper() -> Action {
    parameter("credit_per_ms", 1, 2)
}

fn auditor(number: u8) -> Auditor {
    Auditor { name: format!("Auditor {number}"), key_hash: Digest([number; 32]) }
}

fn members(chain: &Chain) -> Vec<u32> {
    chain.tip.validators().members.iter().map(|(node, _)| node.get()).collect()
}
