//! One run: hosts, network and troubles of a plan, step by step, with the watch after every step.

mod re_genesis;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use genesis::Parameters;
use ledger::{
    shell::{
        fault::Fault,
        memory::{Image, Trouble},
        replica::Replica,
    },
    testing,
};
use liar::Liar;
use turmoil::Sim;
use wallet::units::NodeId;

use crate::{
    node::{LEDGER, Node, Role},
    panics,
    plan::{Asked, Event, Plan, Restored},
    script::Script,
    watch::Watch,
    wire::host_name,
};

/// Simulated time of one step.
pub const TICK_MS: u64 = 5;

/// The world's time at its beginning, if nothing else is planned, in ms since 1970: a little after the consortium's.
pub const START_MS: u64 = testing::CREATED_MS + 1_000;

/// Time in which something becomes of a proposal: as short as the rules allow.
pub const PROPOSAL_LIFE_MS: u64 = 3_600_000;

/// After the network healed and all processes run, every honest node makes entries final within this time.
pub const BOUND_MS: u64 = 30_000;

/// A run and where it stands.
pub struct World<'a> {
    sim: Sim<'a>,
    plan: Plan,
    nodes: Vec<Arc<Node>>,
    watch: Arc<Watch>,
    script: Option<Arc<Script>>,
    now_ms: u64,
    clock_ms: Arc<AtomicU64>,
    /// What is to be done when.
    due: BTreeMap<(u64, u64), Action>,
    /// Processes that are down.
    down: BTreeSet<u32>,
    /// Nodes that never start again.
    lost: BTreeSet<u32>,
    /// Backups of disks.
    backups: BTreeMap<u32, Image>,
    /// Nodes whose disk was told to fail since their process started: its faults are then expected.
    troubled: BTreeMap<u32, u64>,
}

#[derive(Clone, Debug)]
enum Action {
    Begin(Event),
    Start(u32),
    Repair(Vec<(u32, u32)>),
    RepairOneWay(u32, u32),
    Release(u32, u32),
}

impl World<'_> {
    /// The world of a seed, at its beginning.
    pub fn new(seed: u64, asked: &Asked, verbose: bool) -> Self {
        ledger::shell::simulated::begin(seed);
        let plan = Plan::new(seed, asked);
        let consortium = testing::consortium_with(plan.nodes, parameters(&plan));
        let watch = Watch::new(consortium.clone(), &plan, verbose);
        let clock_ms = Arc::new(AtomicU64::new(plan.start_ms));
        let mut builder = turmoil::Builder::new();
        builder
            .rng_seed(seed)
            .epoch(UNIX_EPOCH)
            .tick_duration(Duration::from_millis(TICK_MS))
            .simulation_duration(Duration::from_secs(3_600))
            .min_message_latency(Duration::from_millis(plan.latency_ms.0))
            .max_message_latency(Duration::from_millis(plan.latency_ms.1))
            .fail_rate(f64::from(u32::try_from(plan.loss).unwrap_or(0)) / 10_000.0)
            .udp_capacity(1 << 14)
            .enable_random_order();
        let mut sim = builder.build();
        let script = Script::draw(seed, &plan, &consortium).map(Arc::new);
        let nodes: Vec<_> = (0..plan.hosts())
            .map(|id| {
                let lies = plan.liars.get(&id).cloned();
                let liar = lies.map(|lies| Liar::new(consortium.clone(), testing::signer(id), lies, seed));
                let joins = id.checked_sub(plan.nodes).map(|number| plan.newcomers[number as usize].clone());
                let role = Role { liar, joins, script: script.clone() };
                Node::new(NodeId::new(id), consortium.clone(), clock_ms.clone(), watch.clone(), role, seed)
            })
            .collect();
        for (node, skew) in nodes.iter().zip(&plan.skew_ms) {
            node.skew_ms.store(*skew, Ordering::Relaxed);
            let host = node.clone();
            sim.host(host_name(node.id), move || host.clone().run());
        }
        watch.note(&format_args!("{plan:?}"));
        for decision in script.iter().flat_map(|script| &script.decisions) {
            watch.note(&format_args!("decision: {:?} {:?}", decision.end, decision.proposals));
        }
        let begin = |(number, (at, event)): (u64, &(u64, Event))| ((*at, number), Action::Begin(event.clone()));
        let due = (0..).zip(&plan.events).map(begin).collect();
        let (down, lost, backups, troubled) = Default::default();
        Self { sim, plan, nodes, watch, script, now_ms: 0, clock_ms, due, down, lost, backups, troubled }
    }

    /// Runs to the end, or to the first thing that must not happen.
    pub fn run(mut self) -> Result<Arc<Watch>, String> {
        self.run_until(self.plan.heal_ms)?;
        self.heal();
        if self.plan.has_too_many_liars() {
            return self.run_with_too_many_liars();
        }
        if let Some(disaster) = self.plan.disaster.clone() {
            self.begin_anew(&disaster)?;
        }
        let (from, goal) = (self.now_ms, self.goal());
        while !self.reached(&goal) {
            self.step()?;
            if self.now_ms > from + BOUND_MS {
                return Err(format!("no progress in {BOUND_MS} ms after the network healed: {}", self.describe()));
            }
        }
        self.watch.audit();
        self.check_decisions();
        self.watch.failure().map_or(Ok(self.watch), Err)
    }

    /// What was to be enacted was, once, and nothing else.
    fn check_decisions(&self) {
        let states = self.nodes.iter().filter_map(|node| node.replica()).map(|replica| replica.state());
        let Some((script, last)) = self.script.as_ref().zip(states.max_by_key(|state| state.height)) else { return };
        script
            .contradicted_by(self.nodes[0].consortium.id(), &last)
            .into_iter()
            .for_each(|found| self.watch.fail(found));
    }

    /// The chain may fork or stand still. If it forked some honest node's evidence must name enough liars.
    fn run_with_too_many_liars(mut self) -> Result<Arc<Watch>, String> {
        let from = self.now_ms;
        while self.now_ms < from + BOUND_MS / 2 && !(self.watch.has_forked() && self.watch.is_explained()) {
            self.step()?;
        }
        if self.watch.has_forked() && !self.watch.is_explained() {
            return Err("the chain forked, and nobody's evidence names enough liars".to_owned());
        }
        Ok(self.watch)
    }

    fn run_until(&mut self, ms: u64) -> Result<(), String> {
        while self.now_ms < ms {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now_ms) {
            let action = entry.remove();
            self.act(action);
        }
        self.sim.step().map_err(|error| format!("a process ended: {error}"))?;
        self.now_ms += TICK_MS;
        self.clock_ms.fetch_add(TICK_MS, Ordering::Relaxed);
        self.watch.now(self.now_ms, self.clock_ms.load(Ordering::Relaxed));
        self.look();
        self.watch.failure().map_or(Ok(()), Err)
    }

    /// Looks at every node, and ends the processes that died by themselves.
    fn look(&mut self) {
        for (node, panic) in panics::take() {
            if node.is_none_or(|node| self.watch.is_honest(node)) {
                self.watch.fail(format_args!("a task of {node:?} panicked: {panic}"));
            }
        }
        for node in self.nodes.clone() {
            let id = node.id.get();
            let lies = node.liar.is_some();
            // What the lost still make final is in the lineage that was left.
            let is_lost = || self.watch.is_lost(node.id);
            if let Some(replica) = node.replica().filter(|_| !lies) {
                if !is_lost() {
                    self.watch.look(node.id, &replica);
                }
                self.watch.look_at_evidence(node.id, &node.disk);
            }
            if self.down.contains(&id) {
                continue;
            }
            if node.disk.is_dead() {
                self.kill(id, "died at a write", 400);
            } else if let Some(fault) = node.fault() {
                // A node that holds both blocks of a fork may be the first to know of it.
                if !lies && matches!(*fault, Fault::Fork { .. }) {
                    self.stopped_at_fork(&node, &fault);
                }
                let expected = lies
                    || self.watch.has_forked()
                    || self.troubled.contains_key(&id) && !matches!(*fault, Fault::Fork { .. });
                if !expected {
                    self.watch.fail(format_args!("node {id} stopped: {fault}"));
                }
                self.kill(id, &format!("stopped: {fault}"), 400);
            }
        }
    }

    fn stopped_at_fork(&self, node: &Node, fault: &Fault) {
        let epoch = node.replica().map_or(0, |replica| replica.state().state.epoch());
        // An epoch that has just ended may be the one.
        if let Some(epoch) = [epoch, epoch.saturating_sub(1)].into_iter().find(|epoch| self.watch.may_fork_in(*epoch)) {
            self.watch.forked(epoch, format_args!("node {} stopped: {fault}", node.id));
        }
    }

    fn act(&mut self, action: Action) {
        self.watch.note(&format_args!("{action:?}"));
        let name = |node: u32| host_name(NodeId::new(node));
        match action {
            Action::Begin(event) => self.begin(event),
            Action::Start(node) => self.start(node),
            Action::Repair(lines) => lines.iter().for_each(|(one, other)| self.sim.repair(name(*one), name(*other))),
            Action::RepairOneWay(from, to) => self.sim.repair_oneway(name(from), name(to)),
            Action::Release(one, other) => self.sim.release(name(one), name(other)),
        }
    }

    fn begin(&mut self, event: Event) {
        let name = |node: u32| host_name(NodeId::new(node));
        match event {
            Event::Kill { node, down_ms } => self.kill(node, "killed", down_ms),
            Event::Blackout { down_ms } => (0..self.plan.hosts()).for_each(|node| self.kill(node, "killed", down_ms)),
            Event::Disk { node, skipped_writes, trouble, down_ms } => {
                self.troubled.insert(node, down_ms);
                self.nodes[node as usize].disk.plan(skipped_writes, trouble);
            }
            Event::Partition { side, for_ms } => {
                let (here, there): (Vec<u32>, Vec<u32>) = (0..self.plan.hosts()).partition(|node| side.contains(node));
                let lines: Vec<_> = here.iter().flat_map(|one| there.iter().map(|other| (*one, *other))).collect();
                lines.iter().for_each(|(one, other)| self.sim.partition(name(*one), name(*other)));
                self.later(for_ms, Action::Repair(lines));
            }
            Event::Deaf { from, to, for_ms } => {
                self.sim.partition_oneway(name(from), name(to));
                self.later(for_ms, Action::RepairOneWay(from, to));
            }
            Event::Hold { one, other, for_ms } => {
                self.sim.hold(name(one), name(other));
                self.later(for_ms, Action::Release(one, other));
            }
            Event::Backup { node } => {
                self.backups.insert(node, self.nodes[node as usize].disk.image());
            }
            Event::Restore { node, what, down_ms } => self.restore(node, what, down_ms),
            Event::Clock { node, skew_ms } => self.nodes[node as usize].skew_ms.store(skew_ms, Ordering::Relaxed),
        }
    }

    fn restore(&mut self, node: u32, what: Restored, down_ms: u64) {
        let Some(backup) = self.backups.remove(&node) else { return };
        self.kill(node, "restored from a backup", down_ms);
        let host = &self.nodes[node as usize];
        let votes = &Path::new(LEDGER).join("votes");
        match what {
            Restored::Everything => {
                host.disk.set_back(backup);
                self.watch.set_back(host.id);
            }
            Restored::Votes => host.disk.set_back_file(&backup, votes),
            Restored::NoVotes => host.disk.set_back_file(&Image::default(), votes),
        }
    }

    fn kill(&mut self, node: u32, why: &str, down_ms: u64) {
        let down_ms = self.troubled.get(&node).copied().unwrap_or(down_ms);
        if self.stop(node, why) {
            self.later(down_ms, Action::Start(node));
        }
    }

    /// Ends a process: whether it ran.
    fn stop(&mut self, node: u32, why: &str) -> bool {
        if !self.down.insert(node) {
            return false;
        }
        self.watch.note(&format_args!("node {node} is down: {why}"));
        self.troubled.remove(&node);
        self.sim.crash(host_name(NodeId::new(node)));
        self.nodes[node as usize].stopped();
        true
    }

    fn start(&mut self, node: u32) {
        if !self.lost.contains(&node) && self.down.remove(&node) {
            let host = &self.nodes[node as usize];
            host.disk.make_room();
            self.watch.restarted(host.id);
            self.sim.bounce(host_name(host.id));
        }
    }

    fn later(&mut self, in_ms: u64, action: Action) {
        let number = self.due.keys().map(|(_, number)| number + 1).max().unwrap_or_default().max(1_000);
        self.due.insert((self.now_ms + in_ms, number), action);
    }

    /// From now on nothing goes wrong.
    fn heal(&mut self) {
        self.watch.note(&"healed");
        self.sim.set_fail_rate(0.0);
        for one in 0..self.plan.hosts() {
            let node = &self.nodes[one as usize];
            node.disk.plan(u64::MAX >> 1, Trouble::Fail);
            node.skew_ms.store(self.plan.skew_ms[one as usize], Ordering::Relaxed);
            for other in 0..one {
                let names = [one, other].map(|node| host_name(NodeId::new(node)));
                self.sim.release(names[0].as_str(), names[1].as_str());
                self.sim.repair(names[0].as_str(), names[1].as_str());
            }
        }
        self.due.retain(|_, action| matches!(action, Action::Start(_)));
        for node in self.down.clone() {
            self.start(node);
        }
    }

    /// What every honest node must reach that votes at the end: a height, and acknowledgements of its client.
    fn goal(&self) -> (u64, BTreeMap<NodeId, u64>) {
        let mut honest = self.watch.honest();
        honest.retain(|node| !self.watch.is_lost(*node));
        honest.retain(|node| self.script.as_ref().is_none_or(|script| script.validators.contains(node)));
        let clients = honest.iter().map(|node| (*node, self.watch.acknowledgements(*node) + 2));
        (self.watch.height() + 3, clients.collect())
    }

    fn reached(&self, (height, clients): &(u64, BTreeMap<NodeId, u64>)) -> bool {
        let follows = |node: &NodeId| {
            let replica = self.nodes[node.get() as usize].replica();
            let is_there = |replica: Replica| {
                let state = replica.state();
                let is_last = |script: &Arc<Script>| state.state.epoch() == script.epoch;
                state.height.get() >= *height && self.script.as_ref().is_none_or(is_last)
            };
            replica.is_some_and(is_there)
        };
        let is_decided = self.script.is_none() || self.watch.is_all_decided();
        // Who takes part without a vote follows, too.
        let honest = self.watch.honest();
        let mut follows_only = self.script.iter().flat_map(|script| script.take_part.intersection(&honest));
        is_decided
            && clients.iter().all(|(node, goal)| follows(node) && self.watch.acknowledgements(*node) >= *goal)
            && follows_only.all(follows)
    }

    fn describe(&self) -> String {
        let describe = |node: &Arc<Node>| match node.replica() {
            Some(replica) => {
                let metrics = replica.metrics();
                format!(
                    "\n  node {}: height {}, epoch {}, term {}, leader {:?}, votes {}, {} raft entries not final, {:?}",
                    node.id,
                    metrics.final_height,
                    metrics.finality.epoch,
                    metrics.term,
                    metrics.leader,
                    metrics.votes,
                    metrics.raft_entries_not_final,
                    metrics.finality
                )
            }
            None => format!("\n  node {}: down", node.id),
        };
        self.nodes.iter().map(describe).collect()
    }
}

/// Short times, so that much happens in a short run.
fn parameters(plan: &Plan) -> Parameters {
    let usual = Parameters {
        block_interval_ms: 60,
        idle_block_ms: 1_500,
        heartbeat_ms: 200,
        leader_timeout_ms: 1_000,
        ..Parameters::default()
    };
    match plan.theme {
        Some(_) => Parameters { proposal_lock_ms: 0, proposal_life_ms: PROPOSAL_LIFE_MS, ..usual },
        None => usual,
    }
}
