//! R9, tier by TTL: an idle batch steps down as time passes, and comes back when a request waits for it.
//!
//! Engine, then host memory where a node has it, then disk; past its TTL it is evicted. A full engine lets idle
//! batches go sooner, but not before the time in which most sessions come back.

use crate::{action::Action, refusal::Refusal, rules::Options, situation::Situation};

pub(super) fn evaluate(situation: &Situation, options: &mut Options) {
    options.refuse(|action| not_due(situation, action));
    // Least drastic last: what has outlived its TTL does not first go to disk.
    let order = [Action::Promote, Action::Evict, Action::Demote, Action::Suspend];
    if let Some(first) = order.into_iter().find(|action| options.open().contains(action)) {
        options.decide(first);
    }
}

fn not_due(situation: &Situation, action: Action) -> Option<Refusal> {
    let (batch, limits) = (&situation.batch, &situation.limits);
    let after_us = match action {
        Action::Promote => return (!batch.request_waits).then_some(Refusal::NoRequestWaits),
        Action::Keep | Action::Migrate { .. } => return None,
        Action::Evict => batch.ttl_us,
        Action::Suspend if batch.in_host_memory => limits.host_idle_us_max,
        // With a host tier, the engine's pages stop there first.
        Action::Suspend if batch.host_tier => limits.host_idle_us_max.max(limits.engine_idle_us_max),
        Action::Demote | Action::Suspend => {
            if situation.is_source_full() {
                limits.engine_idle_us_min
            } else {
                limits.engine_idle_us_max
            }
        }
    };
    if batch.request_waits {
        return Some(Refusal::RequestWaits);
    }
    (batch.idle_us < after_us).then_some(Refusal::NotDue)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{RuleId, decide, tests::crowded};

    const SECOND: u64 = 1_000_000;

    fn decided(change: impl FnOnce(&mut Situation)) -> Option<Action> {
        let mut situation = crowded();
        situation.batch.decoding = false;
        situation.candidates.clear();
        situation.source.blocks_free_count = 50;
        change(&mut situation);
        decide(&situation).map(|verdict| {
            assert_eq!(verdict.rule, RuleId::R9);
            verdict.chosen
        })
    }

    #[test]
    fn an_idle_batch_steps_down_as_time_passes() {
        assert_eq!(decided(|s| s.batch.idle_us = 149 * SECOND), None);
        assert_eq!(decided(|s| s.batch.idle_us = 150 * SECOND), Some(Action::Suspend));
        let in_host = |idle_us| {
            decided(|s| {
                (s.batch.in_engine, s.batch.in_host_memory, s.batch.host_tier) = (false, true, true);
                s.batch.idle_us = idle_us;
            })
        };
        assert_eq!(in_host(599 * SECOND), None);
        assert_eq!(in_host(600 * SECOND), Some(Action::Suspend));
        assert_eq!(in_host(1800 * SECOND), Some(Action::Evict));
    }

    #[test]
    fn a_host_tier_comes_before_the_disk() {
        let change = |s: &mut Situation| (s.batch.host_tier, s.batch.idle_us) = (true, 150 * SECOND);
        assert_eq!(decided(change), Some(Action::Demote));
    }

    #[test]
    fn a_full_engine_lets_idle_batches_go_sooner() {
        let idle = |idle_us| decided(|s| (s.source.blocks_free_count, s.batch.idle_us) = (5, idle_us));
        assert_eq!(idle(19 * SECOND), None);
        assert_eq!(idle(20 * SECOND), Some(Action::Suspend));
    }

    #[test]
    fn a_request_that_waits_brings_a_batch_back_if_it_fits() {
        let waiting = |free| {
            decided(|s| {
                (s.batch.in_engine, s.batch.request_waits, s.batch.idle_us) = (false, true, 9_000 * SECOND);
                s.source.blocks_free_count = free;
            })
        };
        assert_eq!(waiting(11), Some(Action::Promote));
        assert_eq!(waiting(10), None);
    }

    #[test]
    fn a_decoding_batch_is_neither_suspended_nor_evicted_however_old() {
        assert_eq!(decided(|s| (s.batch.decoding, s.batch.idle_us) = (true, u64::MAX)), None);
    }

    #[test]
    fn a_full_engine_suspends_a_decoding_batch_that_nobody_reads() {
        let unread = |free, idle_us| {
            decided(|s| {
                (s.batch.decoding, s.batch.idle_us, s.source.blocks_free_count) = (true, idle_us, free);
                s.batch.ttl_us = 0;
            })
        };
        assert_eq!(unread(5, 60 * SECOND), Some(Action::Suspend), "and it is not evicted");
        assert_eq!(unread(5, 60 * SECOND - 1), None);
        assert_eq!(unread(6, u64::MAX), None, "there is room for it");
    }
}
