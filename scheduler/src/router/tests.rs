use proptest::prelude::*;
use wallet::prefix::{block_hashes, prefix_root};

use super::*;

const NOW: Timestamp = Timestamp::new(10_000_000);
const MODEL: ServedModel = ServedModel { model: Digest([2; 32]), numerics: Digest([3; 32]) };

fn load() -> Load {
    Load {
        measured_at: NOW,
        serves: [MODEL].into(),
        blocks_total: 1_000,
        blocks_free: 900,
        queue: Micros::ZERO,
        prefill_tokens_per_s: Some(10_000),
        round_trip: Micros::new(300),
        link_bytes_per_s: None,
    }
}

fn nodes(count: u32) -> BTreeMap<NodeId, Load> {
    (0..count).map(|node| (NodeId::new(node), load())).collect()
}

fn hashes(salt: u8, tokens: u32) -> Vec<Digest> {
    let (salt, tokens) = ([salt; 32], (0..tokens).collect::<Vec<u32>>());
    block_hashes(&salt, &prefix_root(&salt, &MODEL.model, &MODEL.numerics), &tokens)
}

fn route_at(now: Timestamp, router: &Router, hashes: &[Digest], allowed: &[u32]) -> Result<Routed, Refusal> {
    let allowed = allowed.iter().copied().map(NodeId::new).collect();
    let tokens = TokenCount::new(330);
    let subject = Digest([5; 32]);
    let mut loads = nodes(4);
    loads.values_mut().for_each(|load| load.measured_at = now);
    router.route(now, &RouteRequest { model: MODEL, hashes, tokens, allowed: &allowed, subject }, &loads)
}

fn route(router: &Router, hashes: &[Digest]) -> Routed {
    route_at(NOW, router, hashes, &[0, 1, 2, 3]).expect("four nodes are eligible")
}

#[test]
fn a_prompt_goes_to_the_node_that_holds_its_blocks() {
    for holder in 0..4 {
        let mut router = Router::default();
        router.on_stored(NodeId::new(holder), &hashes(1, 320), NOW);
        let routed = route(&router, &hashes(1, 330));
        assert_eq!((routed.node.get(), routed.matched_blocks), (holder, 20));
        assert_eq!(routed.considered.len(), 4);
    }
}

#[test]
fn a_removed_notice_takes_effect_at_once() {
    let mut router = Router::default();
    let hashes = hashes(1, 320);
    let elsewhere = route(&router, &hashes).node;
    let holder = NodeId::new((elsewhere.get() + 1) % 4);
    router.on_stored(holder, &hashes, NOW);
    assert_eq!(route(&router, &hashes).node, holder);
    router.on_removed(holder, &hashes[3..4]);
    assert_eq!(router.matched_blocks(holder, &hashes, NOW), 3);
    router.on_removed(holder, &hashes);
    assert_eq!((route(&router, &hashes).node, route(&router, &hashes).matched_blocks), (elsewhere, 0));
}

#[test]
fn a_cleared_node_holds_nothing() {
    let mut router = Router::default();
    router.on_stored(NodeId::new(1), &hashes(1, 320), NOW);
    router.on_cleared(NodeId::new(1));
    assert_eq!(route(&router, &hashes(1, 320)).matched_blocks, 0);
}

#[test]
fn a_block_expires_unless_it_is_reported_again() {
    let mut router = Router::default();
    let node = NodeId::new(1);
    let hashes = hashes(1, 320);
    let later = |seconds: u64| Timestamp::new(NOW.get() + seconds * 1_000);
    router.on_stored(node, &hashes, NOW);
    assert_eq!(router.matched_blocks(node, &hashes, later(600)), 20);
    assert_eq!(router.matched_blocks(node, &hashes, later(601)), 0);
    router.on_stored(node, &hashes[..5], later(300));
    assert_eq!(router.matched_blocks(node, &hashes, later(900)), 5);
    router.on_stored(node, &[Digest::ZERO], later(800));
    assert_eq!(router.nodes[&node].len(), 6, "expired blocks are forgotten");
}

#[test]
fn beyond_its_capacity_the_least_recently_reported_is_forgotten() {
    let mut router =
        Router::new(RouterLimits { blocks_per_node_max: 4, ..RouterLimits::default() }, Thresholds::default());
    let node = NodeId::new(1);
    let hashes = hashes(1, 96);
    router.on_stored(node, &hashes[..4], NOW);
    router.on_stored(node, &hashes[..1], NOW);
    router.on_stored(node, &hashes[4..5], NOW);
    assert_eq!(router.nodes[&node].len(), 4);
    assert_eq!(router.matched_blocks(node, &hashes, NOW), 1, "the second block was the oldest");
}

#[test]
fn one_tenants_residency_says_nothing_about_anothers_prompt() {
    let mut router = Router::default();
    router.on_stored(NodeId::new(1), &hashes(1, 320), NOW);
    assert_eq!(route(&router, &hashes(2, 320)).matched_blocks, 0);
}

#[test]
fn a_long_queue_outweighs_a_match() {
    let mut router = Router::default();
    let hashes = hashes(1, 320);
    router.on_stored(NodeId::new(1), &hashes, NOW);
    let allowed = [NodeId::new(0), NodeId::new(1)].into();
    let request = RouteRequest {
        model: MODEL,
        hashes: &hashes,
        tokens: TokenCount::new(330),
        allowed: &allowed,
        subject: Digest::ZERO,
    };
    let mut loads = nodes(2);
    let mut placed = |queue| {
        loads.get_mut(&NodeId::new(1)).expect("node 1").queue = Micros::new(queue);
        router.route(NOW, &request, &loads).expect("eligible").node.get()
    };
    assert_eq!(placed(20_000), 1);
    assert_eq!(placed(40_000), 0);
}

#[test]
fn with_nobody_eligible_the_request_is_refused() {
    let router = Router::default();
    assert_eq!(route_at(NOW, &router, &[], &[]), Err(Refusal::NobodyEligible));
    assert_eq!(route_at(NOW, &router, &[], &[9]), Err(Refusal::NobodyEligible));
}

proptest! {
    #[test]
    fn a_node_that_the_policy_does_not_allow_is_never_picked_nor_looked_up(
        allowed in proptest::collection::btree_set(0..4_u32, 1..4), holder in 0..4_u32, blocks in 0..20_usize,
    ) {
        let allowed: Vec<u32> = allowed.into_iter().collect();
        let mut router = Router::default();
        let hashes = hashes(1, 320);
        router.on_stored(NodeId::new(holder), &hashes[..blocks], NOW);
        let routed = route_at(NOW, &router, &hashes, &allowed).expect("somebody is allowed");
        prop_assert!(allowed.contains(&routed.node.get()));
        for one in &routed.considered {
            if !allowed.contains(&one.node.get()) {
                prop_assert_eq!((one.price, one.matched_blocks), (Err(Refusal::NotAllowed), 0));
            }
        }
        prop_assert_eq!(routed.clone(), route_at(NOW, &router, &hashes, &allowed).expect("the same again"));
    }

    #[test]
    fn residency_is_what_the_notices_say(
        notices in proptest::collection::vec((0..3_u8, 0..2_u32, 0..20_usize, 1..6_usize), 0..60),
    ) {
        let hashes = hashes(1, 320);
        let mut router = Router::default();
        let mut held = [[false; 20]; 2];
        for (kind, node, from, count) in notices {
            let range = from..(from + count).min(20);
            let held = &mut held[node as usize];
            match kind {
                0 => { router.on_stored(NodeId::new(node), &hashes[range.clone()], NOW); held[range].fill(true); }
                1 => { router.on_removed(NodeId::new(node), &hashes[range.clone()]); held[range].fill(false); }
                _ => { router.on_cleared(NodeId::new(node)); held.fill(false); }
            }
        }
        for (node, held) in (0..).zip(&held) {
            let expected = held.iter().take_while(|held| **held).count() as u32;
            prop_assert_eq!(router.matched_blocks(NodeId::new(node), &hashes, NOW), expected);
        }
    }
}
