//! R2, eligibility: a node may take a batch only if everything about it is known and fits. It fails closed.

use crate::{
    action::Action,
    refusal::Refusal,
    rules::Options,
    situation::{CandidateFacts, Situation},
    thresholds::Thresholds,
};

pub(super) fn evaluate(situation: &Situation, options: &mut Options) {
    options.refuse(|action| refusal(situation, action));
}

/// Why `action` is not open to anyone, operators included.
pub(super) fn refusal(situation: &Situation, action: Action) -> Option<Refusal> {
    let blocks = situation.batch.blocks_count;
    match action {
        Action::Migrate { to } => match situation.candidates.get(&to) {
            Some(candidate) => unfit(candidate, blocks, &situation.limits),
            None => Some(Refusal::LoadUnknown),
        },
        Action::Promote => (!situation.source.has_room(blocks, &situation.limits)).then_some(Refusal::NoRoom),
        Action::Keep | Action::Demote | Action::Suspend | Action::Evict => None,
    }
}

/// Why `candidate` cannot take a batch that needs `blocks`.
pub(crate) fn unfit(candidate: &CandidateFacts, blocks: u32, limits: &Thresholds) -> Option<Refusal> {
    let checks = [
        (candidate.allowed, Refusal::NotAllowed),
        (candidate.model_matches, Refusal::ModelDiffers),
        (candidate.numerics_match, Refusal::NumericsDiffer),
        (candidate.load_age_us <= limits.load_age_us_max, Refusal::LoadStale),
        (candidate.pool().has_room(blocks, limits), Refusal::NoRoom),
    ];
    checks.into_iter().find_map(|(holds, refusal)| (!holds).then_some(refusal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::tests::free_node;

    #[test]
    fn nothing_known_means_not_eligible() {
        assert_eq!(unfit(&CandidateFacts::default(), 0, &Thresholds::default()), Some(Refusal::NotAllowed));
    }

    #[test]
    fn a_tenth_more_than_the_need_must_be_free() {
        let limits = Thresholds::default();
        let with_free = |blocks_free_count| CandidateFacts { blocks_free_count, ..free_node() };
        assert_eq!(unfit(&with_free(21), 20, &limits), Some(Refusal::NoRoom));
        assert_eq!(unfit(&with_free(22), 20, &limits), None);
    }

    proptest! {
        #[test]
        fn one_failed_check_is_enough(
            allowed: bool, model_matches: bool, numerics_match: bool,
            load_age_us in 0..4_000_000_u64, blocks_free_count in 0..40_u32, blocks in 0..40_u32,
        ) {
            let limits = Thresholds::default();
            let candidate = CandidateFacts {
                allowed, model_matches, numerics_match, load_age_us, blocks_free_count, ..free_node()
            };
            let fits = allowed && model_matches && numerics_match && load_age_us <= 2_000_000
                && u64::from(blocks_free_count) * 10 >= u64::from(blocks) * 11;
            prop_assert_eq!(unfit(&candidate, blocks, &limits).is_none(), fits);
        }
    }
}
