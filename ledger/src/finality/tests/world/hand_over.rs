//! The validator set changes: members leave, come and change their keys, whatever the network and one liar do.

use wallet::identity::PublicKey;

use super::*;
use crate::testing::key;

type Members = Vec<(NodeId, PublicKey)>;

/// The key to which a node rotates.
fn rotated(node: u32) -> Signer {
    Signer { node: NodeId::new(node), key: key(&format!("rotated {node}")) }
}

/// These nodes with their keys of genesis.
fn members(nodes: impl IntoIterator<Item = u32>) -> Members {
    nodes.into_iter().map(|node| (NodeId::new(node), signer(node).key.public_key())).collect()
}

/// The same, but one of them has rotated its key.
fn with_rotated(mut members: Members, node: u32) -> Members {
    let rotated = rotated(node);
    members
        .iter_mut()
        .filter(|(member, _)| *member == rotated.node)
        .for_each(|(_, key)| *key = rotated.key.public_key());
    members
}

/// One leaves, one comes back, one changes its key, and two changes follow each other at once.
fn changes() -> Vec<(u64, Members)> {
    vec![
        (3, members(0..4)),
        (6, members(0..5)),
        (9, with_rotated(members(0..5), 2)),
        (12, with_rotated(members(1..5), 2)),
        (13, with_rotated(members(0..5), 2)),
    ]
}

impl World {
    /// Five validators at genesis, of whom node 2 holds a second key.
    fn changing(seed: u64, liar: Option<(usize, Lie)>, changes: Vec<(u64, Members)>) -> Self {
        let mut world = Self::new(5, seed, None);
        world.liar = liar;
        changes::plan(changes);
        let signers = vec![signer(2), rotated(2)];
        world.nodes[2].voter.set_signer(signers.clone());
        world.nodes[2].signers = signers;
        (0..5).for_each(|node| world.input(node, Input::Demand(true)));
        world
    }

    /// Runs until every honest node is in this epoch and has a final block of it.
    fn reach(&mut self, epoch: u64, within_ms: u64) {
        let end = self.now_ms + within_ms;
        let is_there = |node: &Node| node.finals.last().is_some_and(|last| last.executed.view.epoch() >= epoch);
        while !(0..5).filter(|node| self.lie_of(*node).is_none()).all(|node| is_there(&self.nodes[node])) {
            assert!(self.now_ms < end, "not in epoch {epoch}: {:#?}", self.picture());
            self.run(20);
        }
    }
}

#[test]
fn in_good_weather_an_epoch_follows_the_other_without_a_pause() {
    let mut world = World::changing(1, None, changes());
    world.reach(5, 4_000);
    let times: Vec<u64> = world.nodes[4].finals.iter().map(|last| last.executed.time.get()).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest < Some(1_000), "{times:?}");
    assert!(world.nodes.iter().flat_map(|node| &node.finals).all(|last| last.carriers.is_empty()));
    assert_eq!(world.nodes[0].voter.term(), View::first_term(5), "the first term of each epoch is enough");
}

#[test]
fn after_any_storm_the_sets_have_changed_and_all_agree() {
    for seed in 0..4 {
        println!("seed {seed}");
        let mut world = World::changing(300 + seed, None, changes());
        world.storm(10_000);
        world.reach(5, 240_000);
        world.assert_it_gets_on(240_000);
    }
}

#[test]
fn one_liar_neither_forks_nor_stops_a_hand_over() {
    for (seed, lie) in (0..LIES.len() as u64).zip(LIES) {
        for liar in [1, 3] {
            println!("{lie:?} at node {liar}");
            let mut world = World::changing(400 + seed, Some((liar, lie)), changes());
            world.storm(6_000);
            world.reach(5, 240_000);
            world.assert_it_gets_on(240_000);
        }
    }
}

#[test]
fn a_closing_block_whose_finalizes_are_lost_becomes_final_by_a_carrier() {
    for liar in [None, Some((3, Lie::Silent))] {
        let mut world = World::changing(5, liar, changes());
        world.unfinished = BTreeSet::from([3, 9]);
        world.reach(4, 60_000);
        for height in [3, 9] {
            let of_height = |node: &Node| node.finals[height - 1].carriers.len();
            let carriers: Vec<usize> =
                world.nodes.iter().filter(|node| node.finals.len() > height).map(of_height).collect();
            assert!(carriers.iter().all(|count| *count > 0), "{carriers:?}");
        }
        assert_eq!(world.canon.len() as u64, world.canon.keys().max().copied().unwrap_or_default());
    }
}

#[test]
fn a_node_that_was_away_during_whole_epochs_catches_up() {
    for away in 0..5 {
        let mut world = World::changing(6, None, changes());
        world.cut_off.insert(away);
        let end = world.now_ms + 60_000;
        let others: Vec<usize> = world.others(away);
        while others.iter().any(|node| world.nodes[*node].voter.epoch() < 5) {
            assert!(world.now_ms < end, "{:#?}", world.picture());
            world.run(100);
        }
        assert!(world.nodes[away].voter.epoch() == 0);
        world.cut_off.clear();
        world.reach(5, 60_000);
    }
}

#[test]
fn a_restart_at_any_moment_of_a_hand_over_neither_forks_nor_stops_it() {
    for at in (20..800).step_by(60) {
        for unfinished in [BTreeSet::new(), BTreeSet::from([3])] {
            let mut world = World::changing(7, None, vec![(3, members(0..4)), (4, members(0..5))]);
            world.unfinished = unfinished;
            world.run(at);
            (0..5).for_each(|node| {
                world.restart(node);
                world.run(10);
            });
            world.reach(2, 60_000);
        }
    }
}

#[test]
fn who_has_left_follows_on_and_says_nothing() {
    let mut world = World::changing(8, None, vec![(3, members(0..4))]);
    world.reach(1, 10_000);
    let before = world.nodes[4].finals.len();
    assert!(world.nodes[4].voter.signer().is_none());
    let said = |world: &World| {
        (world.votes.keys().filter(|(node, _)| *node == 4).count(), world.given_up.get(&4).map_or(0, Vec::len))
    };
    let silent_since = said(&world);
    world.run(5_000);
    assert!(world.nodes[4].finals.len() > before + 10, "{:#?}", world.picture());
    assert_eq!(said(&world), silent_since);
}
