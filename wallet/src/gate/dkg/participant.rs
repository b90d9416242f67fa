//! One member's side of a run: sans-IO, and the same bytes again after a restart.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{
    contribution::Contribution,
    frost::{self, Commitments, FirstSecret, SecondSecret},
    notice::{Complaint, Notice},
    package::{Bad, SignedPackage},
    transcript::{Phase, Transcript},
};
use crate::{
    digest::Digest,
    gate::{Gate, GateShare, SecretNumber},
    identity::SecretKey,
    kdf,
    refusal::Refusal,
    secret::secret,
    units::NodeId,
};

secret! {
    /// 32 random bytes from which all that a member draws in its runs follows. Kept sealed until the gate is there, and
    /// then erased: whoever has it later, and recorded the packages, has the member's share.
    ///
    /// A restart feeds the run's notices again and makes the same bytes. Packages are no notices: what came in them
    /// comes again as long as others send, and stands in [`Effect::Keep`] once all of it is there. Each run has other
    /// numbers, since they follow from the run's name too.
    CeremonySeed
}

/// What happens to a member.
#[derive(Clone, Debug)]
pub enum Input {
    /// A notice is final on the ledger, the member's own included.
    Notice {
        /// Who wrote it.
        author: NodeId,
        /// What it says.
        notice: Notice,
    },
    /// A package came from another member.
    Package(SignedPackage),
    /// Packages should be here by now. What is missing is demanded on the ledger.
    Waited,
    /// The ledger closed the phase.
    PhaseOver,
}

/// What a member does. Effects are carried out in their order, each one after the one before it is done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Put this on the ledger.
    Submit(Notice),
    /// Send this to its receiver, again until the run is over: only bytes, which it may have already.
    Send(SignedPackage),
    /// Seal this share and sync it to disk, before the next effect: the member confirms that it has it, and nobody
    /// sends the packages again then. After a restart [`Participant::join`] takes it back.
    Keep(Box<GateShare>),
    /// The gate is there, with the member's share: the one that was kept.
    Finished {
        /// The gate.
        gate: Box<Gate>,
        /// The share.
        share: Box<GateShare>,
    },
    /// The run failed. Another begins without those at fault, who are in [`Transcript::phase`].
    Failed,
}

/// One member in one run.
pub struct Participant {
    transcript: Transcript,
    node: NodeId,
    key: SecretKey,
    seed: CeremonySeed,
    one_time: GateShare,
    contribution: Contribution,
    secret: Secret,
    sent: BTreeMap<NodeId, SignedPackage>,
    /// Packages that came before all had contributed.
    early: BTreeMap<NodeId, SignedPackage>,
    shares: BTreeMap<NodeId, SecretNumber>,
    share: Option<GateShare>,
    /// The number of [`Effect::Keep`], before a restart.
    kept: Option<SecretNumber>,
    complained: bool,
}

/// What the member keeps between rounds.
enum Secret {
    First(FirstSecret),
    Second(SecondSecret),
    None,
}

impl Participant {
    /// Joins a run, or again after a restart: the member, and its contribution to submit. `kept` is the number of the
    /// share that this run had it keep, if it came so far. One that is not this run's share changes nothing.
    ///
    /// # Errors
    /// [`Refusal::NotMember`]; as [`super::Ceremony::check`].
    pub fn join(
        transcript: Transcript,
        node: NodeId,
        key: SecretKey,
        seed: CeremonySeed,
        kept: Option<SecretNumber>,
    ) -> Result<(Self, Notice), Refusal> {
        let ceremony = transcript.ceremony().clone();
        if ceremony.members.binary_search(&node).is_err() {
            return Err(Refusal::NotMember { node });
        }
        let stream = |name| kdf::stream(&below(&seed, name, transcript.ceremony_hash()));
        let (members, threshold) = (ceremony.members.len(), ceremony.threshold()?);
        let (first, polynomial, commitment, response) =
            frost::begin(node, members, threshold, &mut stream("gate-polynomial"));
        let mut one_time = stream("gate-one-time");
        let number = SecretNumber::draw(&mut |bytes: &mut [u8]| one_time.fill(bytes));
        let (packages, one_time) = Gate::single(ceremony.package_gate(), node, number)?;
        let contribution = Contribution { polynomial, commitment, response, packages };
        let participant = Self {
            transcript,
            node,
            key,
            seed,
            one_time,
            contribution: contribution.clone(),
            secret: Secret::First(first),
            sent: BTreeMap::new(),
            early: BTreeMap::new(),
            shares: BTreeMap::new(),
            share: None,
            kept,
            complained: false,
        };
        Ok((participant, Notice::Contributed(Box::new(contribution))))
    }

    /// The run as this member's copy of the ledger has it.
    pub const fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// The one-time key, for tests that accuse falsely.
    #[cfg(test)]
    pub(super) const fn one_time_for_test(&self) -> &GateShare {
        &self.one_time
    }

    /// Goes on by one input.
    ///
    /// # Errors
    /// Those of [`Transcript::apply`]; for packages [`Refusal::NotMember`], [`Refusal::PackageMismatch`],
    /// [`Refusal::SignatureInvalid`]. Nothing has changed then.
    pub fn step(&mut self, input: &Input, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let before = self.transcript.phase().clone();
        match input {
            Input::Notice { author, notice } => {
                self.transcript.apply(*author, notice)?;
                match notice {
                    Notice::Answered(package) if package.to() == self.node => self.receive(package, effects),
                    Notice::Complained(Complaint::Missing { accused }) if accused.contains(&self.node) => {
                        effects.extend(self.answer(*author));
                    }
                    _ => {}
                }
            }
            Input::Package(package) => {
                package.check_for(&self.transcript, self.node)?;
                self.receive(package, effects);
            }
            Input::Waited => self.demand(effects),
            Input::PhaseOver => self.transcript.close_phase(),
        }
        if before == Phase::Contributing && *self.transcript.phase() == Phase::Sharing {
            self.share_out(effects);
        }
        if before != *self.transcript.phase() {
            self.end(effects);
        }
        Ok(())
    }

    /// All have contributed: to each other member its share.
    fn share_out(&mut self, effects: &mut Vec<Effect>) {
        let Secret::First(first) = std::mem::replace(&mut self.secret, Secret::None) else { return };
        // A member that lost its seed drew other numbers than those to which it is held. It is absent, and sends
        // nothing.
        if self.transcript.contribution(self.node).as_ref() != Ok(&self.contribution) {
            return;
        }
        let (second, shares) =
            frost::share(first, &commitments(&self.others())).expect("the transcript checked every contribution");
        self.secret = Secret::Second(second);
        let (ceremony, hash) = (self.transcript.ceremony(), self.transcript.ceremony_hash());
        for (to, share) in &shares {
            let Ok(theirs) = self.transcript.contribution(*to) else { continue };
            let seed = below(&self.seed, &format!("gate-package {to}"), hash);
            let package = SignedPackage::seal(ceremony, (self.node, *to), &theirs, share, (&self.key, &seed));
            self.sent.insert(*to, package);
        }
        effects.extend(self.sent.values().cloned().map(Effect::Send));
        if let (Some(number), Some(gate)) = (self.kept.take(), self.transcript.gate())
            && let Ok(share) = GateShare::new(gate, self.node, number)
        {
            self.confirm(share, effects);
        }
        for package in std::mem::take(&mut self.early).values() {
            self.receive(package, effects);
        }
    }

    /// A package for this member whose signature holds.
    fn receive(&mut self, package: &SignedPackage, effects: &mut Vec<Effect>) {
        let from = package.from();
        if self.transcript.gate().is_none() {
            self.early.insert(from, package.clone());
            return;
        }
        if self.complained
            || !matches!(self.secret, Secret::Second(_))
            || from == self.node
            || self.shares.contains_key(&from)
        {
            return;
        }
        let Ok(theirs) = self.transcript.contribution(from) else { return };
        let opening = match package.open(&theirs, &self.contribution, &self.one_time) {
            Ok(share) => {
                self.shares.insert(from, share);
                self.add_up(effects);
                return;
            }
            Err(Bad::Ciphertext) => None,
            Err(Bad::Share(partial)) => Some(partial),
        };
        self.complained = true;
        effects.push(Effect::Submit(Notice::Complained(Complaint::False { package: package.clone(), opening })));
    }

    /// Once all shares are here: the sum is this member's share of the gate.
    fn add_up(&mut self, effects: &mut Vec<Effect>) {
        let Secret::Second(second) = &self.secret else { return };
        if self.shares.len() + 1 < self.transcript.ceremony().members.len() {
            return;
        }
        let number =
            frost::finish(second, &commitments(&self.others()), &self.shares).expect("every share was checked");
        let gate = self.transcript.gate().expect("all have contributed");
        let share = GateShare::new(gate, self.node, number).expect("the sum of shares is the share of the sum");
        self.confirm(share, effects);
    }

    /// What was not kept is never confirmed: a final gate must not be short of a share.
    fn confirm(&mut self, share: GateShare, effects: &mut Vec<Effect>) {
        let gate = *share.gate();
        effects.push(Effect::Keep(Box::new(share.clone())));
        effects.push(Effect::Submit(Notice::Confirmed(gate)));
        self.share = Some(share);
        self.shares.clear();
        self.secret = Secret::None;
    }

    fn demand(&mut self, effects: &mut Vec<Effect>) {
        let lacks_shares = matches!(self.secret, Secret::Second(_));
        if *self.transcript.phase() != Phase::Sharing || self.complained || !lacks_shares {
            return;
        }
        let others = self.transcript.ceremony().members.iter().filter(|node| **node != self.node);
        let accused = others.filter(|node| !self.shares.contains_key(*node)).copied().collect();
        effects.push(Effect::Submit(Notice::Complained(Complaint::Missing { accused })));
    }

    fn answer(&self, accuser: NodeId) -> Option<Effect> {
        let package = self.sent.get(&accuser).filter(|_| self.transcript.is_demanded(accuser, self.node))?;
        Some(Effect::Submit(Notice::Answered(package.clone())))
    }

    fn end(&self, effects: &mut Vec<Effect>) {
        match (self.transcript.phase(), self.transcript.gate(), &self.share) {
            (Phase::Done, Some(gate), Some(share)) => {
                effects.push(Effect::Finished { gate: Box::new(gate.clone()), share: Box::new(share.clone()) });
            }
            (Phase::Failed { .. }, _, _) => effects.push(Effect::Failed),
            _ => {}
        }
    }

    fn others(&self) -> BTreeMap<NodeId, Contribution> {
        let others = self.transcript.ceremony().members.iter().filter(|node| **node != self.node);
        others.filter_map(|node| Some((*node, self.transcript.contribution(*node).ok()?))).collect()
    }
}

fn commitments(of: &BTreeMap<NodeId, Contribution>) -> BTreeMap<NodeId, Commitments<'_>> {
    of.iter().map(|(node, contribution)| (*node, contribution.commitments())).collect()
}

fn below(seed: &CeremonySeed, name: &str, ceremony: &Digest) -> Zeroizing<[u8; 32]> {
    kdf::expand(seed.expose(), name, ceremony.as_bytes())
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Participant({}, {:?}, redacted)", self.node, self.transcript.phase())
    }
}
