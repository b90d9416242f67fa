//! Routing a prompt of 4,096 tokens among four operators. Beside it stands a plain map that is
//! asked for each of the prompt's blocks; the router asks for fewer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use scheduler::{
    load::{Load, ServedModel},
    router::{RouteRequest, Router, RouterLimits},
    thresholds::Thresholds,
};
use serde_json::Value;
use wallet::{
    digest::{Digest, blake3},
    prefix::{BLOCK_TOKENS, block_hashes, prefix_root},
    units::{Micros, NodeId, Timestamp, TokenCount},
};

use super::{SEED, rate_per_s};

/// Tokens of the prompt.
const PROMPT: u32 = 4096;
/// Other blocks that each operator is known to hold.
const RESIDENT: u64 = 50_000;
const NODES: u32 = 4;

pub(super) fn figures() -> BTreeMap<&'static str, Value> {
    let now = Timestamp::new(1_000_000);
    let model = ServedModel { model: Digest([1; 32]), numerics: Digest([2; 32]) };
    let salt = [3; 32];
    let tokens: Vec<u32> = (0..PROMPT).collect();
    let root = prefix_root(&salt, &model.model, &model.numerics);
    let hashes = block_hashes(&salt, &root, &tokens);

    let mut router = Router::new(RouterLimits::default(), Thresholds::default());
    let mut map = HashMap::new();
    for node in 0..NODES {
        let others: Vec<Digest> = (0..RESIDENT)
            .map(|block| blake3("bench", None, &[&SEED.to_le_bytes(), &node.to_le_bytes(), &block.to_le_bytes()]))
            .collect();
        router.on_stored(NodeId::new(node), &others, now);
        map.extend(others.into_iter().map(|key| (key, node)));
    }
    router.on_stored(NodeId::new(2), &hashes, now);
    map.extend(hashes.iter().map(|key| (*key, 2)));

    let allowed: BTreeSet<NodeId> = (0..NODES).map(NodeId::new).collect();
    let load = Load {
        measured_at: now,
        serves: BTreeSet::from([model]),
        blocks_total: 10_000,
        blocks_free: 9_000,
        queue: Micros::ZERO,
        prefill_tokens_per_s: Some(1_000),
        round_trip: Micros::new(500),
        link_bytes_per_s: None,
    };
    let loads: BTreeMap<NodeId, Load> = allowed.iter().map(|node| (*node, load.clone())).collect();
    let request = RouteRequest {
        model,
        hashes: &hashes,
        tokens: TokenCount::new(PROMPT),
        allowed: &allowed,
        subject: Digest([4; 32]),
    };
    let routes = rate_per_s(|| usize::from(router.route(now, &request, &loads).is_ok_and(|to| to.node.get() == 2)));
    let lookups = rate_per_s(|| hashes.iter().filter(|key| map.contains_key(*key)).count());
    let hashing = rate_per_s(|| block_hashes(&salt, &root, &tokens).len());
    BTreeMap::from([
        ("router_prompt_blocks", (PROMPT as usize / BLOCK_TOKENS).into()),
        ("router_routes_per_s", routes.into()),
        ("router_map_lookups_per_s", lookups.into()),
        ("router_block_hashes_per_s", hashing.into()),
        ("router_vs_map_scan_ratio", (routes * hashes.len() as f64 / lookups).into()),
    ])
}
