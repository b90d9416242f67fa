//! What a seed makes happen: how many nodes, which network, which troubles, and who lies.

use std::collections::{BTreeMap, BTreeSet};

use ledger::shell::memory::Trouble;
use liar::{lie::Lie, rng::Rng};
use wallet::units::NodeId;

use crate::world::START_MS;

/// A run, drawn from its seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Validators at the beginning.
    pub nodes: u32,
    /// Nodes that join: they come after the validators.
    pub newcomers: Vec<Newcomer>,
    /// The world's time at its beginning, in milliseconds since 1970.
    pub start_ms: u64,
    /// Least and most that a message takes, in milliseconds.
    pub latency_ms: (u64, u64),
    /// How many of 10,000 messages break their line for a moment.
    pub loss: u64,
    /// How far each node's clock is ahead, in milliseconds.
    pub skew_ms: Vec<i64>,
    /// What happens when, in milliseconds since the start.
    pub events: Vec<(u64, Event)>,
    /// What the operators decide about.
    pub theme: Option<Theme>,
    /// Who lies, and how.
    pub liars: BTreeMap<u32, Vec<Lie>>,
    /// From here on nothing goes wrong any more but what a liar does.
    pub heal_ms: u64,
    /// Who is lost for good then, if a re-genesis is asked for.
    pub disaster: Option<Disaster>,
}

/// What of a run is not left to its seed.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// If there are any, one validator tells these lies and nobody any other.
    pub lies: Vec<Lie>,
    /// Whether a quorum is lost for good, and those that are left begin anew. Then nothing is decided before.
    pub re_genesis: bool,
}

/// So many nodes are lost that the others are no quorum, and what happens to these when they go on.
#[derive(Clone, Debug)]
pub struct Disaster {
    /// Who is lost. Among them is who lies, and whose clock is wrong.
    pub lost: BTreeSet<u32>,
    /// How long the others run without a quorum before their operators stop them.
    pub settle_ms: u64,
    /// Whether the lost come back meanwhile, and were told nothing.
    pub returns: bool,
    /// What happens when, in milliseconds since the next lineage began.
    pub events: Vec<(u64, Event)>,
    /// From here on nothing goes wrong any more, in milliseconds since then.
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

/// A node that joins.
#[derive(Clone, Debug)]
pub struct Newcomer {
    /// When its operator first tries, let in or not.
    pub begins_ms: u64,
    /// Whether it executes every block instead of taking a state.
    pub replays: bool,
}

/// What the operators decide about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Which of the nodes vote, and with which keys.
    Sets,
    /// Who joins, and who leaves for that.
    Joining,
    /// Operators, their keys, auditors and parameters.
    Operators,
}

/// In the seeds below nothing is decided.
const DECISIONS_FROM: u64 = 100;

/// So often nodes pin the state that they have for those who join: see `ledger::shell::pins`.
const PINS_EVERY_MS: u64 = 300_000;
/// A run in which somebody joins begins so long before.
const BEFORE_PINS_MS: u64 = 3_500;

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

/// What goes wrong at a write.
const TROUBLES: [Trouble; 5] =
    [Trouble::DieAndLose, Trouble::DieAndKeep, Trouble::Fail, Trouble::FailAndKeep, Trouble::Full];

/// How far a clock that is not simply wrong may be off.
pub const SKEW_MAX_MS: u64 = 3_000;

/// An hour in milliseconds.
const HOUR: i64 = 3_600_000;

impl Plan {
    /// The run of `seed`.
    pub fn new(seed: u64, Asked { lies, re_genesis }: &Asked) -> Self {
        let mut rng = Rng::new(seed, "plan");
        let mut changing = Rng::new(seed, "changes");
        let may_change =
            seed >= DECISIONS_FROM && !re_genesis && (lies.is_empty() || lies.iter().any(|lie| lie.is_of_changes()));
        let may_change = may_change && changing.percent(if lies.is_empty() { 60 } else { 100 });
        let nodes = *rng.pick(if may_change { &[5, 5, 7] } else { &[4, 4, 7] });
        let least = rng.range(1..12);
        let latency_ms = (least, least + rng.range(5..60));
        let loss = if rng.percent(50) { rng.range(1..150) } else { 0 };
        let mut skew_ms: Vec<i64> = (0..nodes).map(|_| signed(&mut rng, 400)).collect();
        let mut liars = draw_liars(&mut rng, nodes);
        if !lies.is_empty() {
            let liar = liars.keys().next().copied().unwrap_or(1);
            liars = [(liar, lies.clone())].into();
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
        if rng.percent(25) && failing < (nodes as usize - 1) / 3 {
            let node = small(rng.range(0..u64::from(nodes)));
            let what = *rng.pick(&[Restored::Everything, Restored::Votes, Restored::NoVotes]);
            let at = rng.range(1_000..heal_ms - 1_000);
            events.push((at, Event::Backup { node }));
            events.push((rng.range(at + 100..heal_ms), Event::Restore { node, what, down_ms: rng.range(5..2_000) }));
        }
        let (newcomers, start_ms) = (Vec::new(), START_MS);
        let (theme, disaster) = (None, None);
        let mut plan =
            Self { nodes, newcomers, start_ms, latency_ms, loss, skew_ms, events, theme, liars, heal_ms, disaster };
        if may_change {
            plan.draw_theme(&mut changing, lies.is_empty());
        }
        if *re_genesis {
            if plan.has_too_many_liars() {
                plan.liars.clear();
            }
            plan.disaster = Some(Disaster::draw(&mut Rng::new(seed, "re-genesis"), &plan));
        }
        plan.events.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Validators and those who join.
    pub fn hosts(&self) -> u32 {
        self.nodes + small(self.newcomers.len() as u64)
    }

    /// Whether more lie than the consortium bears.
    pub fn has_too_many_liars(&self) -> bool {
        self.liars.len() > (self.nodes as usize - 1) / 3
    }

    /// Whose clock is an hour wrong.
    fn untimely(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.skew_ms).filter(|(_, skew)| skew.abs() == HOUR).map(|(node, _)| node)
    }

    /// Who lies, has a clock that is wrong, or loses its record.
    pub fn failing(&self) -> BTreeSet<NodeId> {
        let restored = self.events.iter().filter_map(|(_, event)| match event {
            Event::Restore { node, .. } => Some(*node),
            _ => None,
        });
        self.liars.keys().copied().chain(self.untimely()).chain(restored).map(NodeId::new).collect()
    }

    fn draw_theme(&mut self, rng: &mut Rng, may_lie_more: bool) {
        let theme = *rng.pick(&[Theme::Sets, Theme::Joining, Theme::Joining, Theme::Operators]);
        if self.liars.len() == 1 && self.failing().len() == 1 && self.nodes == 7 && may_lie_more && rng.percent(50) {
            let other = (self.liars.keys().sum::<u32>() + small(rng.range(1..7))) % self.nodes;
            self.liars.insert(other, Lie::draw(rng));
        }
        self.theme = Some(theme);
        if may_lie_more && !self.has_too_many_liars() {
            self.liars.values_mut().for_each(|lies| lies.extend(Lie::draw_of_changes(rng)));
        }
        if theme != Theme::Joining {
            return;
        }
        self.start_ms = START_MS.next_multiple_of(PINS_EVERY_MS) - BEFORE_PINS_MS;
        for number in 0..if rng.percent(25) { 2 } else { 1 } {
            let newcomer = Newcomer { begins_ms: rng.range(100..5_000), replays: rng.percent(25) };
            let node = self.nodes + number;
            if rng.percent(50) {
                let (at, down_ms) = (rng.range(newcomer.begins_ms..self.heal_ms), rng.range(5..1_500));
                self.events.push((at, Event::Kill { node, down_ms }));
            }
            if rng.percent(50) {
                let (skipped_writes, down_ms) = (rng.range(0..60), rng.range(5..1_500));
                let event = Event::Disk { node, skipped_writes, trouble: *rng.pick(&TROUBLES), down_ms };
                self.events.push((newcomer.begins_ms, event));
            }
            self.skew_ms.push(signed(rng, 400));
            self.newcomers.push(newcomer);
        }
    }
}

impl Disaster {
    fn draw(rng: &mut Rng, plan: &Plan) -> Self {
        let quorum = 2 * plan.nodes / 3 + 1;
        let mut lost: BTreeSet<u32> = plan.liars.keys().copied().chain(plan.untimely()).collect();
        let left = small(rng.range(1..u64::from(quorum)));
        while lost.len() < (plan.nodes - left) as usize {
            lost.insert(small(rng.range(0..u64::from(plan.nodes))));
        }
        // A quorum that comes back would go on by itself.
        let returns = lost.len() < quorum as usize && rng.percent(50);
        let (settle_ms, heal_ms) = (rng.range(500..3_000), rng.range(2_000..6_000));
        let left: Vec<u32> = (0..plan.nodes).filter(|node| !lost.contains(node)).collect();
        let mut event = || {
            let (node, at, down_ms) = (*rng.pick(&left), rng.range(0..heal_ms), rng.range(50..1_500));
            let event = match rng.range(0..4) {
                0 => Event::Blackout { down_ms },
                1 => Event::Kill { node, down_ms },
                _ => {
                    let (skipped_writes, trouble) = (rng.range(0..12), *rng.pick(&TROUBLES));
                    Event::Disk { node, skipped_writes, trouble, down_ms }
                }
            };
            (at, event)
        };
        let events = (0..4).map(|_| event()).collect();
        Self { lost, settle_ms, returns, events, heal_ms }
    }
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
                let skipped_writes = rng.range(0..12);
                Self::Disk { node, skipped_writes, trouble: *rng.pick(&TROUBLES), down_ms }
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
