//! The decision log: why each batch was moved, hash-chained, replayable by anyone.
//!
//! A decision stores the integers that the rules looked at, limits included, what was chosen, and what was refused and
//! why. Its hash covers its predecessor's, so that an anchored head fixes the whole log. [`replay`] runs the same rules
//! over the stored inputs and compares. The format is in `docs/formats/decision.md`.

mod cause;

use serde::{Deserialize, Serialize};
use wallet::{
    codec::{self, DecodeError},
    digest::{Digest, sha256},
    grant::WalletAddress,
    units::{NodeId, Timestamp},
};

pub use self::cause::{Cause, Follows, NoCause};
use crate::{
    action::Action,
    inputs::{InputInvalid, Inputs},
    refusal::Refusal,
    rules::{self, RuleId, TABLE_VERSION, Verdict},
    situation::Situation,
};

/// The largest encoded decision.
pub const DECISION_BYTES_MAX: usize = 1 << 20;

/// `seq`, `at` and `previous`.
const HEAD_BYTES: usize = 48;

/// One entry of the log. The order of the fields is their wire order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Position in the log, from 0.
    pub seq: u64,
    /// When it was made, on the node's clock.
    pub at: Timestamp,
    /// Hash of the decision before; zero for the first.
    pub previous: Digest,
    /// The batch's wallet.
    pub wallet: WalletAddress,
    /// Version of the table of rules.
    pub rules_version: u32,
    /// The rule that decided, or the operator.
    pub rule: RuleId,
    /// What the rules looked at, with the unit in each name.
    pub inputs: Inputs,
    /// What was chosen; never [`Action::Keep`].
    pub chosen: Action,
    /// The other options, with the reason against each.
    pub refused: Vec<(Action, Refusal)>,
}

impl Decision {
    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a decision.
    ///
    /// # Errors
    /// [`DecisionInvalid`] if the bytes are too many or not canonical.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecisionInvalid> {
        if bytes.len() > DECISION_BYTES_MAX {
            return Err(DecisionInvalid::TooLarge(bytes.len()));
        }
        Ok(codec::decode(bytes)?)
    }

    /// What an offer or an eviction cites, and the log's head after this decision: SHA-256 of its first three fields and
    /// of the hash of the others. So the chain can be shown without what each decision on it says.
    pub fn hash(&self) -> Digest {
        let encoded = self.encode();
        let (head, reason) = encoded.split_at(HEAD_BYTES);
        let reason = sha256("batchmind/v2/decision/reason", &[reason]);
        sha256("batchmind/v2/decision", &[head, reason.as_bytes()])
    }

    /// Whether this is the decision to move `wallet` to `destination`.
    ///
    /// # Errors
    /// [`OtherMove`] if it is about something else.
    pub fn moves(&self, wallet: WalletAddress, destination: NodeId) -> Result<(), OtherMove> {
        let same = (self.wallet, self.chosen.destination()) == (wallet, Some(destination));
        if same { Ok(()) } else { Err(OtherMove { wallet: self.wallet, chosen: self.chosen }) }
    }
}

/// A decision that does not explain a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the decision is about wallet {}, to {chosen}", wallet.0)]
pub struct OtherMove {
    /// The wallet that it is about.
    pub wallet: WalletAddress,
    /// What was decided.
    pub chosen: Action,
}

/// Bytes that are not a decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionInvalid {
    /// Larger than any decision.
    #[error("a decision of {0} bytes is larger than the {DECISION_BYTES_MAX} allowed")]
    TooLarge(usize),
    /// Not the canonical encoding.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
}

/// The end of a decision log: all that is needed to append to it, and what is anchored on the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogHead {
    /// Length of the log: the next decision's position.
    pub length: u64,
    /// Hash of the last decision; zero before the first.
    pub hash: Digest,
}

/// A decision with its hash, as the log took it. Store it before acting on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The decision.
    pub decision: Decision,
    /// Its hash.
    pub hash: Digest,
}

/// Makes decisions and chains them.
#[derive(Clone, Debug, Default)]
pub struct DecisionLog {
    head: LogHead,
}

impl DecisionLog {
    /// A log that goes on after `head`; the default head begins a new one.
    pub fn resume(head: LogHead) -> Self {
        Self { head }
    }

    /// The end of the log.
    pub fn head(&self) -> LogHead {
        self.head
    }

    /// Logs `verdict`, which the rules gave on `inputs`.
    pub(crate) fn append(&mut self, at: Timestamp, wallet: WalletAddress, inputs: Inputs, verdict: Verdict) -> Logged {
        let Verdict { rule, chosen, refused } = verdict;
        let LogHead { length: seq, hash: previous } = self.head;
        let rules_version = TABLE_VERSION;
        let decision = Decision { seq, at, previous, wallet, rules_version, rule, inputs, chosen, refused };
        let hash = decision.hash();
        self.head = LogHead { length: seq + 1, hash };
        Logged { decision, hash }
    }
}

/// A decision that does not follow from the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the decision log is broken at position {seq}")]
pub struct ChainBroken {
    /// The position at which another decision belongs.
    pub seq: u64,
}

/// Checks that `decisions` continue a log that ended at `from`, without a gap, and returns where it ends now.
///
/// Compare the result with the anchored head: it is what fixes the content of the last decision.
///
/// # Errors
/// [`ChainBroken`] at the first decision that does not follow.
pub fn verify_chain(decisions: &[Decision], from: LogHead) -> Result<LogHead, ChainBroken> {
    decisions.iter().try_fold(from, |head, decision| {
        let broken = ChainBroken { seq: head.length };
        if decision.seq != head.length || decision.previous != head.hash {
            return Err(broken);
        }
        Ok(LogHead { length: head.length.checked_add(1).ok_or(broken)?, hash: decision.hash() })
    })
}

/// Why a decision does not follow from its inputs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayFailed {
    /// Made under a table of rules that this build does not have.
    #[error("the decision was made under version {0} of the rules, this build has version {TABLE_VERSION}")]
    OtherRules(u32),
    /// The inputs are not those that the rules read.
    #[error(transparent)]
    Inputs(#[from] InputInvalid),
    /// The rules decide something else.
    #[error("on these inputs the rules decide otherwise: {0:?}")]
    Differs(Option<Verdict>),
    /// The operator commanded what nobody may.
    #[error("nobody may command this: {0}")]
    Forbidden(Refusal),
}

/// Runs the rules over the inputs of `decision` and compares rule, choice and refusals.
///
/// What it cannot show is that the inputs were measured honestly.
///
/// # Errors
/// [`ReplayFailed`] if the decision does not follow from its inputs.
pub fn replay(decision: &Decision) -> Result<(), ReplayFailed> {
    if decision.rules_version != TABLE_VERSION {
        return Err(ReplayFailed::OtherRules(decision.rules_version));
    }
    let situation = Situation::from_inputs(decision.wallet, &decision.inputs)?;
    let verdict = match decision.rule {
        RuleId::Operator => Some(rules::command(&situation, decision.chosen).map_err(ReplayFailed::Forbidden)?),
        _ => rules::decide(&situation),
    };
    let follows = verdict.as_ref().is_some_and(|verdict| {
        verdict.rule == decision.rule && verdict.chosen == decision.chosen && verdict.refused == decision.refused
    });
    if follows { Ok(()) } else { Err(ReplayFailed::Differs(verdict)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::tests::crowded;

    fn log(count: u64) -> (Vec<Decision>, LogHead) {
        let mut log = DecisionLog::default();
        let decisions = (0..count)
            .map(|i| {
                let mut situation = crowded();
                situation.batch.move_bytes += i;
                let verdict = rules::decide(&situation).expect("a full engine moves a batch");
                log.append(Timestamp::new(500 * i), situation.wallet, situation.inputs(), verdict).decision
            })
            .collect();
        (decisions, log.head())
    }

    #[test]
    fn the_encoding_and_the_hash_are_pinned() {
        let (decisions, head) = log(2);
        assert_eq!(head.hash, decisions[1].hash());
        assert_eq!(
            sha256("golden", &[&decisions[1].encode()]).to_string(),
            "ba8a467987800e455c1046f9cca5ba0e4d6ec94df663c1078baebdc6d560310c"
        );
        assert_eq!(head.hash.to_string(), "c7c58eb10f79c3e5c57738a2165bdfb5d757fb853417d2fb8d42e4edf9d34e94");
        assert_eq!(Decision::decode(&decisions[1].encode()), Ok(decisions[1].clone()));
    }

    #[test]
    fn a_log_verifies_from_any_of_its_heads() {
        let (decisions, head) = log(5);
        assert_eq!(verify_chain(&decisions, LogHead::default()), Ok(head));
        let middle = verify_chain(&decisions[..2], LogHead::default()).expect("a prefix is a log");
        assert_eq!(verify_chain(&decisions[2..], middle), Ok(head));
    }

    #[test]
    fn a_missing_decision_breaks_the_log() {
        let (mut decisions, _) = log(5);
        decisions.remove(2);
        assert_eq!(verify_chain(&decisions, LogHead::default()), Err(ChainBroken { seq: 2 }));
    }

    #[test]
    fn a_decision_that_claims_another_choice_does_not_replay() {
        let (decisions, _) = log(1);
        let mut claimed = decisions[0].clone();
        assert_eq!(replay(&claimed), Ok(()));
        claimed.chosen = Action::Migrate { to: NodeId::new(3) };
        assert!(matches!(replay(&claimed), Err(ReplayFailed::Differs(Some(_)))));
        claimed.rule = RuleId::Operator;
        assert_eq!(replay(&claimed), Err(ReplayFailed::Forbidden(Refusal::LoadUnknown)));
    }

    #[test]
    fn a_missing_or_stray_input_does_not_replay() {
        let (decisions, _) = log(1);
        let with = |change: fn(&mut Inputs)| {
            let mut decision = decisions[0].clone();
            change(&mut decision.inputs);
            replay(&decision)
        };
        fn set(inputs: &mut Inputs, name: &str, value: Option<i64>) {
            inputs.remove(name);
            inputs.extend(value.map(|value| (name.to_owned(), value)));
        }
        let failed = |name: &str, problem| Err(InputInvalid { name: name.to_owned(), problem }.into());
        assert_eq!(with(|i| set(i, "batch.idle_us", None)), failed("batch.idle_us", "missing"));
        assert_eq!(with(|i| set(i, "batch.mood", Some(1))), failed("batch.mood", "read by no rule"));
        assert_eq!(with(|i| set(i, "batch.decoding", Some(2))), failed("batch.decoding", "out of range"));
    }

    #[test]
    fn a_decision_explains_the_move_that_it_chose_and_no_other() {
        let (decisions, _) = log(1);
        let to = decisions[0].chosen.destination().expect("a full engine moves a batch");
        let other = OtherMove { wallet: decisions[0].wallet, chosen: decisions[0].chosen };
        assert_eq!(decisions[0].moves(decisions[0].wallet, to), Ok(()));
        assert_eq!(decisions[0].moves(WalletAddress(Digest([9; 32])), to), Err(other));
        assert_eq!(decisions[0].moves(decisions[0].wallet, NodeId::new(to.get() + 1)), Err(other));
    }

    #[test]
    fn another_table_of_rules_is_named_not_guessed() {
        let (mut decisions, _) = log(1);
        decisions[0].rules_version = 0;
        assert_eq!(replay(&decisions[0]), Err(ReplayFailed::OtherRules(0)));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_anywhere_breaks_the_log(which in 0..4_usize, at in any::<proptest::sample::Index>(), bit in 0..8_u32) {
            let (mut decisions, head) = log(4);
            let mut bytes = decisions[which].encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let Ok(tampered) = Decision::decode(&bytes) else { return Ok(()) };
            decisions[which] = tampered;
            prop_assert_ne!(verify_chain(&decisions, LogHead::default()), Ok(head));
        }
    }
}
