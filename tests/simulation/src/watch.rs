//! What must never happen, looked for in everything that goes over the wire and in every final block; and the trace hash.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use genesis::{Consortium, ValidatorSet};
use ledger::{
    block::{Block, Header, epoch_of},
    certificate::Certificate,
    event::Event,
    evidence::EvidenceFile,
    re_genesis::ReGenesisFile,
    shell::{
        disk::Disk,
        memory::MemoryDisk,
        replica::{FinalEntry, Replica},
        transport::{PeerReply, PeerRequest},
    },
    vote::VoteKind,
};
use wallet::{
    digest::{Digest, sha256},
    units::{BlockHeight, NodeId},
};

use crate::{
    node::LEDGER,
    plan::{Plan, SKEW_MAX_MS},
    proof::{self, Sets, Voters},
    statements::Statements,
    world::TICK_MS,
};

/// Sees all and remembers it. One for the whole world.
pub struct Watch {
    consortium: Arc<Consortium>,
    hosts: u32,
    liars: BTreeSet<NodeId>,
    verbose: bool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    trace: Digest,
    now_ms: u64,
    /// The world's time, in ms since 1970.
    clock_ms: u64,
    messages: u64,
    statements: Statements,
    /// The validators of each epoch.
    sets: Sets,
    /// The one chain.
    chain: BTreeMap<u64, (Block, Certificate)>,
    /// How far each node's chain was looked at.
    heights: BTreeMap<NodeId, u64>,
    submitted: BTreeSet<(NodeId, Digest)>,
    /// The highest final block that each node showed in any life.
    highest: BTreeMap<NodeId, u64>,
    /// Where the entries are of which a node's client was told that they are final.
    acknowledged: BTreeMap<Digest, (FinalEntry, NodeId)>,
    /// Acknowledgements that each node's client got.
    clients: BTreeMap<NodeId, u64>,
    /// Which evidence was looked at.
    evidence: BTreeSet<(NodeId, String)>,
    /// Whom the evidence of each node names, for what they did in each epoch.
    named: BTreeMap<(NodeId, u64), BTreeSet<NodeId>>,
    /// The epochs in which two blocks of one height became final.
    forked: BTreeSet<u64>,
    /// Nodes that are lost for good. What they do counts in the lineage that is left.
    lost: BTreeSet<NodeId>,
    /// What the others began anew with.
    re_genesis: Option<Digest>,
    /// Newcomers that have a ledger.
    joined: BTreeSet<NodeId>,
    /// Whether all was decided that the script has.
    decided: bool,
    failures: Vec<String>,
}

impl Watch {
    /// Watches a consortium in which the liars of the plan may do as they like.
    pub fn new(consortium: Arc<Consortium>, plan: &Plan, verbose: bool) -> Arc<Self> {
        let voters = Voters { set: consortium.validators().clone(), name: consortium.id() };
        let sets = [(0, voters)].into();
        let (hosts, liars) = (plan.hosts(), plan.liars.keys().copied().map(NodeId::new).collect());
        Arc::new(Self { consortium, hosts, liars, verbose, seen: Mutex::new(Seen { sets, ..Seen::default() }) })
    }

    /// The time since the start, and that of the world.
    pub fn now(&self, now_ms: u64, clock_ms: u64) {
        let mut seen = self.seen();
        (seen.now_ms, seen.clock_ms) = (now_ms, clock_ms);
    }

    /// How long it is until a time since the start.
    pub fn until(&self, ms: u64) -> Duration {
        Duration::from_millis(ms.saturating_sub(self.seen().now_ms))
    }

    /// A node is lost for good.
    pub fn loses(&self, node: NodeId) {
        self.seen().lost.insert(node);
    }

    /// Whether a node is lost for good.
    pub fn is_lost(&self, node: NodeId) -> bool {
        self.seen().lost.contains(&node)
    }

    /// Those that are not lost begin anew: what was final above the last block that they know is dropped.
    pub fn begins_anew(&self, file: &ReGenesisFile) {
        let mut seen = self.seen();
        let last = file.last().height;
        let dropped = seen.chain.split_off(&(last.get() + 1)).len();
        // What only the lost were told is dropped with it.
        let Seen { acknowledged, lost, .. } = &mut *seen;
        acknowledged.retain(|_, (place, client)| place.height <= last || !lost.contains(client));
        seen.re_genesis = Some(file.digest());
        for node in (0..self.hosts).map(NodeId::new).filter(|node| !seen.lost.contains(node)).collect::<Vec<_>>() {
            seen.statements.leaves(node, file.header().consortium);
        }
        drop(seen);
        self.note(&format_args!("{dropped} final blocks are dropped"));
    }

    /// A newcomer has a ledger.
    pub fn joins(&self, node: NodeId) {
        self.seen().joined.insert(node);
    }

    /// Whether a newcomer has a ledger.
    pub fn has_joined(&self, node: NodeId) -> bool {
        self.seen().joined.contains(&node)
    }

    /// All was decided.
    pub fn all_is_decided(&self) {
        self.note(&"all is decided");
        self.seen().decided = true;
    }

    /// Whether all was decided.
    pub fn is_all_decided(&self) -> bool {
        self.seen().decided
    }

    /// Something happened: it goes into the trace.
    pub fn note(&self, what: &dyn Display) {
        let what = what.to_string();
        let mut seen = self.seen();
        if self.verbose {
            println!("{:>8} {what}", seen.now_ms);
        }
        seen.trace(what.as_bytes());
    }

    /// Something happened that must not.
    pub fn fail(&self, what: impl Display) {
        self.note(&format_args!("FAILED: {what}"));
        self.seen().failures.push(what.to_string());
    }

    /// What must not have happened and did.
    pub fn failure(&self) -> Option<String> {
        self.seen().failures.first().cloned()
    }

    /// Hash of all that happened, and how many messages and final blocks there were.
    pub fn summary(&self) -> (Digest, u64, u64) {
        let seen = self.seen();
        (seen.trace, seen.messages, seen.chain.len() as u64)
    }

    /// Bytes that a process gave to the network.
    pub fn sent(&self, from: NodeId, to: NodeId, is_reply: bool, bytes: &[u8]) {
        let mut seen = self.seen();
        seen.messages += 1;
        let head = [from.get(), to.get(), u32::from(is_reply)].map(u32::to_le_bytes).concat();
        seen.trace(&[&head, bytes].concat());
        if self.verbose {
            let kind = if is_reply { "reply" } else { "request" };
            println!("{:>8} {from} -> {to} {kind} of {} bytes", seen.now_ms, bytes.len());
        }
    }

    /// What a process asks of another.
    pub fn requested(&self, from: NodeId, request: &PeerRequest) {
        if self.is_honest(from) {
            let found = self.seen().statements.request(from, request);
            found.into_iter().for_each(|found| self.fail(found));
        }
    }

    /// What a process answers.
    pub fn replied(&self, from: NodeId, reply: &PeerReply) {
        if self.is_honest(from) {
            let found = self.seen().statements.reply(from, reply);
            found.into_iter().for_each(|found| self.fail(found));
        }
    }

    /// A client makes an entry.
    pub fn submits(&self, client: NodeId, id: Digest) {
        self.seen().submitted.insert((client, id));
    }

    /// A client was told that its entry is final.
    pub fn acknowledged(&self, client: NodeId, id: Digest, place: FinalEntry) {
        self.note(&format_args!("acknowledged {id} at {}", place.height));
        let mut seen = self.seen();
        if seen.lost.contains(&client) {
            return;
        }
        *seen.clients.entry(client).or_default() += 1;
        let (first, _) = *seen.acknowledged.entry(id).or_insert((place, client));
        drop(seen);
        if first != place {
            self.fail(format_args!("entry {id} was acknowledged at two places: {first:?} and {place:?}"));
        }
    }

    /// How many entries this node's client saw become final.
    pub fn acknowledgements(&self, client: NodeId) -> u64 {
        self.seen().clients.get(&client).copied().unwrap_or_default()
    }

    /// A node starts: what it shows is looked at from the beginning.
    pub fn restarted(&self, node: NodeId) {
        self.seen().heights.remove(&node);
    }

    /// A node's disk is set back: what it showed before, it may not show any more.
    pub fn set_back(&self, node: NodeId) {
        let mut seen = self.seen();
        seen.highest.remove(&node);
        seen.evidence.retain(|(of, _)| *of != node);
    }

    /// Looks at what became final at a node.
    pub fn look(&self, node: NodeId, replica: &Replica) {
        let height = replica.state().height.get();
        let highest = self.seen().highest.insert(node, height).unwrap_or_default();
        if height < highest {
            self.fail(format_args!("node {node} had final block {highest} and now shows {height} as its last"));
        }
        let mut looked = self.seen().heights.get(&node).copied().unwrap_or_default();
        while looked < height {
            looked += 1;
            match replica.store().block(BlockHeight::new(looked)) {
                Ok(Some(found)) => {
                    if found.block.header.is_closing() {
                        self.learn_set(replica, &found.block.header);
                    }
                    let hand_over = replica.store().hand_over(found.block.header.epoch).ok().flatten();
                    let hand_over = hand_over.filter(|_| found.block.header.is_closing());
                    let carriers = hand_over.map_or(Vec::new(), |hand_over| hand_over.proof.carriers);
                    self.is_final(node, looked, found.block, &carriers, found.certificate);
                }
                other => self.fail(format_args!("node {node} lacks its final block {looked}: {other:?}")),
            }
        }
        self.seen().heights.insert(node, looked);
    }

    /// Who votes after a closing block, by the set that it names, from the state of a node that holds it.
    fn learn_set(&self, replica: &Replica, closing: &Header) {
        let next = replica.state().state.validators_of(closing.epoch + 1).map(|record| record.set);
        if let Some(next) = next.filter(|next| next.hash() == closing.next_validators) {
            let voters = Voters { set: next, name: proof::name_after(closing) };
            self.seen().sets.insert(closing.epoch + 1, voters);
        }
    }

    fn is_final(&self, node: NodeId, height: u64, block: Block, carriers: &[Header], certificate: Certificate) {
        let digest = block.header.digest();
        let known = self.seen().chain.get(&height).map(|(block, _)| block.header.digest());
        match known {
            Some(known) if known == digest => {}
            // What comes after a fork is on either side of it.
            Some(_) if self.has_forked() => {}
            Some(known) if self.may_fork_in(block.header.epoch) => {
                let what = format_args!("node {node} forked at height {height}: {digest}, not {known}");
                self.forked(block.header.epoch, what);
            }
            Some(known) => {
                self.fail(format_args!("height {height} has two final blocks: {known}, and {digest} at {node}"))
            }
            None => {
                self.note(&format_args!(
                    "final at {node}: height {height}, {:?}, {} entries",
                    block.header.view,
                    block.entries.len()
                ));
                if let Err(reason) = self.check_final(height, &block, carriers, &certificate)
                    && !self.has_forked()
                {
                    self.fail(format_args!("node {node} shows height {height} as final: {reason}"));
                }
                self.seen().chain.insert(height, (block, certificate));
            }
        }
    }

    fn check_final(
        &self,
        height: u64,
        block: &Block,
        carriers: &[Header],
        certificate: &Certificate,
    ) -> Result<(), String> {
        let seen = self.seen();
        proof::check(&self.consortium, &seen.sets, &block.header, carriers, certificate)?;
        let parent = seen.chain.get(&height.saturating_sub(1)).map(|(parent, _)| parent);
        proof::check_parent(&self.consortium, &seen.sets, parent, block)?;
        // Of a quorum, at least one right clock agreed.
        let ahead_ms = self.consortium.parameters().clock_ahead_ms + SKEW_MAX_MS;
        let latest = seen.clock_ms + TICK_MS + ahead_ms;
        if block.header.time.get() > latest && !seen.sets.values().any(|voters| self.is_overcome(&voters.set)) {
            return Err(format!("its time {} is in the future", block.header.time));
        }
        let forged = block.entries.iter().find(|entry| {
            let author = entry.body.author;
            // A node whose record is old or lost says so by itself, and operators say what they begin anew with.
            let by_itself = matches!(entry.body.event, Event::ValidatorResumed(_) | Event::ReGenesis(_));
            self.is_honest(author) && !by_itself && !seen.submitted.contains(&(author, entry.id()))
        });
        forged.map_or(Ok(()), |entry| Err(format!("node {} never made the entry {}", entry.body.author, entry.id())))
    }

    /// Looks at the evidence that a node keeps: nobody honest may be named by it.
    pub fn look_at_evidence(&self, node: NodeId, disk: &Arc<MemoryDisk>) {
        let folder = Disk::from(disk.clone()).join(LEDGER).join("evidence");
        for name in folder.names().unwrap_or_default() {
            if !self.seen().evidence.insert((node, name.clone())) {
                continue;
            }
            let bytes = folder.read(&name).ok().flatten().unwrap_or_default();
            self.note(&format_args!("node {node} keeps evidence {name}"));
            let re_genesis = self.seen().re_genesis;
            let verified = |file: EvidenceFile| {
                let of_first = file.verify(&self.consortium.id(), &[]);
                of_first.or_else(|_| file.verify(&self.consortium.id(), re_genesis.as_slice()))
            };
            let named = EvidenceFile::from_bytes(&bytes).and_then(verified).map(|(_, culprits)| culprits);
            match named {
                Ok(culprits) => {
                    for culprit in &culprits {
                        let of_node = (node, epoch_of(culprit.term));
                        self.seen().named.entry(of_node).or_default().insert(culprit.node);
                    }
                    for culprit in culprits.iter().filter(|culprit| self.is_honest(culprit.node)) {
                        self.fail(format_args!("evidence {name} names an honest node: {culprit:?}"));
                    }
                }
                Err(reason) => {
                    self.fail(format_args!("node {node} keeps evidence {name} that proves nothing: {reason}"))
                }
            }
        }
    }

    /// Whether more validators of an epoch lie than it bears: then it may fork, and evidence must say who did it.
    pub fn may_fork_in(&self, epoch: u64) -> bool {
        self.seen().sets.get(&epoch).is_some_and(|voters| self.is_overcome(&voters.set))
    }

    fn is_overcome(&self, set: &ValidatorSet) -> bool {
        let liars = set.members.iter().filter(|(node, _)| self.liars.contains(node));
        liars.count() > set.faults_max()
    }

    /// The chain forked in an epoch, where it may: evidence must then show it.
    pub fn forked(&self, epoch: u64, what: impl Display) {
        self.note(&what);
        self.seen().forked.insert(epoch);
    }

    /// Whether the chain forked.
    pub fn has_forked(&self) -> bool {
        !self.seen().forked.is_empty()
    }

    /// Whether some node's evidence names as many liars as a fork takes, in the first epoch that forked. What comes later
    /// builds on that, and evidence of it may name others.
    pub fn is_explained(&self) -> bool {
        let seen = self.seen();
        let Some((epoch, voters)) = seen.forked.first().and_then(|epoch| Some((*epoch, seen.sets.get(epoch)?))) else {
            return true;
        };
        let least = voters.set.faults_max() + 1;
        seen.named.iter().any(|((_, of), named)| *of == epoch && named.len() >= least)
    }

    /// The highest final block that a node showed.
    pub fn shown(&self, node: NodeId) -> u64 {
        self.seen().highest.get(&node).copied().unwrap_or_default()
    }

    /// The highest final block that any node showed.
    pub fn height(&self) -> u64 {
        self.seen().chain.keys().next_back().copied().unwrap_or_default()
    }

    /// Checks the whole chain from genesis, and that everything acknowledged is in it.
    pub fn audit(&self) {
        let found = {
            let seen = self.seen();
            let last = seen.chain.last_key_value().map(|(height, (_, certificate))| (*height, certificate.kind));
            if let Some((height, VoteKind::Notarize)) = last {
                drop(seen);
                return self
                    .fail(format_args!("height {height} counts as final, and no quorum finalized it or a later one"));
            }
            let blocks: Vec<&Block> = seen.chain.values().map(|(block, _)| block).collect();
            proof::replay(&self.consortium, &blocks).err().or_else(|| {
                let lost = |(id, (place, _)): (&Digest, &(FinalEntry, NodeId))| {
                    let block = seen.chain.get(&place.height.get());
                    let is_there = block.is_some_and(|(block, _)| block.entries.iter().any(|entry| entry.id() == *id));
                    (!is_there).then(|| format!("entry {id} was acknowledged and is not in block {}", place.height))
                };
                seen.acknowledged.iter().find_map(lost)
            })
        };
        if let Some(found) = found {
            self.fail(found);
        }
    }

    /// The nodes that do not lie.
    pub fn honest(&self) -> BTreeSet<NodeId> {
        (0..self.hosts).map(NodeId::new).filter(|node| self.is_honest(*node)).collect()
    }

    /// Whether a node keeps the rules.
    pub fn is_honest(&self, node: NodeId) -> bool {
        !self.liars.contains(&node)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nobody panics with it")
    }
}

impl Seen {
    fn trace(&mut self, bytes: &[u8]) {
        self.trace = sha256("simulation/trace", &[self.trace.as_bytes(), &self.now_ms.to_le_bytes(), bytes]);
    }
}
