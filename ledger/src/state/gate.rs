//! Which gates there are, under which key, and how the next one is being made.
//!
//! A gate is made anew whenever its members or their keys change; see ADR 12. All of it follows from the log: a member
//! says its part in a [`crate::event::GateNotice`], and a phase that nobody ended is over at a block time. No entry says
//! so, and none is needed: [`GateRecord::at`] gives what stands at a time, to whoever reads the record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use genesis::{Consortium, GATE_MEMBERS_MAX};
use serde::{Deserialize, Serialize};
use wallet::{
    digest::Digest,
    gate::{
        Gate, GateId, GateKind,
        dkg::{Ceremony, Notice, Phase, Transcript},
    },
    identity::{PublicKey, RegionId},
    refusal::Refusal as WalletRefusal,
    units::{GateEpoch, NodeId, Timestamp},
};

use super::{NoStateKey, Record, State, StateKey};

/// Which of the consortium's gates. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GateScope {
    /// That of all validators.
    Global,
    /// That of a region: of each operator with nodes in force there, the one with the lowest number.
    Region(RegionId),
}

/// A gate, and the one that shall take its place.
///
/// One that does not decode could not be counted on from: see `TryFrom<Parts>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct GateRecord {
    /// How often the members or their keys have changed.
    pub epoch: GateEpoch,
    /// All who could be members in this epoch, ascending, with the keys that they have. Empty where a region has lost
    /// its last node.
    pub members: Vec<(NodeId, PublicKey)>,
    /// The gate that serves; none before the first was made. Until that of this epoch is there it is one of an earlier.
    pub in_force: Option<Gate>,
    /// The one before it.
    pub former: Option<FormerGate>,
    /// The key generation under way; none if the gate of this epoch is there, or is made by one node alone.
    pub run: Option<GateRun>,
}

/// The encoding of a [`GateRecord`], of which nothing is known.
#[derive(Deserialize)]
struct Parts {
    epoch: GateEpoch,
    members: Vec<(NodeId, PublicKey)>,
    in_force: Option<Gate>,
    former: Option<FormerGate>,
    run: Option<GateRun>,
}

/// A gate whose place another has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerGate {
    /// The gate.
    pub gate: Gate,
    /// The last block time at which an offer may use it, if no other gate takes its place before.
    pub until: Timestamp,
}

/// A key generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRun {
    /// What was said in it.
    pub transcript: Transcript,
    /// The last block time of its phase. None in a run of all members while fewer have contributed than must release:
    /// without the others there would be no gate, so nobody is late.
    pub ends: Option<Timestamp>,
}

impl GateScope {
    /// Its gate's kind, where so many could be members.
    fn kind(&self, members: usize) -> GateKind {
        let count = u32::try_from(members).expect("at most GATE_MEMBERS_MAX");
        match self {
            Self::Global => GateKind::Global { validators: count },
            Self::Region(region) => GateKind::Region { region: region.clone(), operators: count },
        }
    }
}

impl GateRecord {
    /// The gate that this epoch makes.
    pub fn id(&self, scope: &GateScope, consortium: Digest) -> GateId {
        GateId { consortium, kind: scope.kind(self.members.len()), epoch: self.epoch }
    }

    /// Whether the gate in force is not that of this epoch.
    pub fn is_being_made(&self) -> bool {
        !self.members.is_empty() && self.in_force.as_ref().is_none_or(|gate| gate.id().epoch != self.epoch)
    }

    /// Whether what is said in its run counts in this lineage.
    fn is_of(&self, lineage: Digest) -> bool {
        self.run.as_ref().is_none_or(|run| run.transcript.ceremony().lineage == lineage)
    }

    /// The record as it stands at a block's `time`, where phases last `phase_ms`. A phase that is over is closed, and after
    /// a run that failed the next one stands open. Each has fewer members, until one of all begins, which waits: so this
    /// is soon done.
    #[must_use]
    pub fn at(mut self, time: Timestamp, phase_ms: u64) -> Self {
        while let Some(GateRun { transcript, ends: Some(ends) }) = self.run.take_if(|run| run.is_over(time)) {
            let mut transcript = transcript;
            transcript.close_phase();
            self.run = Some(match transcript.phase() {
                Phase::Failed { at_fault } => self.after(&transcript, at_fault, later(ends, phase_ms)),
                _ => GateRun { transcript, ends: Some(later(ends, phase_ms)) },
            });
        }
        self
    }

    /// The gate of one node, by its word. Whether it is the gate that this epoch makes, with the author as its only
    /// member: nothing changes if it is not.
    pub(crate) fn take_plain(&mut self, id: &GateId, author: NodeId, gate: &Gate, place: Place) -> bool {
        let is_alone = matches!(self.members[..], [(member, _)] if member == author);
        // Its proof of possession was checked when it was decoded.
        let fits = self.is_being_made() && is_alone && gate.id() == id && gate.members() == [author];
        if fits {
            self.put_in_force(gate.clone(), place);
        }
        fits
    }

    /// What a member says in the run.
    ///
    /// # Errors
    /// Those of [`Transcript::apply`].
    ///
    /// # Panics
    /// If no run is under way.
    pub(crate) fn take_notice(&mut self, author: NodeId, notice: &Notice, place: Place) -> Result<(), WalletRefusal> {
        let run = self.run.as_mut().expect("a run is under way");
        let transcript = &mut run.transcript;
        let before = transcript.phase().clone();
        transcript.apply(author, notice)?;
        let may_go_on = transcript.contributed() >= transcript.ceremony().threshold()?;
        match transcript.phase() {
            Phase::Done => {
                let gate = transcript.gate().expect("a run that is done made it").clone();
                self.put_in_force(gate, place);
            }
            Phase::Failed { at_fault } => {
                let (transcript, at_fault) = (transcript.clone(), at_fault.clone());
                self.run = Some(self.after(&transcript, &at_fault, later(place.time, place.phase_ms)));
            }
            phase if *phase != before || (run.ends.is_none() && may_go_on) => {
                run.ends = Some(later(place.time, place.phase_ms));
            }
            _ => {}
        }
        Ok(())
    }

    fn put_in_force(&mut self, gate: Gate, place: Place) {
        let until = later(place.time, place.phase_ms);
        self.former = self.in_force.replace(gate).map(|gate| FormerGate { gate, until });
        self.run = None;
    }

    /// The run after one that failed: without those at fault, whose first phase ends at `ends`; or with all again if
    /// there would be no gate without them. Only that one waits: a run without some whom another one keeps waiting
    /// would never ask those who are back.
    fn after(&self, failed: &Transcript, at_fault: &BTreeSet<NodeId>, ends: Timestamp) -> GateRun {
        let ceremony = failed.ceremony();
        if let Ok(without) = ceremony.without(at_fault) {
            return GateRun { ends: Some(ends), ..GateRun::new(without, &self.members) };
        }
        let members = self.members.iter().map(|(node, _)| *node).collect();
        let run = ceremony.run.saturating_add(1);
        GateRun::new(Ceremony { members, run, ..ceremony.clone() }, &self.members)
    }
}

/// A quorum of liars can certify a root over any leaves, and who reads evidence executes on them. So a record is one that
/// rules could have made, as far as what follows from it rests on that.
impl TryFrom<Parts> for GateRecord {
    type Error = &'static str;

    fn try_from(Parts { epoch, members, in_force, former, run }: Parts) -> Result<Self, Self::Error> {
        if epoch.next().is_none() {
            return Err("no epoch can follow");
        }
        if members.len() > GATE_MEMBERS_MAX || !members.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err("too many could be members, or they are out of order");
        }
        if let Some(GateRun { transcript, .. }) = &run {
            let gate = &transcript.ceremony().gate;
            let counted = match &gate.kind {
                GateKind::Global { validators: count } | GateKind::Region { operators: count, .. } => *count as usize,
                GateKind::Tenant(_) | GateKind::Package { .. } => 0,
            };
            let is_known = |(node, key): (&NodeId, &PublicKey)| members.contains(&(*node, *key));
            if members.len() < 2 || counted != members.len() || gate.epoch != epoch {
                return Err("the run makes another gate");
            }
            if !transcript.keys().all(is_known) {
                return Err("the run has members that could not be any");
            }
            if matches!(transcript.phase(), Phase::Done | Phase::Failed { .. }) {
                return Err("the run is over");
            }
        }
        Ok(Self { epoch, members, in_force, former, run })
    }
}

/// Where a notice is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The block's.
    pub time: Timestamp,
    /// How long a phase lasts.
    pub phase_ms: u64,
}

impl GateRun {
    fn new(ceremony: Ceremony, keys: &[(NodeId, PublicKey)]) -> Self {
        let keys: BTreeMap<_, _> = keys.iter().copied().collect();
        let transcript = Transcript::new(ceremony, keys).expect("two members or more, in order, each with its key");
        Self { transcript, ends: None }
    }

    fn is_over(&self, time: Timestamp) -> bool {
        self.ends.is_some_and(|ends| time > ends)
    }
}

fn later(time: Timestamp, by_ms: u64) -> Timestamp {
    Timestamp::new(time.get().saturating_add(by_ms))
}

impl State {
    /// A gate as it was last written; none where gates are off, and for a region that never had a node. What stands at
    /// a block's time is [`GateRecord::at`].
    pub fn gate(&self, scope: &GateScope) -> Option<GateRecord> {
        match self.record(StateKey::Gate(scope.clone()))? {
            Record::Gate(record) => Some(*record),
            _ => None,
        }
    }

    /// The records of those gates whose members or keys are not those of the state any more, or whose run is not of this
    /// `lineage` ([`Ceremony::lineage`]): their next epoch begins. None where gates are off.
    pub(crate) fn gates_anew(&self, consortium: &Consortium, lineage: Digest) -> Vec<(StateKey, Record)> {
        if self.parameters().gate_phase_ms == 0 {
            return Vec::new();
        }
        let regions = consortium.regions().iter().cloned().map(GateScope::Region);
        let anew = |scope: GateScope| {
            let members = self.gate_members(&scope);
            let record = match self.gate(&scope) {
                Some(record) if record.members == members && record.is_of(lineage) => return None,
                None if members.is_empty() => return None,
                Some(record) => {
                    let epoch = record.epoch.next().expect("2^32 changes of the validator set");
                    GateRecord { epoch, run: None, members, ..record }
                }
                None => GateRecord { epoch: GateEpoch::ZERO, members, in_force: None, former: None, run: None },
            };
            let run = (record.members.len() > 1).then(|| {
                let members = record.members.iter().map(|(node, _)| *node).collect();
                let ceremony = Ceremony { gate: record.id(&scope, consortium.id()), lineage, members, run: 0 };
                GateRun::new(ceremony, &record.members)
            });
            Some((StateKey::Gate(scope), Record::Gate(Box::new(GateRecord { run, ..record }))))
        };
        std::iter::once(GateScope::Global).chain(regions).filter_map(anew).collect()
    }

    /// Who could be a gate's members now, ascending, with their keys.
    fn gate_members(&self, scope: &GateScope) -> Vec<(NodeId, PublicKey)> {
        let mut validators = self.validators().members;
        if let GateScope::Region(region) = scope {
            let mut operators = BTreeSet::new();
            validators.retain(|(id, _)| {
                let node = self.node(*id).map(|record| record.node);
                node.is_some_and(|node| node.region == *region && operators.insert(node.operator))
            });
        }
        validators
    }
}

/// As in a path: `global`, or `region/` and its name.
impl fmt::Display for GateScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => write!(f, "global"),
            Self::Region(region) => write!(f, "region/{region}"),
        }
    }
}

impl FromStr for GateScope {
    type Err = NoStateKey;

    fn from_str(name: &str) -> Result<Self, NoStateKey> {
        match name.split_once('/') {
            None if name == "global" => Ok(Self::Global),
            Some(("region", region)) => region.to_owned().try_into().map(Self::Region).map_err(|_| NoStateKey),
            _ => Err(NoStateKey),
        }
    }
}

#[cfg(test)]
mod tests;
