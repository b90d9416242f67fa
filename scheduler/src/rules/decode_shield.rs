//! R1, decode shield: a decoding sequence is never interrupted.
//!
//! The only way for a decoding sequence off its engine is a migration, which pre-copies while the sequence decodes and
//! cuts over at a step boundary; and that only if the predicted pause fits its budget. Tiering waits, unless the engine is
//! full and nobody reads what is decoded: then the sequence may be suspended at a step boundary, until somebody does.

use crate::{action::Action, refusal::Refusal, rules::Options, situation::Situation};

pub(super) fn evaluate(situation: &Situation, options: &mut Options) {
    if !situation.batch.decoding {
        return;
    }
    let unread = situation.batch.idle_us >= situation.limits.unread_us_min;
    let yields = unread && situation.is_source_full();
    options.refuse(|action| match action {
        Action::Migrate { to } => {
            let candidate = situation.candidates.get(&to)?;
            // Round trips stand on both sides: a move across the world may take one, whatever the step.
            let pause_us = candidate.transfer_us(situation.batch.tail_bytes, &situation.limits);
            (pause_us > budget_us(situation)).then_some(Refusal::BlackoutTooLong)
        }
        Action::Demote | Action::Suspend if yields => None,
        Action::Demote | Action::Suspend | Action::Evict => Some(Refusal::Decoding),
        Action::Keep | Action::Promote => None,
    });
}

/// The pause that is allowed beyond the round trip.
fn budget_us(situation: &Situation) -> u64 {
    let limits = &situation.limits;
    let steps_us = situation.batch.step_us.unwrap_or(0).saturating_mul(u64::from(limits.blackout_steps_max));
    steps_us.max(limits.blackout_us_floor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::crowded;

    fn open(situation: &Situation) -> Vec<Action> {
        let mut options = Options::of(situation);
        evaluate(situation, &mut options);
        options.open().to_vec()
    }

    #[test]
    fn tiering_never_interrupts_a_decoding_sequence() {
        assert!(open(&crowded()).iter().all(|action| action.destination().is_some()));
    }

    #[test]
    fn a_pause_beyond_its_budget_is_refused() {
        let mut situation = crowded();
        situation.batch.tail_bytes = 125_000_000;
        assert_eq!(open(&situation), []);
        situation.batch.step_us = Some(600_000);
        assert_eq!(open(&situation).len(), 1);
    }

    #[test]
    fn an_idle_batch_is_not_shielded() {
        let mut situation = crowded();
        situation.batch.decoding = false;
        assert_eq!(open(&situation).len(), 3);
    }
}
