use proptest::prelude::*;
use wallet::{digest::Digest, units::ByteCount};

use super::*;
use crate::{
    decision::{replay, verify_chain},
    record::{Hop, NextAction, tests::sample},
    rules::RuleId,
};

const NOW: Timestamp = Timestamp::new(10_000_000);

/// A batch of 10 blocks that decodes and has not moved for long.
fn batch(id: u8) -> BatchRecord {
    let mut record = sample();
    record.identity.wallet = WalletAddress(Digest([id; 32]));
    record.routing.next = None;
    record.routing.move_cost.blocks = 10;
    record.vitals.active_at = NOW;
    record
}

fn load(blocks_free: u32) -> Load {
    Load {
        measured_at: NOW,
        serves: [ServedModel { model: sample().identity.model, numerics: sample().identity.numerics }].into(),
        blocks_total: 100,
        blocks_free,
        queue: Micros::ZERO,
        prefill_tokens_per_s: None,
        round_trip: Micros::new(400),
        link_bytes_per_s: None,
    }
}

/// A node with its batches, its peers and what it knows of them.
#[derive(Debug)]
struct World {
    own: Load,
    host_tier: bool,
    records: Vec<BatchRecord>,
    allowed: BTreeSet<NodeId>,
    peers: BTreeMap<NodeId, Load>,
    hops: Vec<HopInFlight>,
}

impl World {
    /// A full node with two batches, and two empty peers.
    fn crowded() -> Self {
        let peers = [2, 3].map(|node| (NodeId::new(node), load(95)));
        Self {
            own: load(2),
            host_tier: false,
            records: vec![batch(1), batch(2)],
            allowed: peers.iter().map(|(node, _)| *node).collect(),
            peers: peers.into(),
            hops: Vec::new(),
        }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            own: &self.own,
            host_tier: self.host_tier,
            batches: self.records.iter().map(|record| TickView::new(record, &self.allowed)).collect(),
            peers: &self.peers,
            hops: &self.hops,
        }
    }
}

fn scheduler() -> Scheduler {
    Scheduler::new(Thresholds::default(), LogHead::default())
}

fn step(scheduler: &mut Scheduler, now: Timestamp, world: &World) -> Vec<Logged> {
    let mut effects = Vec::new();
    scheduler.step(now, &world.snapshot(), &mut effects);
    effects
}

#[test]
fn a_full_node_moves_one_batch_and_looks_again() {
    let effects = step(&mut scheduler(), NOW, &World::crowded());
    assert_eq!(effects.len(), 1, "one batch gone, the node is no longer full");
    assert_eq!(effects[0].decision.rule, RuleId::R7);
    let ranked = scheduler().rank_candidates(NOW, &World::crowded().snapshot());
    let first = ranked[&effects[0].decision.wallet][0].node;
    assert_eq!(effects[0].decision.chosen, Action::Migrate { to: first });
}

#[test]
fn an_idle_batch_moves_before_one_that_decodes() {
    let mut world = World::crowded();
    world.records[1].vitals.phase.decoding = false;
    let effects = step(&mut scheduler(), NOW, &world);
    assert_eq!(effects[0].decision.wallet, world.records[1].identity.wallet);
}

#[test]
fn a_very_full_node_sends_one_batch_to_each_peer_and_no_more() {
    let mut world = World::crowded();
    world.own.blocks_total = 1_000;
    world.own.blocks_free = 0;
    world.records = (1..=6).map(batch).collect();
    let effects = step(&mut scheduler(), NOW, &world);
    let to: BTreeSet<_> = effects.iter().map(|effect| effect.decision.chosen.destination()).collect();
    assert_eq!((effects.len(), to.len()), (2, 2));
}

#[test]
fn moves_in_flight_count_as_done() {
    let mut world = World::crowded();
    world.hops = vec![HopInFlight { peer: NodeId::new(2), inbound: false, blocks: 10 }];
    assert_eq!(step(&mut scheduler(), NOW, &world), []);
    world.hops = vec![HopInFlight { peer: NodeId::new(2), inbound: true, blocks: 10 }];
    let effects = step(&mut scheduler(), NOW, &world);
    assert_eq!(effects[0].decision.chosen, Action::Migrate { to: NodeId::new(3) });
    assert!(effects[0].decision.refused.contains(&(Action::Migrate { to: NodeId::new(2) }, Refusal::PairBusy)));
}

#[test]
fn a_batch_on_its_way_is_left_alone() {
    let mut world = World::crowded();
    for record in &mut world.records {
        let next = NextAction { action: Action::Suspend, at: NOW, decision: Digest::ZERO };
        record.routing.next = Some(next);
    }
    assert_eq!(step(&mut scheduler(), NOW, &world), []);
}

#[test]
fn a_batch_that_arrived_a_moment_ago_stays() {
    let mut world = World::crowded();
    let at = Timestamp::new(NOW.get() - 9_999);
    for record in &mut world.records {
        record.routing.hops = vec![Hop { at, ..sample().routing.hops[0] }];
    }
    assert_eq!(step(&mut scheduler(), NOW, &world), []);
}

#[test]
fn a_batch_that_was_sent_a_moment_ago_is_not_sent_again() {
    let mut scheduler = scheduler();
    let mut world = World::crowded();
    world.records.truncate(1);
    assert_eq!(step(&mut scheduler, NOW, &world).len(), 1);
    assert_eq!(step(&mut scheduler, Timestamp::new(NOW.get() + 500), &world), []);
    let after = Timestamp::new(NOW.get() + 10_000);
    world.peers.values_mut().for_each(|load| load.measured_at = after);
    assert_eq!(step(&mut scheduler, after, &world).len(), 1);
}

#[test]
fn a_load_that_nobody_measured_lately_takes_nothing() {
    let mut world = World::crowded();
    world.peers.values_mut().for_each(|load| load.measured_at = Timestamp::new(NOW.get() - 2_001));
    assert_eq!(step(&mut scheduler(), NOW, &world), []);
}

#[test]
fn a_move_out_of_the_tenants_regions_is_refused_even_to_the_operator() {
    let mut world = World::crowded();
    world.allowed.remove(&NodeId::new(3));
    let mut scheduler = scheduler();
    let wallet = world.records[0].identity.wallet;
    let to = |node| Action::Migrate { to: NodeId::new(node) };
    assert_eq!(scheduler.command(NOW, &world.snapshot(), wallet, to(3)), Err(Refusal::NotAllowed));
    assert_eq!(Refusal::NotAllowed.code(), "S-201");
    assert_eq!(scheduler.log_head(), LogHead::default(), "a refused command is no decision");
    let logged = scheduler.command(NOW, &world.snapshot(), wallet, to(2)).expect("node 2 is allowed");
    assert_eq!((logged.decision.rule, replay(&logged.decision)), (RuleId::Operator, Ok(())));
    assert_eq!(scheduler.log_head(), LogHead { length: 1, hash: logged.hash });
}

#[test]
fn a_command_names_a_batch_that_is_here_and_at_rest() {
    let mut world = World::crowded();
    let wallet = world.records[0].identity.wallet;
    let absent = WalletAddress(Digest::ZERO);
    let mut scheduler = scheduler();
    assert_eq!(scheduler.command(NOW, &world.snapshot(), absent, Action::Suspend), Err(Refusal::BatchUnknown));
    world.records[0].routing.next = sample().routing.next;
    assert_eq!(scheduler.command(NOW, &world.snapshot(), wallet, Action::Suspend), Err(Refusal::HopInFlight));
}

fn any_world() -> impl Strategy<Value = World> {
    let peer = (1..200_u32, 0..200_u32, any::<bool>(), 0..4_000_u64, any::<Option<u64>>(), any::<u64>());
    let record = (any::<bool>(), any::<bool>(), 0..3_u8, 0..2_000_000_u64, 1..40_u32, any::<u64>(), 0..20_000_u64);
    let peers = proptest::collection::vec(peer, 0..5);
    let records = proptest::collection::vec(record, 0..6);
    (0..20_u32, any::<bool>(), records, peers).prop_map(|(free, host_tier, records, peers)| {
        let mut world = World { own: load(free), host_tier, ..World::crowded() };
        world.allowed.clear();
        world.peers.clear();
        for (node, (total, free, allowed, age_ms, link, queue)) in (2..).zip(peers) {
            let mut peer = load(free);
            peer.blocks_total = total;
            peer.measured_at = Timestamp::new(NOW.get() - age_ms);
            peer.link_bytes_per_s = link;
            peer.queue = Micros::new(queue);
            world.peers.insert(NodeId::new(node), peer);
            if allowed {
                world.allowed.insert(NodeId::new(node));
            }
        }
        let tiers = [MemoryTier::Engine, MemoryTier::Host, MemoryTier::Disk];
        let records = (1..).zip(records).map(|(id, (decoding, waits, tier, idle_ms, blocks, bytes, hop_ms))| {
            let mut record = batch(id);
            record.vitals.phase.decoding = decoding;
            record.vitals.phase.request_waits = waits;
            record.vitals.tier = tiers[usize::from(tier)];
            record.vitals.active_at = Timestamp::new(NOW.get() - idle_ms);
            record.routing.move_cost.blocks = blocks;
            record.routing.move_cost.bytes = ByteCount::new(bytes);
            record.routing.hops[0].at = Timestamp::new(NOW.get() - hop_ms);
            record
        });
        world.records = records.collect();
        world
    })
}

proptest! {
    #[test]
    fn every_decision_replays_and_the_log_holds(world in any_world()) {
        let mut scheduler = scheduler();
        let mut effects = step(&mut scheduler, NOW, &world);
        for record in &world.records {
            for action in [Action::Suspend, Action::Migrate { to: NodeId::new(2) }] {
                effects.extend(scheduler.command(NOW, &world.snapshot(), record.identity.wallet, action));
            }
        }
        for Logged { decision, hash } in &effects {
            prop_assert_eq!(replay(decision), Ok(()));
            prop_assert_eq!(decision.hash(), *hash);
        }
        let decisions: Vec<_> = effects.into_iter().map(|effect| effect.decision).collect();
        prop_assert_eq!(verify_chain(&decisions, LogHead::default()), Ok(scheduler.log_head()));
    }

    #[test]
    fn no_decision_takes_a_batch_where_its_tenant_does_not_allow_it(world in any_world()) {
        for effect in step(&mut scheduler(), NOW, &world) {
            if let Some(to) = effect.decision.chosen.destination() {
                prop_assert!(world.allowed.contains(&to));
            }
        }
    }

    #[test]
    fn a_decoding_batch_that_somebody_reads_leaves_only_by_migration(world in any_world()) {
        for effect in step(&mut scheduler(), NOW, &world) {
            let record = world.records.iter().find(|record| record.identity.wallet == effect.decision.wallet);
            let vitals = &record.expect("decisions are about batches that are here").vitals;
            let unread = NOW.get() - vitals.active_at.get() >= 60_000;
            let leaves = match effect.decision.chosen {
                Action::Demote | Action::Suspend => !unread,
                chosen => chosen == Action::Evict,
            };
            prop_assert!(!(vitals.phase.decoding && leaves));
        }
    }

    /// Nodes tick in turn on what they see; moves arrive at once; the cool-down is long over at each tick.
    #[test]
    fn batches_come_to_rest(blocks in proptest::collection::vec(1..30_u32, 1..30), start in proptest::collection::vec(0..3_u32, 30)) {
        const TOTAL: u32 = 100;
        let mut held: Vec<(u32, u32)> = blocks.into_iter().zip(start).collect();
        let used = |held: &[(u32, u32)], node| held.iter().filter(|one| one.1 == node).map(|one| one.0).sum::<u32>();
        let mut schedulers = [scheduler(), scheduler(), scheduler()];
        let mut now = NOW;
        let mut quiet = 0;
        for tick in 0..200 {
            let node = tick % 3;
            now = Timestamp::new(now.get() + 20_000);
            let load_of = |node| Load {
                blocks_total: TOTAL, measured_at: now, ..load(TOTAL.saturating_sub(used(&held, node)))
            };
            let here = (0_u8..).zip(&held).filter(|(_, one)| one.1 == node);
            let world = World {
                own: load_of(node),
                records: here.map(|(id, one)| {
                    let mut record = batch(id);
                    record.vitals.active_at = now;
                    record.routing.move_cost.blocks = one.0;
                    record
                }).collect(),
                allowed: (0..3).map(NodeId::new).collect(),
                peers: (0..3).filter(|peer| *peer != node).map(|peer| (NodeId::new(peer), load_of(peer))).collect(),
                ..World::crowded()
            };
            let effects = step(&mut schedulers[node as usize], now, &world);
            quiet = if effects.is_empty() { quiet + 1 } else { 0 };
            for effect in effects {
                let to = effect.decision.chosen.destination().expect("active batches are not tiered");
                held[usize::from(effect.decision.wallet.0.0[0])].1 = to.get();
            }
        }
        prop_assert!(quiet >= 3, "the nodes still move batches");
    }
}
