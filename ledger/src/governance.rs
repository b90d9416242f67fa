//! How the consortium changes: operators propose typed actions, sign ballots on them, and any node enacts what passed.
//!
//! A proposal is put to one *electorate*: the operators in force with their keys. Whenever these change the next
//! electorate begins, and what was put to the one before is superseded. So no ballot counts for a decision among others
//! than its signer saw. The rules are in `apply::governance` and `apply::enactment`.

mod action;
mod ballot;
mod proposal;
mod turns;

pub use self::{
    action::{Action, KeyClaim, Member, Rotation},
    ballot::{BallotCast, OperatorBallot},
    proposal::{ProposalEnacted, ProposalMade, ProposalTerms, ProposalWithdrawn},
    turns::Turns,
};

/// A proposal has at most this many actions.
pub const ACTIONS_MAX: usize = 16;
/// An operator has at most this many proposals on which the others can still vote.
pub const PROPOSALS_MAX: usize = 8;
/// Operators, and auditors, at one time; nodes that vote at one time. As many as a genesis document can name.
pub const MEMBERS_MAX: usize = 256;
/// Operators and nodes that ever were.
pub const MEMBERS_EVER_MAX: usize = 4_096;

/// Votes that pass a proposal among `operators`: floor(2n/3) + 1, as for the quorum of validators.
pub const fn quorum(operators: usize) -> usize {
    operators * 2 / 3 + 1
}
