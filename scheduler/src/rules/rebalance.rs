//! R7, rebalance gate: a batch leaves a full engine for one that has room, if both are better off.
//!
//! A move must bring the two utilisations closer without swapping them, and both limits leave a gap between them
//! (95 % to leave, 85 % to arrive). So a move that was right is never right in reverse, whatever order nodes look in.

use crate::{
    action::Action,
    refusal::Refusal,
    rules::Options,
    situation::{CandidateFacts, Situation},
};

pub(super) fn evaluate(situation: &Situation, options: &mut Options) {
    options.refuse(|action| gate(situation, situation.candidates.get(&action.destination()?)?));
    let first = options.open().iter().copied().find(|action| matches!(action, Action::Migrate { .. }));
    if let Some(best) = first {
        options.decide(best);
    }
}

fn gate(situation: &Situation, candidate: &CandidateFacts) -> Option<Refusal> {
    let (batch, source, limits) = (&situation.batch, &situation.source, &situation.limits);
    let destination = candidate.pool();
    let blocks = i64::from(batch.blocks_count);
    let gap =
        |moved: i64| i64::from(source.utilisation(-moved).get()) - i64::from(destination.utilisation(moved).get());
    let checks = [
        (batch.in_engine && blocks > 0, Refusal::HoldsNoBlocks),
        (source.utilisation(0).get() >= limits.source_utilisation_ppm_min, Refusal::SourceNotFull),
        (batch.since_hop_us.is_none_or(|since| since >= limits.cool_down_us), Refusal::CoolingDown),
        (candidate.hops_in_flight_count == 0, Refusal::PairBusy),
        (destination.utilisation(blocks).get() < limits.destination_utilisation_ppm_max, Refusal::DestinationTooFull),
        (0 < gap(blocks) && gap(blocks) < gap(0), Refusal::NothingGained),
    ];
    checks.into_iter().find_map(|(holds, refusal)| (!holds).then_some(refusal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        rules::tests::{crowded, free_node},
        situation::NodeFacts,
    };

    fn refusal(change: impl FnOnce(&mut Situation, &mut CandidateFacts)) -> Option<Refusal> {
        let (mut situation, mut candidate) = (crowded(), free_node());
        change(&mut situation, &mut candidate);
        gate(&situation, &candidate)
    }

    #[test]
    fn each_condition_closes_the_gate() {
        assert_eq!(refusal(|_, _| {}), None);
        assert_eq!(refusal(|s, _| s.batch.in_engine = false), Some(Refusal::HoldsNoBlocks));
        assert_eq!(refusal(|s, _| s.source.blocks_free_count = 6), Some(Refusal::SourceNotFull));
        assert_eq!(refusal(|s, _| s.batch.since_hop_us = Some(9_999_999)), Some(Refusal::CoolingDown));
        assert_eq!(refusal(|_, c| c.hops_in_flight_count = 1), Some(Refusal::PairBusy));
        assert_eq!(refusal(|_, c| c.blocks_free_count = 25), Some(Refusal::DestinationTooFull));
        assert_eq!(refusal(|s, _| s.batch.blocks_count = 60), Some(Refusal::NothingGained));
    }

    #[test]
    fn a_session_may_move_again_after_its_cool_down() {
        assert_eq!(refusal(|s, _| s.batch.since_hop_us = Some(10_000_000)), None);
    }

    #[test]
    fn of_two_destinations_the_next_best_serves_where_the_best_fails_the_gate() {
        let mut situation = crowded();
        let busy = CandidateFacts { hops_in_flight_count: 1, round_trip_us: 0, ..free_node() };
        situation.candidates.insert(wallet::units::NodeId::new(1), busy);
        let verdict = crate::rules::decide(&situation).expect("node 2 can take it");
        assert_eq!(verdict.chosen.destination(), Some(wallet::units::NodeId::new(2)));
    }

    proptest! {
        #[test]
        fn a_move_through_the_gate_is_never_right_in_reverse(
            total_a in 1..500_u32, total_b in 1..500_u32, used_a in 0..500_u32, used_b in 0..500_u32, blocks in 1..50_u32,
        ) {
            let pool = |total: u32, used: u32| NodeFacts {
                blocks_total_count: total,
                blocks_free_count: total.saturating_sub(used),
            };
            let gate_between = |from: NodeFacts, to: NodeFacts| {
                let mut situation = crowded();
                situation.batch.blocks_count = blocks;
                situation.source = from;
                let NodeFacts { blocks_total_count, blocks_free_count } = to;
                gate(&situation, &CandidateFacts { blocks_total_count, blocks_free_count, ..free_node() })
            };
            let (used_a, used_b) = (used_a.min(total_a), used_b.min(total_b));
            prop_assume!(blocks <= used_a && blocks <= total_b - used_b);
            let there = gate_between(pool(total_a, used_a), pool(total_b, used_b));
            // Both ways at once, as two nodes that look at the same loads would try.
            let crossing = gate_between(pool(total_b, used_b), pool(total_a, used_a));
            prop_assert!(there.is_some() || crossing.is_some());
            // And back, once it has arrived.
            let back = gate_between(pool(total_b, used_b + blocks), pool(total_a, used_a - blocks));
            prop_assert!(there.is_some() || back.is_some());
        }
    }
}
