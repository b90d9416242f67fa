//! Whether a prompt leaves this operator.
//!
//! The router names the cheapest node, and for short prompts the prices of equal nodes differ by chance. A prompt leaves
//! its operator only for a reason: another node holds more of its blocks, or answers sooner because this one has a
//! queue, or this one cannot serve it.

use std::collections::BTreeMap;

use scheduler::{load::Load, router::Routed};
use wallet::units::NodeId;

/// How much shorter another node's queue must be.
const QUEUE_SAVED_US_MIN: u64 = 100_000;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The node.
    pub node: NodeId,
    /// Leading blocks of the prompt that it holds, as far as we know.
    pub matched_blocks: u32,
}

impl Choice {
    /// The router's choice, or this node where leaving saves nothing.
    pub(super) fn of(routed: &Routed, loads: &BTreeMap<NodeId, Load>, me: NodeId) -> Self {
        let queue_us = |node| loads.get(&node).map_or(0, |load: &Load| load.queue.get());
        let saved_us = queue_us(me).saturating_sub(queue_us(routed.node));
        let own = routed.considered.iter().find(|one| one.node == me && one.price.is_ok());
        match own {
            Some(own) if own.matched_blocks >= routed.matched_blocks && saved_us < QUEUE_SAVED_US_MIN => {
                Self { node: me, matched_blocks: own.matched_blocks }
            }
            _ => Self { node: routed.node, matched_blocks: routed.matched_blocks },
        }
    }
}

#[cfg(test)]
mod tests {
    use scheduler::{refusal::Refusal, router::Considered};
    use wallet::units::{Micros, Timestamp};

    use super::*;

    const ME: NodeId = NodeId::new(0);
    const OTHER: NodeId = NodeId::new(1);

    /// The router chose the other node, which has no queue and this many blocks; this node has these.
    fn choice(own_blocks: u32, own_price: Result<u64, Refusal>, own_queue_us: u64, other_blocks: u32) -> Choice {
        let load = |queue_us| Load {
            measured_at: Timestamp::ZERO,
            serves: Default::default(),
            blocks_total: 100,
            blocks_free: 100,
            queue: Micros::new(queue_us),
            prefill_tokens_per_s: None,
            round_trip: Micros::ZERO,
            link_bytes_per_s: None,
        };
        let considered = |node, matched_blocks, price: Result<u64, _>| Considered {
            node,
            matched_blocks,
            price: price.map(Micros::new),
        };
        let considered = vec![considered(ME, own_blocks, own_price), considered(OTHER, other_blocks, Ok(1_000))];
        let routed = Routed { node: OTHER, matched_blocks: other_blocks, considered };
        Choice::of(&routed, &[(ME, load(own_queue_us)), (OTHER, load(0))].into(), ME)
    }

    #[test]
    fn a_prompt_stays_here_unless_leaving_saves_something() {
        assert_eq!(choice(0, Ok(900_000), 99_999, 0), Choice { node: ME, matched_blocks: 0 });
        assert_eq!(choice(3, Ok(2_000), 0, 2), Choice { node: ME, matched_blocks: 3 });
    }

    #[test]
    fn it_leaves_for_blocks_that_are_held_elsewhere_or_for_a_shorter_queue() {
        assert_eq!(choice(0, Ok(2_000), 0, 1), Choice { node: OTHER, matched_blocks: 1 });
        assert_eq!(choice(0, Ok(102_000), 100_000, 0), Choice { node: OTHER, matched_blocks: 0 });
    }

    #[test]
    fn it_leaves_if_this_node_cannot_serve_it() {
        assert_eq!(choice(5, Err(Refusal::NoRoom), 0, 0), Choice { node: OTHER, matched_blocks: 0 });
    }
}
