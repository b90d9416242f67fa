//! The table of rules, evaluated in order; the first decisive rule wins.
//!
//! A rule looks at a [`Situation`] and works on the [`Options`] still open: it refuses some with a reason, ranks them,
//! or decides on one. To add a rule, write its file, give it an id, and put its row into [`TABLE`] in the order of the
//! numbers. Whenever a rule or the table changes what is decided, [`TABLE_VERSION`] goes up.

mod decode_shield;
pub(crate) mod eligibility;
pub(crate) mod price;
mod rebalance;
mod tier;

use serde::{Deserialize, Serialize};
use wallet::units::Micros;

use crate::{action::Action, record::RankedCandidate, refusal::Refusal, situation::Situation};

/// Version of the table, recorded in each decision.
pub const TABLE_VERSION: u32 = 2;

/// One rule.
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// What it is called.
    pub name: &'static str,
    /// Looks at the situation and works on the options.
    pub evaluate: fn(&Situation, &mut Options),
}

/// The rules, in the order in which they speak.
pub const TABLE: &[Rule] = &[
    Rule { id: RuleId::R1, name: "decode shield", evaluate: decode_shield::evaluate },
    Rule { id: RuleId::R2, name: "eligibility", evaluate: eligibility::evaluate },
    Rule { id: RuleId::R4, name: "price", evaluate: price::evaluate },
    Rule { id: RuleId::R7, name: "rebalance gate", evaluate: rebalance::evaluate },
    Rule { id: RuleId::R9, name: "tier by TTL", evaluate: tier::evaluate },
];

/// Which rule, or who, decided. All twelve numbers have their place on the wire; [`TABLE`] says which are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RuleId {
    /// The operator's command.
    Operator,
    /// Decode shield.
    R1,
    /// Eligibility.
    R2,
    /// Stay.
    R3,
    /// Price.
    R4,
    /// Cold.
    R5,
    /// Copy or compute.
    R6,
    /// Rebalance gate.
    R7,
    /// Boundary first.
    R8,
    /// Tier by TTL.
    R9,
    /// Isolation.
    R10,
    /// Doubt.
    R11,
    /// Not portable.
    R12,
}

impl std::fmt::Display for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

/// What the table made of a situation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The rule that decided.
    pub rule: RuleId,
    /// The option it chose; never [`Action::Keep`].
    pub chosen: Action,
    /// Every other option but to keep, with the reason against it.
    pub refused: Vec<(Action, Refusal)>,
}

/// Lets every rule speak. None means that no rule decides: the batch is kept.
pub fn decide(situation: &Situation) -> Option<Verdict> {
    let mut options = Options::of(situation);
    for rule in TABLE {
        (rule.evaluate)(situation, &mut options);
        if let Some(chosen) = options.decided {
            return Some(options.into_verdict(rule.id, chosen));
        }
    }
    None
}

/// Checks what the operator commands. R1 does not apply, as an owner may suspend; R2 does, to everyone.
///
/// # Errors
/// The reason of R2, or [`Refusal::NothingToDo`] for what changes nothing where the batch is.
pub fn command(situation: &Situation, action: Action) -> Result<Verdict, Refusal> {
    match eligibility::refusal(situation, action) {
        Some(refusal) => Err(refusal),
        None if !Options::of(situation).open.contains(&action) => Err(Refusal::NothingToDo),
        None => Ok(Verdict { rule: RuleId::Operator, chosen: action, refused: Vec::new() }),
    }
}

/// The nodes that R2 lets take the batch, in R4's order: the ranked candidates of C4.
pub fn rank_candidates(situation: &Situation) -> Vec<RankedCandidate> {
    let mut options = Options::of(situation);
    eligibility::evaluate(situation, &mut options);
    let offers = price::offers(situation, options.open());
    offers.iter().map(|offer| RankedCandidate { node: offer.node, price: Micros::new(offer.price_us) }).collect()
}

/// The options of one batch while the rules speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    open: Vec<Action>,
    refused: Vec<(Action, Refusal)>,
    decided: Option<Action>,
}

impl Options {
    /// Everything that could be done with the batch where it is, migrations first.
    fn of(situation: &Situation) -> Self {
        let batch = &situation.batch;
        let mut open: Vec<Action> = situation.candidates.keys().map(|&to| Action::Migrate { to }).collect();
        let tiers = [
            (Action::Promote, !batch.in_engine),
            (Action::Demote, batch.in_engine && batch.host_tier),
            (Action::Suspend, batch.in_engine || batch.in_host_memory),
            (Action::Evict, true),
        ];
        open.extend(tiers.into_iter().filter_map(|(action, possible)| possible.then_some(action)));
        Self { open, refused: Vec::new(), decided: None }
    }

    /// What no rule has refused yet, best first.
    pub fn open(&self) -> &[Action] {
        &self.open
    }

    /// Refuses each open option for which `reason` finds one.
    pub fn refuse(&mut self, reason: impl Fn(Action) -> Option<Refusal>) {
        let refused = &mut self.refused;
        self.open.retain(|&action| match reason(action) {
            Some(refusal) => {
                refused.push((action, refusal));
                false
            }
            None => true,
        });
    }

    /// Puts `ranked` first, in that order. The others keep theirs.
    pub fn rank(&mut self, ranked: &[Action]) {
        self.open.sort_by_key(|action| ranked.iter().position(|one| one == action).unwrap_or(usize::MAX));
    }

    /// Decides on `action`, after which no further rule is asked.
    pub fn decide(&mut self, action: Action) {
        self.decided = Some(action);
    }

    fn into_verdict(self, rule: RuleId, chosen: Action) -> Verdict {
        let outranked = self.open.into_iter().filter(|&action| action != chosen);
        let mut refused = self.refused;
        refused.extend(outranked.map(|action| (action, Refusal::Outranked)));
        Verdict { rule, chosen, refused }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wallet::{digest::Digest, grant::WalletAddress, units::NodeId};

    use super::*;
    use crate::situation::{BatchFacts, CandidateFacts, NodeFacts};

    /// A decoding batch of 10 blocks on a full engine, and node 2, empty and eligible.
    pub(crate) fn crowded() -> Situation {
        Situation {
            wallet: WalletAddress(Digest([7; 32])),
            batch: BatchFacts {
                decoding: true,
                in_engine: true,
                ttl_us: 1_800_000_000,
                blocks_count: 10,
                move_bytes: 1_000_000,
                tail_bytes: 10_000,
                step_us: Some(20_000),
                ..BatchFacts::default()
            },
            source: NodeFacts { blocks_total_count: 100, blocks_free_count: 2 },
            candidates: [(NodeId::new(2), free_node())].into(),
            limits: crate::thresholds::Thresholds::default(),
        }
    }

    pub(crate) fn free_node() -> CandidateFacts {
        CandidateFacts {
            allowed: true,
            model_matches: true,
            numerics_match: true,
            blocks_total_count: 100,
            blocks_free_count: 90,
            round_trip_us: 500,
            ..CandidateFacts::default()
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_the_numbers() {
        assert!(TABLE.is_sorted_by(|a, b| a.id < b.id));
    }

    #[test]
    fn every_option_but_keep_is_chosen_or_refused() {
        let verdict = decide(&crowded()).expect("a full engine moves a batch");
        assert_eq!(verdict.chosen, Action::Migrate { to: NodeId::new(2) });
        assert_eq!(verdict.rule, RuleId::R7);
        assert_eq!(verdict.refused, [(Action::Suspend, Refusal::Decoding), (Action::Evict, Refusal::Decoding)]);
    }

    #[test]
    fn nothing_is_decided_about_a_batch_at_ease() {
        let mut situation = crowded();
        situation.source.blocks_free_count = 50;
        assert_eq!(decide(&situation), None);
    }

    #[test]
    fn a_command_answers_to_eligibility_alone() {
        let mut situation = crowded();
        assert!(command(&situation, Action::Suspend).is_ok());
        situation.candidates.insert(NodeId::new(3), CandidateFacts { allowed: false, ..free_node() });
        assert_eq!(command(&situation, Action::Migrate { to: NodeId::new(3) }), Err(Refusal::NotAllowed));
        assert_eq!(command(&situation, Action::Migrate { to: NodeId::new(9) }), Err(Refusal::LoadUnknown));
        for idle in [Action::Keep, Action::Demote] {
            assert_eq!(command(&situation, idle), Err(Refusal::NothingToDo), "it decodes, and there is no host tier");
        }
    }

    #[test]
    fn candidates_are_ranked_by_price_without_those_that_may_not_take_the_batch() {
        let mut situation = crowded();
        situation.candidates.insert(NodeId::new(1), CandidateFacts { queue_us: 1_000_000, ..free_node() });
        situation.candidates.insert(NodeId::new(3), CandidateFacts { allowed: false, ..free_node() });
        let ranked: Vec<u32> = rank_candidates(&situation).iter().map(|one| one.node.get()).collect();
        assert_eq!(ranked, [2, 1]);
    }
}
