//! The leader's promise to an author, and the proof that it was broken.
//!
//! Who takes entries as the leader signs in which of its blocks they will be at the latest. It tries what it promised
//! for a block before anything else, and promises no more for a block than half of it, so that an honest leader never
//! breaks a promise. Once a block closes its epoch its leader owes nothing more. Left out without a breach is what the
//! rules of the ledger refuse, if only for a moment: what one entry of a block forbids another can allow again. So the
//! entry must apply before the block and after each of its entries. Wherever its leader tried it, it was not refused.
//!
//! A promise names leaves and not ids: an id does not cover the signatures of an entry. Of two entries with one id the
//! leader may have got the one that a rule refuses, and the author could then show the other.

use genesis::Consortium;
use serde::{Deserialize, Serialize};
use wallet::{
    codec,
    digest::{Digest, sha256},
    identity::context,
};

use super::{Culprit, EvidenceInvalid, EvidenceTooLarge, Execution, Promised, Rule, culprit};
use crate::{
    block::{Block, Header, View},
    checks::{Checks, Remembered},
    event::Entry,
    execute::{Executed, append, execute_with},
    hand_over::ValidatorSets,
    refusal::Refusal,
    vote::{Signed, Statement},
};

/// One promise names at most this many entries.
pub const PROMISED_MAX: usize = 128;

/// "These entries are in my block of this number at the latest, if they apply to it."
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Promise {
    /// The name in force; see [`crate::re_genesis::name`].
    pub consortium: Digest,
    /// Which validator set the leader belongs to.
    pub epoch: u64,
    /// The raft term that it leads.
    pub term: u64,
    /// The number of the block within the term.
    pub through: u64,
    /// What [`entries_digest`] gives for the leaves of the entries.
    pub entries: Digest,
}

impl Statement for Promise {
    const CONTEXT: &'static str = context::LEDGER_PROMISE;

    fn consortium(&self) -> Digest {
        self.consortium
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn terms(&self) -> [u64; 2] {
        [self.term; 2]
    }
}

/// A leader's promise.
pub type SignedPromise = Signed<Promise>;

/// What a promise names: the leaf hashes of the entries, in the order in which they were submitted.
pub fn entries_digest(leaves: &[Digest]) -> Digest {
    sha256("batchmind/v1/ledger/promised", &[&codec::encode(leaves)])
}

/// A promise, and the block that was to keep it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenPromise {
    /// What the leader signed when it took the entries.
    pub promise: SignedPromise,
    /// The leaf hashes of all entries that it names.
    pub leaves: Vec<Digest>,
    /// The one that was left out.
    pub entry: Entry,
    /// The block, and what it was executed on.
    pub execution: Execution,
}

impl BrokenPromise {
    /// That `entry`, one of those that were promised, was left out of `block` on `parent`, whose header is `header`; none
    /// at genesis.
    ///
    /// # Errors
    /// [`EvidenceTooLarge`].
    pub fn of(
        consortium: &Consortium,
        promised: Promised,
        entry: Entry,
        header: Option<&Header>,
        parent: &Executed,
        block: &Block,
    ) -> Result<Self, EvidenceTooLarge> {
        let execution = Execution::noted(header, parent, block, |parent| left_out(consortium, parent, block, &entry))?;
        let Promised { promise, leaves } = promised;
        Ok(Self { promise, leaves, entry, execution })
    }

    pub(super) fn verify(
        &self,
        consortium: &Consortium,
        sets: &ValidatorSets,
    ) -> Result<Vec<Culprit>, EvidenceInvalid> {
        let Self { promise, leaves, entry, execution } = self;
        let Promise { epoch, term, through, entries, .. } = promise.statement;
        promise.verify(sets.of(epoch)?, &sets.name_of(epoch))?;
        if leaves.len() > PROMISED_MAX || entries_digest(leaves) != entries || !leaves.contains(&entry.leaf_hash()) {
            return Err(EvidenceInvalid::NotBound("the promise does not name the entry"));
        }
        let (header, view) = (&execution.block.header, View { term, number: through });
        if (header.leader, header.view) != (promise.validator, view) {
            return Err(EvidenceInvalid::NotBound("the block is not the one that the promise names"));
        }
        execution.check_bound(sets)?;
        execution.check_parent(sets)?;
        execution.judged(consortium, |parent| left_out(consortium, parent, &execution.block, entry))?;
        Ok(vec![culprit(sets, promise.validator, Rule::KeptPromise, view)?])
    }
}

/// Whether the block executes on `parent` and had room for `entry` all the time.
fn left_out(consortium: &Consortium, parent: &Executed, block: &Block, entry: &Entry) -> Result<(), EvidenceInvalid> {
    // The walk checks the same signatures at each step.
    let checks = Remembered::default();
    let after = execute_with(consortium, parent, block, &checks).map_err(EvidenceInvalid::NoFault)?;
    if after.is_closed() {
        return Err(EvidenceInvalid::NoContradiction("nothing follows in a block that closes its epoch, or above it"));
    }
    applies_throughout(consortium, [parent, &after], block, entry, &checks).map_err(EvidenceInvalid::PromiseKept)
}

/// Whether `entry` applies everywhere in a valid block: to the state before it, and after each of its entries. `ends` are
/// what was there before the block and after it.
///
/// # Errors
/// [`Refusal`] at the first place where a rule refuses it.
pub(crate) fn applies_throughout(
    consortium: &Consortium,
    ends: [&Executed; 2],
    block: &Block,
    entry: &Entry,
    checks: &dyn Checks,
) -> Result<(), Refusal> {
    let [before, after] = ends;
    let applies = |at: &Executed| append(consortium, &mut at.clone(), entry, checks).map(drop);
    // First the end, where most of what was refused for good still is.
    applies(after)?;
    let Header { height, view, time, .. } = block.header;
    let mut at = Executed { height, view, time, ..before.clone() };
    for done in &block.entries {
        applies(&at)?;
        append(consortium, &mut at, done, checks)?;
    }
    Ok(())
}
