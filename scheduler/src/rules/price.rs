//! R4, price: where a batch or a request waits least.
//!
//! The price of a node is time: its queue, the prefill of what it does not hold, and the transfer. Prices within 5 %
//! of the lowest are ties, which the lower utilisation breaks and then a hash, so that no node is favoured by its
//! number. R4 ranks the destinations; whether to move at all is for the rules after it.

use wallet::{
    digest::{Digest, sha256},
    units::NodeId,
};

use crate::{
    action::Action,
    ppm::Ppm,
    rules::Options,
    situation::{CandidateFacts, Situation, micros_at},
    thresholds::Thresholds,
};

pub(super) fn evaluate(situation: &Situation, options: &mut Options) {
    let offers = offers(situation, options.open());
    let ranked: Vec<Action> = offers.iter().map(|offer| Action::Migrate { to: offer.node }).collect();
    options.rank(&ranked);
}

/// What each migration among `actions` would cost, best first.
pub(super) fn offers(situation: &Situation, actions: &[Action]) -> Vec<Offer> {
    let offer = |node| {
        let candidate = situation.candidates.get(&node)?;
        // Everything that was computed moves along, so nothing is prefilled again.
        let price_us = price_us(candidate, 0, situation.batch.move_bytes, &situation.limits);
        Some(Offer::new(node, candidate, price_us, &situation.wallet.0))
    };
    let mut offers: Vec<Offer> = actions.iter().filter_map(|action| action.destination()).filter_map(offer).collect();
    rank(&mut offers, situation.limits.price_tie_ppm);
    offers
}

/// Queue, prefill of `tokens`, and transfer of `bytes`, in microseconds.
pub(crate) fn price_us(candidate: &CandidateFacts, tokens: u32, bytes: u64, limits: &Thresholds) -> u64 {
    let rate = candidate.prefill_tokens_per_s.unwrap_or(limits.prefill_tokens_per_s_unmeasured);
    candidate
        .queue_us
        .saturating_add(micros_at(u64::from(tokens), u64::from(rate)))
        .saturating_add(candidate.round_trip_us)
        .saturating_add(candidate.transfer_us(bytes, limits))
}

/// One node with its price and what breaks a tie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) node: NodeId,
    pub(crate) price_us: u64,
    tie: (Ppm, Digest),
}

impl Offer {
    /// `subject` is what is placed: a wallet or a prefix.
    pub(crate) fn new(node: NodeId, candidate: &CandidateFacts, price_us: u64, subject: &Digest) -> Self {
        let id = sha256("batchmind/v1/price-tie", &[subject.as_bytes(), &node.get().to_le_bytes()]);
        Self { node, price_us, tie: (candidate.pool().utilisation(0), id) }
    }
}

/// Sorts offers, best first: again and again the best tie among those near the lowest price that is left.
pub(crate) fn rank(offers: &mut [Offer], tie_ppm: u32) {
    for start in 0..offers.len() {
        let rest = &mut offers[start..];
        let lowest_us = rest.iter().map(|offer| offer.price_us).min().unwrap_or(0);
        let limit_us = lowest_us.saturating_add(Ppm::new(tie_ppm).times(lowest_us));
        let best = (0..rest.len())
            .filter(|&i| rest[i].price_us <= limit_us)
            .min_by_key(|&i| rest[i].tie)
            .expect("the lowest price is within its own tie");
        rest.swap(0, best);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::tests::free_node;

    fn offer(node: u32, price_us: u64, blocks_free_count: u32) -> Offer {
        let candidate = CandidateFacts { blocks_free_count, ..free_node() };
        Offer::new(NodeId::new(node), &candidate, price_us, &Digest([1; 32]))
    }

    fn best(offers: &mut [Offer]) -> u32 {
        rank(offers, 50_000);
        offers[0].node.get()
    }

    #[test]
    fn the_price_adds_queue_prefill_round_trip_and_transfer() {
        let node = CandidateFacts {
            queue_us: 1_000,
            prefill_tokens_per_s: Some(2_000),
            link_bytes_per_s: Some(1_000_000),
            ..free_node()
        };
        assert_eq!(price_us(&node, 100, 3_000, &Thresholds::default()), 1_000 + 50_000 + 500 + 3_000);
    }

    #[test]
    fn within_five_per_cent_the_emptier_node_wins_and_beyond_it_the_cheaper() {
        assert_eq!(best(&mut [offer(1, 1_000, 10), offer(2, 1_050, 90)]), 2);
        assert_eq!(best(&mut [offer(1, 1_000, 10), offer(2, 1_051, 90)]), 1);
    }

    proptest! {
        #[test]
        fn the_ranking_does_not_depend_on_the_order_of_the_offers(
            prices in proptest::collection::vec((900..1_100_u64, 0..4_u32), 1..8), shift in 0..8_usize,
        ) {
            let mut offers: Vec<Offer> =
                (1..).zip(&prices).map(|(node, &(price, free))| offer(node, price, free)).collect();
            let mut shifted = offers.clone();
            shifted.rotate_left(shift % prices.len());
            rank(&mut offers, 50_000);
            rank(&mut shifted, 50_000);
            prop_assert_eq!(offers, shifted);
        }

        #[test]
        fn no_hash_favours_a_node_by_its_number(subjects in proptest::collection::vec(any::<[u8; 32]>(), 64)) {
            let first = subjects.iter().filter(|subject| {
                let offer = |node| Offer::new(NodeId::new(node), &free_node(), 1_000, &Digest(**subject));
                best(&mut [offer(1), offer(2)]) == 1
            });
            let count = first.count();
            prop_assert!((8..=56).contains(&count), "node 1 came first {} times of 64", count);
        }
    }
}
