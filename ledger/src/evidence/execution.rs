//! A block with what it takes to execute it offline: its parent's header, the log's frontier, and of the state what the
//! execution reads and writes.
//!
//! Whoever makes evidence executes the block and notes each key that is read or written; the reader executes it over these
//! records alone, with the same code. A key that is not shown is never taken for absent: then the evidence is refused.
//! It is, too, if it shows more, so that it has one form.
//!
//! The leader's signature covers the header alone. So everything else is believed only where the header names its digest:
//! the parent, the parent's certificate, the nullification, and the entries by the log root. What the header does not
//! bind says nothing about the leader.

use genesis::Consortium;
use serde::{Deserialize, Serialize};
use wallet::{codec, digest::Digest, units::BlockHeight};

use super::{Culprit, EVIDENCE_BYTES_MAX, EvidenceInvalid, Rule, check_proposal, culprit};
use crate::{
    block::{Block, Header, View},
    certificate::{Certificate, Nullification},
    event::Entry,
    execute::{BlockInvalid, Executed, execute},
    hand_over::{ValidatorSets, closed_by},
    state::{Record, Touched},
    tree::{log::LogTree, partial::PartialTree},
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The parent's header; none where the parent is genesis.
    pub parent: Option<Header>,
    /// The log before the block.
    pub log: LogTree,
    /// Of the state before the block what its execution reads and writes.
    pub state: PartialTree,
    /// The block.
    pub block: Block,
}

/// What a block reads and writes does not fit into evidence. The other kinds do not need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes of records and block do not fit into the {EVIDENCE_BYTES_MAX} of evidence")]
pub struct EvidenceTooLarge {
    /// How many there are, or more.
    pub bytes: usize,
}

/// What evidence needs beside records, hashes and block, at most: the genesis document, headers, and the heads of lists.
const REST_BYTES: usize = 2 << 20;

/// Whether a leader whose block is refused for this reason has broken a rule that its signature shows. A time never is
/// one, because clocks differ, nor is anything that its header does not bind.
pub const fn blames_leader(reason: &BlockInvalid) -> bool {
    !matches!(
        reason,
        BlockInvalid::TimeNotAfterParent { .. }
            | BlockInvalid::TimeAhead { .. }
            | BlockInvalid::Misplaced
            | BlockInvalid::OtherBody
            | BlockInvalid::ViewTaken
            | BlockInvalid::OtherEpoch { .. }
            | BlockInvalid::Proposal { .. }
            | BlockInvalid::SkippedDigest
            | BlockInvalid::Parent { .. }
            | BlockInvalid::ParentCertificateDigest
            | BlockInvalid::LogRoot { .. }
    )
}

impl Execution {
    /// What it takes to show that `block` does not execute on `parent`, whose header is `header`; none at genesis.
    ///
    /// # Errors
    /// [`EvidenceTooLarge`].
    pub fn of(
        consortium: &Consortium,
        header: Option<&Header>,
        parent: &Executed,
        block: &Block,
    ) -> Result<Self, EvidenceTooLarge> {
        Self::noted(header, parent, block, |parent| breaks_rule(consortium, parent, block))
    }

    /// What it takes to execute `judge` on `parent`, whatever that says.
    pub(super) fn noted(
        header: Option<&Header>,
        parent: &Executed,
        block: &Block,
        judge: impl FnOnce(&Executed) -> Result<(), EvidenceInvalid>,
    ) -> Result<Self, EvidenceTooLarge> {
        let (noting, keys) = Self::noting(parent);
        // What it says is for the reader. Here it only goes the way that the reader's will.
        let _verdict = check_founded(&noting).and_then(|()| judge(&noting));
        let (tree, keys) = (parent.state.tree(), keys.keys());
        let fits = |bytes: usize| if bytes > EVIDENCE_BYTES_MAX { Err(EvidenceTooLarge { bytes }) } else { Ok(()) };
        let records: usize = keys.iter().filter_map(|key| tree.get(key)).map(<[u8]>::len).sum();
        let rest = REST_BYTES + codec::encoded_size(block);
        fits(rest + records)?;
        let state = tree.partial(&keys).expect("whoever executes a block has all of the state before it");
        fits(rest + codec::encoded_size(&state))?;
        Ok(Self { parent: header.cloned(), log: parent.log.clone(), state, block: block.clone() })
    }

    fn noting(parent: &Executed) -> (Executed, Touched) {
        let (state, keys) = parent.state.noting();
        (Executed { state, ..parent.clone() }, keys)
    }

    /// Executes the block. The leader is to blame if a rule refuses it that its header binds it to.
    pub(super) fn verify(
        &self,
        consortium: &Consortium,
        sets: &ValidatorSets,
    ) -> Result<Vec<Culprit>, EvidenceInvalid> {
        self.check_bound(sets)?;
        let header = &self.block.header;
        if self.check_parent(sets).is_err() {
            self.check_set_of_parent(sets)?;
        } else {
            self.judged(consortium, |parent| breaks_rule(consortium, parent, &self.block))?;
        }
        Ok(vec![culprit(sets, header.leader, Rule::ValidProposal, header.view)?])
    }

    /// Whether the leader signed the header, and the header names everything else in this.
    pub(super) fn check_bound(&self, sets: &ValidatorSets) -> Result<(), EvidenceInvalid> {
        let Block { header, proposal, parent_certificate, carriers, skipped, entries } = &self.block;
        check_proposal(sets, header, proposal)?;
        let not_bound = |what| Err(EvidenceInvalid::NotBound(what));
        if header.parent != self.parent.as_ref().map_or(Digest::ZERO, Header::digest) {
            return not_bound("the block names another parent");
        }
        if header.parent_certificate != parent_certificate.as_ref().map_or(Digest::ZERO, Certificate::digest) {
            return not_bound("the block names another certificate of its parent");
        }
        let are_bound = match (self.closing_parent(), parent_certificate) {
            (Some(parent), Some(certificate)) => {
                closed_by(certificate, carriers) == Some((parent.height, parent.digest()))
            }
            _ => carriers.is_empty(),
        };
        if !are_bound {
            return not_bound("the carriers do not lead to the parent");
        }
        if header.skipped != skipped.as_ref().map_or(Digest::ZERO, Nullification::digest) {
            return not_bound("the block names another nullification");
        }
        let mut log = self.log.clone();
        if !log.is_whole() || log.size() > u64::MAX / 2 {
            return not_bound("the log's frontier does not have a peak for each complete subtree");
        }
        entries.iter().for_each(|entry| log.append(Entry::leaf_hash(entry)));
        if (log.size(), log.root()) != (header.log_size, header.log_root) {
            return not_bound("the block names another log");
        }
        Ok(())
    }

    /// The parent, if the block is the first of the epoch after its.
    fn closing_parent(&self) -> Option<&Header> {
        self.parent.as_ref().filter(|parent| parent.view.epoch() < self.block.header.view.epoch())
    }

    /// Whether a quorum certified the parent, so that its roots are right. If not, the leader built on what it had no
    /// proof for.
    pub(super) fn check_parent(&self, sets: &ValidatorSets) -> Result<(), EvidenceInvalid> {
        match (&self.parent, &self.block.parent_certificate) {
            (None, None) => Ok(()),
            // What the certificate names is bound to the parent.
            (Some(parent), Some(certificate)) if self.closing_parent().is_some() => {
                if !parent.is_closing() {
                    return Err(EvidenceInvalid::NotBound("the parent does not close its epoch"));
                }
                Ok(sets.verify_final(parent.view.epoch(), certificate)?)
            }
            (Some(parent), Some(certificate)) => {
                if (certificate.block, certificate.height, certificate.view)
                    != (parent.digest(), parent.height, parent.view)
                {
                    return Err(EvidenceInvalid::NotBound("the certificate is of another block than the parent"));
                }
                let epoch = parent.view.epoch();
                Ok(certificate.verify(sets.of(epoch)?, &sets.name_of(epoch))?)
            }
            _ => Err(EvidenceInvalid::NotBound("the parent is not certified")),
        }
    }

    /// Whether the parent's certificate is worth nothing to the leader too: the parent names the set by which it is
    /// checked here. An old quorum can sign a hand-over to another set, under which no certificate of the real one holds.
    fn check_set_of_parent(&self, sets: &ValidatorSets) -> Result<(), EvidenceInvalid> {
        let Some(parent) = &self.parent else { return Ok(()) };
        if parent.validators == sets.of(parent.view.epoch())?.hash() {
            return Ok(());
        }
        Err(EvidenceInvalid::NotBound("the parent is of another validator set than the hand-overs lead to"))
    }

    /// What `judge` says of the parent as its validators executed it. Only after [`Self::check_parent`]: a root that
    /// nobody certified could stand for records that no execution makes.
    ///
    /// # Errors
    /// Those of `judge`, unless it looks at other records than those that are shown.
    pub(super) fn judged(
        &self,
        consortium: &Consortium,
        judge: impl FnOnce(&Executed) -> Result<(), EvidenceInvalid>,
    ) -> Result<(), EvidenceInvalid> {
        let (parent, keys) = Self::noting(&self.parent_executed(consortium)?);
        let verdict = check_founded(&parent).and_then(|()| judge(&parent));
        if parent.state.tree().partial(&keys.keys())? != self.state {
            return Err(EvidenceInvalid::NotBound("more of the state is shown than the execution looks at"));
        }
        verdict
    }

    /// The parent, with as much of the state as is shown.
    fn parent_executed(&self, consortium: &Consortium) -> Result<Executed, EvidenceInvalid> {
        let genesis = Executed::genesis(consortium);
        let not_bound = |what| Err(EvidenceInvalid::NotBound(what));
        let Some(tree) = self.state.tree() else {
            return not_bound("what is shown of the state is no part of a tree");
        };
        if tree.iter().any(|(_, value)| codec::decode::<Record>(value).is_err()) {
            return not_bound("a leaf of the state is no record");
        }
        let (digest, name, height, view, time, roots) = match &self.parent {
            None => (Digest::ZERO, genesis.name, BlockHeight::ZERO, View::default(), genesis.time, roots_of(&genesis)),
            Some(parent) => {
                let roots = (parent.log_size, parent.log_root, parent.state_root);
                (parent.digest(), parent.name(), parent.height, parent.view, parent.time, roots)
            }
        };
        let executed = Executed { digest, name, height, view, time, log: self.log.clone(), state: tree.into() };
        if roots_of(&executed) != roots {
            return not_bound("log or state are not the parent's");
        }
        if height.next().is_none() || time.get() == u64::MAX {
            return not_bound("nothing follows the parent");
        }
        Ok(executed)
    }
}

/// Whether the state is one that some execution made. A quorum of liars can certify a root over other leaves.
fn check_founded(parent: &Executed) -> Result<(), EvidenceInvalid> {
    if parent.state.is_founded() && parent.state.validators_of(parent.view.epoch()).is_some() {
        return Ok(());
    }
    Err(EvidenceInvalid::NotBound("the state is of no consortium"))
}

/// Whether a rule refuses the block that its header binds its leader to.
fn breaks_rule(consortium: &Consortium, parent: &Executed, block: &Block) -> Result<(), EvidenceInvalid> {
    match execute(consortium, parent, block) {
        Ok(_) => Err(EvidenceInvalid::BlockHolds),
        Err(reason) if !blames_leader(&reason) => Err(EvidenceInvalid::NoFault(reason)),
        Err(_) => Ok(()),
    }
}

fn roots_of(executed: &Executed) -> (u64, Digest, Digest) {
    (executed.log.size(), executed.log.root(), executed.state.root())
}
