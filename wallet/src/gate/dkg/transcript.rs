//! The public side of a run: what its notices say, the same for all who read them in the ledger's order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    ceremony::Ceremony,
    contribution::{Contribution, EncodedContribution},
    notice::{Complaint, Notice},
    package::SignedPackage,
};
use crate::{
    digest::Digest,
    gate::{Coefficient, EncodedElement, Gate},
    identity::PublicKey,
    refusal::Refusal,
    units::NodeId,
};

/// Where a run stands. The ledger closes a phase at a block time that follows from its rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Members contribute. Ends early once all have.
    Contributing,
    /// Packages travel. Missing ones may be demanded.
    Sharing,
    /// Whoever was accused of sending nothing answers.
    Answering,
    /// The last confirmations.
    Confirming,
    /// All members confirmed: the gate is there.
    Done,
    /// No gate comes of this run.
    Failed {
        /// Who was absent or lied.
        at_fault: BTreeSet<NodeId>,
    },
}

/// A run as the ledger has it. Its encoding is what was said so far, and the sums of what was contributed: all else
/// follows from that. It is read for each notice, so it decodes no contribution but the one that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Transcript {
    ceremony: Ceremony,
    hash: Digest,
    keys: BTreeMap<NodeId, PublicKey>,
    phase: Phase,
    contributions: BTreeMap<NodeId, EncodedContribution>,
    /// The sums of the coefficients so far: in the end the gate's polynomial.
    sums: Vec<Coefficient>,
    gate: Option<Gate>,
    /// (who says so, who sent nothing) and whether it was answered.
    missing: BTreeMap<(NodeId, NodeId), bool>,
    confirmed: BTreeSet<NodeId>,
}

/// The encoding of a [`Transcript`]: all lists ascend.
#[derive(Clone, Serialize, Deserialize)]
struct Parts {
    ceremony: Ceremony,
    /// One for each member.
    keys: Vec<PublicKey>,
    phase: Phase,
    contributions: Vec<Contributed>,
    /// None before the first contribution.
    sums: Vec<EncodedElement>,
    missing: Vec<Missing>,
    confirmed: Vec<NodeId>,
}

/// What a member contributed.
#[derive(Clone, Serialize, Deserialize)]
struct Contributed {
    member: NodeId,
    contribution: EncodedContribution,
}

/// That a member got nothing from another.
#[derive(Clone, Serialize, Deserialize)]
struct Missing {
    accuser: NodeId,
    accused: NodeId,
    answered: bool,
}

impl Transcript {
    /// A run of which nothing is there yet. `keys` are the members' node keys as they are when the run begins. They
    /// serve until its end: who rotates its key meanwhile neither takes back what it signed nor loses what it may do.
    ///
    /// # Errors
    /// As [`Ceremony::check`]; [`Refusal::NotMember`] with a member whose key is not there.
    pub fn new(ceremony: Ceremony, mut keys: BTreeMap<NodeId, PublicKey>) -> Result<Self, Refusal> {
        ceremony.check()?;
        keys.retain(|node, _| ceremony.members.binary_search(node).is_ok());
        if let Some(node) = ceremony.members.iter().find(|node| !keys.contains_key(node)) {
            return Err(Refusal::NotMember { node: *node });
        }
        Ok(Self {
            hash: ceremony.hash(),
            ceremony,
            keys,
            phase: Phase::Contributing,
            contributions: BTreeMap::new(),
            sums: Vec::new(),
            gate: None,
            missing: BTreeMap::new(),
            confirmed: BTreeSet::new(),
        })
    }

    /// What is run.
    pub const fn ceremony(&self) -> &Ceremony {
        &self.ceremony
    }

    /// Where it stands.
    pub const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The gate that it makes, once all have contributed. It is one only when the run is [`Phase::Done`].
    pub const fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// How many members have contributed.
    pub fn contributed(&self) -> usize {
        self.contributions.len()
    }

    /// [`Ceremony::hash`] of what is run.
    pub const fn ceremony_hash(&self) -> &Digest {
        &self.hash
    }

    /// The members, ascending, with the node keys that they had when the run began.
    pub fn keys(&self) -> impl Iterator<Item = (&NodeId, &PublicKey)> {
        self.keys.iter()
    }

    /// What `node` contributed.
    ///
    /// # Errors
    /// [`Refusal::NotMember`] if it did not; [`Refusal::ContributionInvalid`] in a run that nobody executed.
    pub(super) fn contribution(&self, node: NodeId) -> Result<Contribution, Refusal> {
        let encoded = self.contributions.get(&node).ok_or(Refusal::NotMember { node })?;
        encoded.clone().try_into().map_err(|_| Refusal::ContributionInvalid { node })
    }

    /// Takes the notice of `author`.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::NoticeRefused`], [`Refusal::ContributionInvalid`],
    /// [`Refusal::PackageMismatch`], [`Refusal::SignatureInvalid`], [`Refusal::CiphertextInvalid`],
    /// [`Refusal::PartialInvalid`]. Nothing has changed then.
    pub fn apply(&mut self, author: NodeId, notice: &Notice) -> Result<(), Refusal> {
        self.member(author)?;
        let refused = |reason| Err(Refusal::NoticeRefused { reason });
        let running = matches!(self.phase, Phase::Sharing | Phase::Answering | Phase::Confirming);
        match notice {
            Notice::Contributed(contribution) => self.contribute(author, contribution),
            _ if !running => refused("members are not sharing now"),
            Notice::Complained(Complaint::Missing { accused }) => {
                if self.phase != Phase::Sharing {
                    return refused("it is too late to say that nothing came");
                }
                accused.iter().try_for_each(|node| self.member(*node))?;
                if accused.is_empty() || accused.contains(&author) || self.confirmed.contains(&author) {
                    return refused("the author misses nothing");
                }
                // Each notice is work for all. Twice is enough: once for what did not come, and once after a restart.
                let others = self.ceremony.members.len() - 1;
                let before = self.missing.keys().filter(|(accuser, _)| *accuser == author);
                let before: BTreeSet<_> = before.map(|(_, accused)| *accused).collect();
                let named = before.union(accused).count();
                if named == before.len() || (!before.is_empty() && named < others) {
                    return refused("it was said before");
                }
                accused.iter().for_each(|accused| {
                    self.missing.entry((author, *accused)).or_insert(false);
                });
                Ok(())
            }
            Notice::Complained(Complaint::False { package, opening }) => {
                let key = self.key(package.from())?;
                let guilty = Complaint::judge(self, author, package, opening.as_deref(), key)?;
                self.phase = Phase::Failed { at_fault: [guilty].into() };
                Ok(())
            }
            Notice::Answered(package) => {
                package.check(&self.hash, author, package.to(), self.key(author)?)?;
                match self.missing.get_mut(&(package.to(), author)) {
                    Some(answered @ false) => {
                        *answered = true;
                        Ok(())
                    }
                    Some(true) => refused("it was said before"),
                    None => refused("nobody asked for this package"),
                }
            }
            Notice::Confirmed(gate) => {
                if self.gate.as_ref().map(Gate::hash) != Some(gate) {
                    return refused("the run makes another gate");
                }
                if !self.confirmed.insert(author) {
                    return refused("it was said before");
                }
                // It has its share: what it once missed needs no answer any more.
                self.missing.retain(|(accuser, _), _| *accuser != author);
                if self.confirmed.len() == self.ceremony.members.len() {
                    self.phase = Phase::Done;
                }
                Ok(())
            }
        }
    }

    /// The phase's time is over.
    pub fn close_phase(&mut self) {
        let absent = |present: &dyn Fn(&NodeId) -> bool| -> BTreeSet<NodeId> {
            self.ceremony.members.iter().copied().filter(|node| !present(node)).collect()
        };
        self.phase = match &self.phase {
            Phase::Contributing => Phase::Failed { at_fault: absent(&|node| self.contributions.contains_key(node)) },
            Phase::Sharing => Phase::Answering,
            Phase::Answering => {
                let silent = self.missing.iter().filter(|(_, answered)| !**answered);
                let at_fault: BTreeSet<_> = silent.map(|((_, accused), _)| *accused).collect();
                if at_fault.is_empty() { Phase::Confirming } else { Phase::Failed { at_fault } }
            }
            Phase::Confirming => Phase::Failed { at_fault: absent(&|node| self.confirmed.contains(node)) },
            Phase::Done | Phase::Failed { .. } => return,
        };
    }

    /// Whether `accuser` has said that nothing came from `accused`, and that was not answered.
    pub(super) fn is_demanded(&self, accuser: NodeId, accused: NodeId) -> bool {
        self.missing.get(&(accuser, accused)) == Some(&false)
    }

    fn contribute(&mut self, author: NodeId, contribution: &Contribution) -> Result<(), Refusal> {
        if self.phase != Phase::Contributing || self.contributions.contains_key(&author) {
            return Err(Refusal::NoticeRefused { reason: "members contribute once, before they share" });
        }
        contribution.check(&self.ceremony, author)?;
        // Sums of the higher coefficients may be 0. Who speaks first can choose its own so that an honest member's
        // cancels them, and that is no fault of the honest one. It cannot keep to such a polynomial in its packages.
        let sums: Vec<_> = if self.sums.is_empty() {
            contribution.polynomial.iter().copied().map(Coefficient::from).collect()
        } else {
            self.sums.iter().zip(&contribution.polynomial).map(|(sum, more)| sum.plus(more)).collect()
        };
        if self.contributions.len() + 1 == self.ceremony.members.len() {
            // The key is 0 only if all members together want it: each proved that it knows its part.
            let gate = self.gate_of(sums.clone());
            self.gate = Some(gate.map_err(|_| Refusal::ContributionInvalid { node: author })?);
            self.phase = Phase::Sharing;
        }
        self.sums = sums;
        self.contributions.insert(author, contribution.clone().into());
        Ok(())
    }

    fn gate_of(&self, sums: Vec<Coefficient>) -> Result<Gate, Refusal> {
        Gate::shared(self.ceremony.gate.clone(), self.ceremony.members.clone(), sums)
    }

    fn key(&self, member: NodeId) -> Result<&PublicKey, Refusal> {
        self.member(member)?;
        self.keys.get(&member).ok_or(Refusal::NotMember { node: member })
    }

    fn member(&self, node: NodeId) -> Result<(), Refusal> {
        self.ceremony.members.binary_search(&node).map(drop).map_err(|_| Refusal::NotMember { node })
    }
}

/// Contributions were checked and added up when they were taken, and are not again.
impl TryFrom<Parts> for Transcript {
    type Error = String;
    fn try_from(parts: Parts) -> Result<Self, String> {
        let Parts { ceremony, keys, phase, contributions, sums, missing, confirmed } = parts;
        let refused = |refusal: Refusal| refusal.to_string();
        if keys.len() != ceremony.members.len() {
            return Err("a run has a key for each member".to_owned());
        }
        let keys = ceremony.members.iter().copied().zip(keys).collect();
        let mut transcript = Self::new(ceremony, keys).map_err(refused)?;
        let threshold = transcript.ceremony.threshold().map_err(refused)?;
        let pairs = || missing.iter().map(|said| (said.accuser, said.accused));
        let are_in_order = contributions.is_sorted_by(|one, next| one.member < next.member)
            && pairs().is_sorted_by(|one, next| one < next)
            && confirmed.is_sorted_by(|one, next| one < next);
        let are_members = contributions.iter().map(|said| said.member).chain(confirmed.iter().copied());
        let mut named = are_members.chain(pairs().flat_map(|(accuser, accused)| [accuser, accused]));
        if !are_in_order || named.any(|node| transcript.member(node).is_err()) {
            return Err("what members said is not in their order".to_owned());
        }
        let degree = if contributions.is_empty() { 0 } else { threshold };
        if contributions.iter().any(|said| said.contribution.polynomial.len() != threshold) || sums.len() != degree {
            return Err("a contribution has another degree than the run".to_owned());
        }
        let sums: Result<Vec<_>, _> = sums.iter().map(Coefficient::decode).collect();
        transcript.sums = sums.map_err(|error| error.to_string())?;
        if contributions.len() == transcript.ceremony.members.len() {
            transcript.gate = Some(transcript.gate_of(transcript.sums.clone()).map_err(refused)?);
        }
        transcript.contributions = contributions.into_iter().map(|said| (said.member, said.contribution)).collect();
        let follows = match &phase {
            Phase::Contributing => transcript.gate.is_none(),
            Phase::Failed { .. } => true,
            Phase::Sharing | Phase::Answering | Phase::Confirming | Phase::Done => transcript.gate.is_some(),
        };
        if !follows {
            return Err("the run cannot be in this phase".to_owned());
        }
        transcript.phase = phase;
        transcript.missing = missing.into_iter().map(|said| ((said.accuser, said.accused), said.answered)).collect();
        transcript.confirmed = confirmed.into_iter().collect();
        Ok(transcript)
    }
}

impl From<Transcript> for Parts {
    fn from(of: Transcript) -> Self {
        let contributions = of.contributions.into_iter();
        let missing = of.missing.into_iter();
        Self {
            ceremony: of.ceremony,
            keys: of.keys.into_values().collect(),
            phase: of.phase,
            contributions: contributions.map(|(member, contribution)| Contributed { member, contribution }).collect(),
            sums: of.sums.into_iter().map(EncodedElement::from).collect(),
            missing: missing.map(|((accuser, accused), answered)| Missing { accuser, accused, answered }).collect(),
            confirmed: of.confirmed.into_iter().collect(),
        }
    }
}

impl SignedPackage {
    /// Checks that the package came to the member for whom it is.
    pub(super) fn check_for(&self, transcript: &Transcript, to: NodeId) -> Result<(), Refusal> {
        let from = self.from();
        self.check(transcript.ceremony_hash(), from, to, transcript.key(from)?)
    }
}
