//! What a seed makes happen: how many nodes, which network, which troubles, and who lies.

use std::collections::{BTreeMap, BTreeSet};

use ledger::shell::memory::Trouble;
use liar::{lie::Lie, rng::Rng};

/// A run, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Validators.
    pub nodes: u32,
    /// Least and most that a message takes, in milliseconds.
    pub latency_ms: (u64, u64),
    /// How many of 10,000 messages break their line for a moment.
    pub loss: u64,
    /// How far each node's clock is ahead, in milliseconds.
    pub skew_ms: Vec<i64>,
    /// What happens when, in milliseconds since the start.
    pub events: Vec<(u64, Event)>,
    /// How the validators change, one after the other.
    pub changes: Vec<Change>,
    /// Whose client brings that about.
    pub governs: u32,
    /// Who lies, and how.
    pub liars: BTreeMap<u32, Vec<Lie>>,
    /// From here on nothing goes wrong any more but what a liar does.
    pub heal_ms: u64,
}

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// The process dies between two writes, and starts again later.
    Kill { node: u32, down_ms: u64 },
    /// A write of the node goes wrong. Its process ends by it and starts again later.
    Disk { node: u32, skipped_writes: u64, trouble: Trouble, down_ms: u64 },
    /// No message passes between the two sides.
    Partition { side: BTreeSet<u32>, for_ms: u64 },
    /// No message passes in one direction.
    Deaf { from: u32, to: u32, for_ms: u64 },
    /// Messages between two nodes wait, and arrive all at once.
    Hold { one: u32, other: u32, for_ms: u64 },
    /// All processes die at once.
    Blackout { down_ms: u64 },
    /// A clock is set.
    Clock { node: u32, skew_ms: i64 },
    /// A backup of the node's disk is made.
    Backup { node: u32 },
    /// The process dies, and what of the backup is named comes back in place of what was written since.
    Restore { node: u32, what: Restored, down_ms: u64 },
}

/// A change of the validator set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node votes no more.
    Suspend(u32),
    /// It votes again.
    Reinstate(u32),
    /// A node gets another key.
    Rotate(u32),
}

/// The seeds below keep the validators of genesis.
const CHANGES_FROM: u64 = 100;

/// What comes back from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The whole disk.
    Everything,
    /// The vote record alone.
    Votes,
    /// Everything else; the vote record is gone.
    NoVotes,
}

/// How far a clock that is not simply wrong may be off.
pub const SKEW_MAX_MS: u64 = 3_000;

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;

impl Plan {
    /// The run of `seed`; if there are `lies`, one validator tells these and nobody any other.
    pub fn new(seed: u64, lies: &[Lie]) -> Self {
        let mut rng = Rng::new(seed, "plan");
        let mut changing = Rng::new(seed, "changes");
        let may_change = seed >= CHANGES_FROM && lies.is_empty() && changing.percent(60);
        let nodes = *rng.pick(if may_change { &[5, 5, 7] } else { &[4, 4, 7] });
        let least = rng.range(1..12);
        let latency_ms = (least, least + rng.range(5..60));
        let loss = if rng.percent(50) { rng.range(1..150) } else { 0 };
        let mut skew_ms: Vec<i64> = (0..nodes).map(|_| signed(&mut rng, 400)).collect();
        let mut liars = draw_liars(&mut rng, nodes);
        if !lies.is_empty() {
            let liar = liars.keys().next().copied().unwrap_or(1);
            liars = [(liar, lies.to_vec())].into();
        }
        // With a liar beside it, a clock that is wrong needs a consortium that bears two.
        if rng.percent(25) && (liars.is_empty() || nodes == 7) {
            let wrong = *rng.pick(&[-HOUR, HOUR]);
            skew_ms[index(rng.range(0..u64::from(nodes)))] = wrong;
        }
        let heal_ms = rng.range(6_000..12_000);
        let mut events: Vec<_> = (0..rng.range(0..8))
            .map(|_| {
                let at = rng.range(300..heal_ms);
                (at, Event::draw(&mut rng, nodes))
            })
            .collect();
        if rng.percent(25) {
            // A node that dies again and again, and is back at once each time.
            let node = small(rng.range(0..u64::from(nodes)));
            let (mut at, down_ms) = (rng.range(300..3_000), rng.range(5..200));
            for _ in 0..rng.range(4..30) {
                at += down_ms + rng.range(20..700);
                if at < heal_ms {
                    events.push((at, Event::Kill { node, down_ms }));
                }
            }
        }
        // A node whose record is behind is silent for a while, so it counts as one of those that may fail.
        let failing = liars.len() + skew_ms.iter().filter(|skew| skew.abs() == HOUR).count();
        let mut is_restored = false;
        if rng.percent(25) && failing < (nodes as usize - 1) / 3 {
            let node = small(rng.range(0..u64::from(nodes)));
            is_restored = true;
            let what = *rng.pick(&[Restored::Everything, Restored::Votes, Restored::NoVotes]);
            let at = rng.range(1_000..heal_ms - 1_000);
            events.push((at, Event::Backup { node }));
            events.push((rng.range(at + 100..heal_ms), Event::Restore { node, what, down_ms: rng.range(5..2_000) }));
        }
        events.sort_by_key(|(at, _)| *at);
        // One fewer bears one that fails, at least.
        let may_change = may_change && failing + usize::from(is_restored) <= 1;
        let (changes, governs) =
            if may_change { draw_changes(&mut changing, nodes, &liars) } else { Default::default() };
        Self { nodes, latency_ms, loss, skew_ms, events, changes, governs, liars, heal_ms }
    }
}

/// A node leaves and comes back, and another gets a new key before, between or after that. And who brings it about.
fn draw_changes(rng: &mut Rng, nodes: u32, liars: &BTreeMap<u32, Vec<Lie>>) -> (Vec<Change>, u32) {
    let leaves = small(rng.range(0..u64::from(nodes)));
    let rotates = (leaves + small(rng.range(1..u64::from(nodes)))) % nodes;
    let mut changes = vec![Change::Suspend(leaves), Change::Reinstate(leaves)];
    changes.insert(index(rng.range(0..3)), Change::Rotate(rotates));
    let may_govern = |node: &u32| ![leaves, rotates].contains(node) && !liars.contains_key(node);
    let governs = (0..nodes).find(may_govern).expect("five nodes, one liar at most");
    (changes, governs)
}

/// Nobody, or one liar with lies of its own, or rarely one more than a consortium bears, who work for a fork.
fn draw_liars(rng: &mut Rng, nodes: u32) -> BTreeMap<u32, Vec<Lie>> {
    // Node 1 leads first where nothing goes wrong.
    let first = if rng.percent(50) { 1 } else { small(rng.range(0..u64::from(nodes))) };
    match rng.range(0..100) {
        0..55 => [(first, Lie::draw(rng))].into(),
        55..62 => {
            let many = (nodes - 1) / 3 + 1;
            (0..many).map(|i| ((first + i) % nodes, vec![Lie::Equivocate, Lie::FinalizeUnseen])).collect()
        }
        _ => BTreeMap::new(),
    }
}

impl Event {
    fn draw(rng: &mut Rng, nodes: u32) -> Self {
        let node = small(rng.range(0..u64::from(nodes)));
        let other = (node + small(rng.range(1..u64::from(nodes)))) % nodes;
        let (down_ms, for_ms) = (rng.range(50..3_000), rng.range(200..4_000));
        match rng.range(0..16) {
            0..3 => Self::Kill { node, down_ms },
            3..8 => {
                let troubles =
                    [Trouble::DieAndLose, Trouble::DieAndKeep, Trouble::Fail, Trouble::FailAndKeep, Trouble::Full];
                let skipped_writes = rng.range(0..12);
                Self::Disk { node, skipped_writes, trouble: *rng.pick(&troubles), down_ms }
            }
            8..11 => {
                let side = (0..nodes).filter(|_| rng.percent(50)).collect();
                Self::Partition { side, for_ms }
            }
            11..13 => Self::Deaf { from: node, to: other, for_ms },
            13 => Self::Hold { one: node, other, for_ms },
            14 => Self::Blackout { down_ms },
            _ => Self::Clock { node, skew_ms: signed(rng, SKEW_MAX_MS.cast_signed()) },
        }
    }
}

fn signed(rng: &mut Rng, most: i64) -> i64 {
    let span = most.unsigned_abs() * 2 + 1;
    most.wrapping_sub_unsigned(rng.range(0..span))
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("drawn below the number of nodes")
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("drawn below the number of nodes")
}
