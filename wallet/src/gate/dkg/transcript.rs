//! The public side of a run: what its notices say, the same for all who read them in the ledger's order.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ceremony::Ceremony,
    contribution::Contribution,
    notice::{Complaint, Notice},
    package::SignedPackage,
};
use crate::{
    digest::Digest,
    gate::{Coefficient, Gate},
    identity::PublicKey,
    refusal::Refusal,
    units::NodeId,
};

/// Where a run stands. The ledger closes a phase at a height that genesis or the entry which begins the run gives.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A run as the ledger has it.
#[derive(Clone, Debug)]
pub struct Transcript {
    ceremony: Ceremony,
    hash: Digest,
    keys: BTreeMap<NodeId, PublicKey>,
    phase: Phase,
    contributions: BTreeMap<NodeId, Contribution>,
    /// The sums of the coefficients so far: in the end the gate's polynomial.
    sums: Vec<Coefficient>,
    gate: Option<Gate>,
    /// (who says so, who sent nothing) and whether it was answered.
    missing: BTreeMap<(NodeId, NodeId), bool>,
    confirmed: BTreeSet<NodeId>,
}

impl Transcript {
    /// A run of which nothing is there yet. `keys` are the members' node keys as they are when the run begins. They
    /// serve until its end: who rotates its key meanwhile neither takes back what it signed nor loses what it may do.
    ///
    /// # Errors
    /// As [`Ceremony::check`]; [`Refusal::NotMember`] with a member whose key is not there.
    pub fn new(ceremony: Ceremony, keys: BTreeMap<NodeId, PublicKey>) -> Result<Self, Refusal> {
        ceremony.check()?;
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

    pub(super) const fn ceremony_hash(&self) -> &Digest {
        &self.hash
    }

    pub(super) const fn contributions(&self) -> &BTreeMap<NodeId, Contribution> {
        &self.contributions
    }

    pub(super) fn contribution(&self, node: NodeId) -> Result<&Contribution, Refusal> {
        self.contributions.get(&node).ok_or(Refusal::NotMember { node })
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
                self.member(*accused)?;
                if self.phase != Phase::Sharing {
                    return refused("it is too late to say that nothing came");
                }
                if *accused == author || self.confirmed.contains(&author) {
                    return refused("the author misses nothing");
                }
                if self.missing.contains_key(&(author, *accused)) {
                    return refused("it was said before");
                }
                self.missing.insert((author, *accused), false);
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
            let (id, members) = (self.ceremony.gate.clone(), self.ceremony.members.clone());
            // The key is 0 only if all members together want it: each proved that it knows its part.
            let gate = Gate::shared(id, members, sums.clone());
            self.gate = Some(gate.map_err(|_| Refusal::ContributionInvalid { node: author })?);
            self.phase = Phase::Sharing;
        }
        self.sums = sums;
        self.contributions.insert(author, contribution.clone());
        Ok(())
    }

    fn key(&self, member: NodeId) -> Result<&PublicKey, Refusal> {
        self.member(member)?;
        self.keys.get(&member).ok_or(Refusal::NotMember { node: member })
    }

    fn member(&self, node: NodeId) -> Result<(), Refusal> {
        self.ceremony.members.binary_search(&node).map(drop).map_err(|_| Refusal::NotMember { node })
    }
}

impl SignedPackage {
    /// Checks that the package came to the member for whom it is.
    pub(super) fn check_for(&self, transcript: &Transcript, to: NodeId) -> Result<(), Refusal> {
        let from = self.from();
        self.check(transcript.ceremony_hash(), from, to, transcript.key(from)?)
    }
}
