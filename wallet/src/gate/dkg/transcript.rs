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
    gate::{Element, Gate},
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
    phase: Phase,
    contributions: BTreeMap<NodeId, Contribution>,
    /// The sums of the coefficients so far: in the end the gate's polynomial.
    sums: Vec<Element>,
    gate: Option<Gate>,
    /// (who says so, who sent nothing) and whether it was answered.
    missing: BTreeMap<(NodeId, NodeId), bool>,
    confirmed: BTreeSet<NodeId>,
}

impl Transcript {
    /// A run of which nothing is there yet.
    ///
    /// # Errors
    /// As [`Ceremony::check`].
    pub fn new(ceremony: Ceremony) -> Result<Self, Refusal> {
        ceremony.check()?;
        Ok(Self {
            hash: ceremony.hash(),
            ceremony,
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

    /// Takes the notice of `author`. `keys` gives a member's node key.
    ///
    /// # Errors
    /// [`Refusal::NotMember`], [`Refusal::NoticeRefused`], [`Refusal::ContributionInvalid`],
    /// [`Refusal::PackageMismatch`], [`Refusal::SignatureInvalid`], [`Refusal::CiphertextInvalid`],
    /// [`Refusal::PartialInvalid`]. Nothing has changed then.
    pub fn apply(
        &mut self,
        author: NodeId,
        notice: &Notice,
        keys: &dyn Fn(NodeId) -> Option<PublicKey>,
    ) -> Result<(), Refusal> {
        self.member(author)?;
        let refused = |reason| Err(Refusal::NoticeRefused { reason });
        let running = matches!(self.phase, Phase::Sharing | Phase::Answering | Phase::Confirming);
        let key = |node| keys(node).ok_or(Refusal::NotMember { node });
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
                self.member(package.from())?;
                let guilty = Complaint::judge(self, author, package, opening.as_deref(), &key(package.from())?)?;
                self.phase = Phase::Failed { at_fault: [guilty].into() };
                Ok(())
            }
            Notice::Answered(package) => {
                package.check(&self.hash, author, package.to(), &key(author)?)?;
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
        // A sum of 0 comes about only if its author chose its commitments by those of the others: that degree would be
        // missing from the gate's polynomial.
        let add = |(sum, more): (&Element, &Element)| Element::from_point(sum.point() + more.point());
        let sums = match self.sums.as_slice() {
            [] => Some(contribution.polynomial.clone()),
            sums => sums.iter().zip(&contribution.polynomial).map(add).collect(),
        };
        self.sums = sums.ok_or(Refusal::ContributionInvalid { node: author })?;
        self.contributions.insert(author, contribution.clone());
        if self.contributions.len() == self.ceremony.members.len() {
            let (id, members) = (self.ceremony.gate.clone(), self.ceremony.members.clone());
            self.gate = Some(Gate::shared(id, members, self.sums.clone())?);
            self.phase = Phase::Sharing;
        }
        Ok(())
    }

    fn member(&self, node: NodeId) -> Result<(), Refusal> {
        self.ceremony.members.binary_search(&node).map(drop).map_err(|_| Refusal::NotMember { node })
    }
}

impl SignedPackage {
    /// Checks that the package came to the member for whom it is.
    pub(super) fn check_for(
        &self,
        transcript: &Transcript,
        to: NodeId,
        keys: &dyn Fn(NodeId) -> Option<PublicKey>,
    ) -> Result<(), Refusal> {
        let from = self.from();
        transcript.member(from)?;
        let key = keys(from).ok_or(Refusal::NotMember { node: from })?;
        self.check(transcript.ceremony_hash(), from, to, &key)
    }
}
