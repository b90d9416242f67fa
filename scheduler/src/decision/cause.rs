//! The decision behind a move that was proven, as an auditor reads it.

use std::fmt;

use serde::{Deserialize, Serialize};
use wallet::{grant::WalletAddress, units::NodeId};

use super::{Decision, DecisionInvalid, OtherMove, ReplayFailed, replay};

/// A decision to make a certain move, and what becomes of it when the rules decide again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The decision.
    pub decision: Decision,
    /// Whether it follows from its inputs.
    pub follows: Follows,
}

/// Whether a decision follows from its inputs, by the rules of this build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "reason", rename_all = "kebab-case")]
pub enum Follows {
    /// The rules decide the same on them.
    Yes,
    /// They do not, for this reason: the operator's node did not keep its own rules, or says something else than it did.
    No(String),
    /// It was made under rules of another version, so this build cannot say.
    OtherRules(String),
}

/// Bytes that are no decision, or one about something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCause {
    /// Not a decision.
    #[error(transparent)]
    Invalid(#[from] DecisionInvalid),
    /// Not about this move.
    #[error(transparent)]
    OtherMove(#[from] OtherMove),
}

impl Cause {
    /// What `bytes` say for the move of `wallet` to `destination`. That they are what the source logged shows their hash,
    /// and not this.
    ///
    /// # Errors
    /// [`NoCause`] if they are not the decision to make it.
    pub fn of_move(bytes: &[u8], wallet: WalletAddress, destination: NodeId) -> Result<Self, NoCause> {
        let decision = Decision::decode(bytes)?;
        decision.moves(wallet, destination)?;
        let follows = match replay(&decision) {
            Ok(()) => Follows::Yes,
            Err(other @ ReplayFailed::OtherRules(_)) => Follows::OtherRules(other.to_string()),
            Err(failed) => Follows::No(failed.to_string()),
        };
        Ok(Self { decision, follows })
    }
}

impl fmt::Display for Follows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(reason) => write!(f, "no: {reason}"),
            Self::OtherRules(reason) => write!(f, "unknown: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use wallet::{digest::Digest, units::Timestamp};

    use super::*;
    use crate::{
        decision::DecisionLog,
        rules::{self, tests::crowded},
    };

    #[test]
    fn the_cause_of_a_move_is_replayed_and_says_what_came_of_it() {
        let situation = crowded();
        let verdict = rules::decide(&situation).expect("a full engine moves a batch");
        let logged =
            DecisionLog::default().append(Timestamp::new(5), situation.wallet, situation.inputs(), verdict).decision;
        let to = logged.chosen.destination().expect("a full engine moves a batch");
        let cause = |decision: &Decision| Cause::of_move(&decision.encode(), situation.wallet, to);
        assert_eq!(cause(&logged), Ok(Cause { decision: logged.clone(), follows: Follows::Yes }));
        let mut changed = logged.clone();
        changed.refused.clear();
        assert!(matches!(cause(&changed).expect("it is about the move").follows, Follows::No(_)));
        changed.rules_version += 1;
        assert!(matches!(cause(&changed).expect("it is about the move").follows, Follows::OtherRules(_)));
        changed.wallet = WalletAddress(Digest([9; 32]));
        assert!(matches!(cause(&changed), Err(NoCause::OtherMove(_))));
        assert!(matches!(Cause::of_move(b"no decision", situation.wallet, to), Err(NoCause::Invalid(_))));
    }
}
