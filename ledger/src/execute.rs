//! Making a block from entries, and checking one by executing it.

use genesis::{Consortium, ValidatorSet};
use wallet::{
    digest::Digest,
    units::{BlockHeight, NodeId, Timestamp},
};

use crate::{
    apply::{Applied, BlockContext},
    block::{Block, Header, View},
    certificate::{Certificate, CertificateInvalid, Nullification},
    checks::{Checks, Direct},
    event::Entry,
    hand_over::closed_by,
    planted::planted,
    re_genesis::Signatories,
    refusal::Refusal,
    state::State,
    tree::log::LogTree,
    vote::Signer,
};

/// A block holds at most this many entries.
pub const BLOCK_ENTRIES_MAX: usize = 4096;
/// A block's entries have at most this many encoded bytes together.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// An entry has at most this many encoded bytes, so that it fits the entry bundles of C2SP tlog-tiles.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// Everything after a block was executed. A clone is cheap and shares what is equal, so a stage is a clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Digest of the block's header; zero at genesis.
    pub digest: Digest,
    /// The name in force from the block on, see [`crate::re_genesis::name`]; at genesis the hash of the document.
    pub name: Digest,
    /// The block's height; 0 at genesis.
    pub height: BlockHeight,
    /// The block's view; zero at genesis.
    pub view: View,
    /// The block's time; at genesis that of the document.
    pub time: Timestamp,
    /// The tree over all entries.
    pub log: LogTree,
    /// What they make.
    pub state: State,
}

impl Executed {
    /// The state before the first block.
    pub fn genesis(consortium: &Consortium) -> Self {
        Self {
            digest: Digest::ZERO,
            name: consortium.id(),
            height: BlockHeight::ZERO,
            view: View::default(),
            time: consortium.created(),
            log: LogTree::default(),
            state: State::genesis(consortium),
        }
    }

    /// The set that votes for the blocks after this one. From the state, so that whoever holds the block knows it.
    pub fn validators(&self) -> ValidatorSet {
        self.state.validators()
    }

    /// The set that votes for this block itself: that of [`Self::validators`] unless its epoch is closed. At genesis,
    /// where nobody voted, the first one.
    pub fn voted_by(&self) -> ValidatorSet {
        self.state.validator_record(self.view.epoch()).set
    }

    /// Checks that a certificate of this block, or of a carrier above it, makes it final: by a quorum of its epoch, or of
    /// a re-genesis by its operators.
    ///
    /// # Errors
    /// [`CertificateInvalid`] says what is wrong.
    pub fn verify_final(&self, certificate: &Certificate) -> Result<(), CertificateInvalid> {
        self.verify_final_with(certificate, &Direct)
    }

    /// [`Self::verify_final`] with a memory of what was checked before.
    pub(crate) fn verify_final_with(
        &self,
        certificate: &Certificate,
        checks: &dyn Checks,
    ) -> Result<(), CertificateInvalid> {
        match self.view.is_re_genesis() {
            true => Signatories::of(self).ok_or(CertificateInvalid::NotFinal)?.verify(certificate),
            false => certificate.verify_final_with(&self.voted_by(), &self.name, checks),
        }
    }

    /// Whether this block changed the validator set, and so is the last of its epoch.
    pub fn is_closing(&self) -> bool {
        self.state.is_closed_at(self.height)
    }

    /// Whether its epoch is over: it is the closing block, or a carrier above that. What follows in its epoch are
    /// carriers.
    pub fn is_closed(&self) -> bool {
        self.view.epoch() < self.state.epoch()
    }

    /// The set that votes for a block of `epoch` on this one, if one may stand there: of the same epoch, or on a closing
    /// block of the next.
    fn voters_in(&self, epoch: u64) -> Option<ValidatorSet> {
        let follows = epoch == self.view.epoch() || (self.is_closing() && epoch == self.state.epoch());
        follows.then(|| self.state.validator_record(epoch).set)
    }

    /// The view after which the first block on this one in `epoch` stands.
    fn stands_in(&self, epoch: u64) -> View {
        self.view.max(View::start_of(epoch))
    }
}

/// Where a leader's next block goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What it is executed on.
    pub parent: Executed,
    /// Of the parent; none at genesis.
    pub certificate: Option<Certificate>,
    /// Between a closing parent and what the certificate names; else none.
    pub carriers: Vec<Header>,
    /// Of the views between the parent's and this one; none if there is none between.
    pub skipped: Option<Nullification>,
    /// Its view.
    pub view: View,
    /// Chain hash of the raft log in which it becomes the next entry.
    pub after: Digest,
}

/// A block as its leader made it, with what executing it gave.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// For the raft log.
    pub block: Block,
    /// What every validator will get.
    pub executed: Executed,
    /// Candidates that the rules refuse now, for their authors.
    pub refused: Vec<(Entry, Refusal)>,
    /// Candidates that did not fit, in their order, for the next block.
    pub left_over: Vec<Entry>,
}

/// Makes the block of `place` from those `candidates` that apply, in their order, signed by `leader`. Its time is `now`,
/// or just after the parent's if the clock is behind that.
pub fn propose(
    consortium: &Consortium,
    place: Place,
    leader: &Signer,
    now: Timestamp,
    candidates: Vec<Entry>,
) -> Proposal {
    propose_with(consortium, place, leader, now, candidates, &Direct)
}

/// [`propose`] with a memory of what was checked before.
pub fn propose_with(
    consortium: &Consortium,
    place: Place,
    leader: &Signer,
    now: Timestamp,
    candidates: Vec<Entry>,
    checks: &dyn Checks,
) -> Proposal {
    let Place { parent, certificate, carriers, skipped, view, after } = place;
    let epoch = view.epoch();
    let time = now.max(Timestamp::new(parent.time.get().saturating_add(1)));
    let mut executed = Executed { height: next_height(&parent), view, time, ..parent.clone() };
    let (mut entries, mut refused, mut bytes) = (Vec::new(), Vec::new(), 0);
    let is_carrier = is_carrier(&parent, epoch);
    let (candidates, mut left_over) = if is_carrier { (Vec::new(), candidates) } else { (candidates, Vec::new()) };
    let mut candidates = candidates.into_iter();
    for entry in candidates.by_ref() {
        let size = entry.bytes().len();
        if entries.len() == BLOCK_ENTRIES_MAX || (size <= ENTRY_BYTES_MAX && bytes + size > BLOCK_BYTES_MAX) {
            left_over.push(entry);
            break;
        }
        match append(consortium, &mut executed, &entry, checks) {
            Ok(applied) => {
                bytes += size;
                entries.push(entry);
                if applied.closes {
                    break;
                }
            }
            Err(refusal) => refused.push((entry, refusal)),
        }
    }
    left_over.extend(candidates);
    #[cfg(test)]
    if !is_carrier {
        crate::testing::changes::apply(&mut executed);
    }
    // At a place that no rule allows, as liars use it, no set votes: the validators refuse the block in any case.
    let validators = parent.voters_in(epoch).unwrap_or_else(|| parent.validators());
    let header = Header {
        consortium: parent.name,
        height: executed.height,
        view,
        leader: leader.node,
        epoch: validators.epoch,
        parent: parent.digest,
        parent_certificate: certificate_digest(certificate.as_ref()),
        skipped: skipped_digest(skipped.as_ref()),
        after,
        log_size: executed.log.size(),
        log_root: executed.log.root(),
        state_root: executed.state.root(),
        validators: validators.hash(),
        next_validators: next_validators(&executed),
        time,
    };
    (executed.digest, executed.name) = (header.digest(), header.name());
    let proposal = header.sign(&leader.key);
    let block = Block { header, proposal, parent_certificate: certificate, carriers, skipped, entries };
    Proposal { block, executed, refused, left_over }
}

/// Executes `block` on `parent` and checks everything that its header claims, but not its time against any clock.
///
/// # Errors
/// [`BlockInvalid`] names the first claim that does not hold.
pub fn execute(consortium: &Consortium, parent: &Executed, block: &Block) -> Result<Executed, BlockInvalid> {
    execute_with(consortium, parent, block, &Direct)
}

/// [`execute`] with a memory of what was checked before.
///
/// # Errors
/// Those of [`execute`].
pub fn execute_with(
    consortium: &Consortium,
    parent: &Executed,
    block: &Block,
    checks: &dyn Checks,
) -> Result<Executed, BlockInvalid> {
    check_place(parent, block, checks)?;
    check_time(parent, block)?;
    match checks.executed(block) {
        Some(executed) => Ok(executed),
        None => run(consortium, parent, block, checks),
    }
}

/// Executes a block of the form of a re-genesis: all but whether its operators signed it.
///
/// # Errors
/// [`BlockInvalid`] names the first claim that does not hold.
pub(crate) fn execute_re_genesis(
    consortium: &Consortium,
    parent: &Executed,
    block: &Block,
    checks: &dyn Checks,
) -> Result<Executed, BlockInvalid> {
    let header = &block.header;
    check_chain(parent, block)?;
    let validators = parent.validators();
    let view = View::re_genesis(validators.epoch);
    if header.view != view {
        return Err(BlockInvalid::View { found: header.view, parent: parent.view });
    }
    if header.epoch != validators.epoch || header.validators != validators.hash() {
        return Err(BlockInvalid::Validators);
    }
    if header.parent_certificate != certificate_digest(block.parent_certificate.as_ref()) {
        return Err(BlockInvalid::ParentCertificateDigest);
    }
    let fits = |certificate: &&Certificate| {
        let is_its_own = block.carriers.is_empty() && certificate.view == parent.view;
        shows_closing(parent, block) && (is_its_own || parent.is_closing())
    };
    let certificate = block.parent_certificate.as_ref().filter(fits).ok_or(BlockInvalid::ParentNotCertified)?;
    parent.verify_final_with(certificate, checks).map_err(BlockInvalid::ParentCertificate)?;
    if block.skipped.is_some() || header.skipped != Digest::ZERO {
        return Err(BlockInvalid::SkippedDigest);
    }
    check_time(parent, block)?;
    run(consortium, parent, block, checks)
}

/// Executes the entries of a block that stands in place, and compares what they give with what its header names.
fn run(
    consortium: &Consortium,
    parent: &Executed,
    block: &Block,
    checks: &dyn Checks,
) -> Result<Executed, BlockInvalid> {
    let header = &block.header;
    check_size(&block.entries)?;
    if is_carrier(parent, header.epoch) && !block.entries.is_empty() {
        return Err(BlockInvalid::CarriesEntries { entries: block.entries.len() });
    }
    let mut executed = Executed {
        digest: header.digest(),
        name: header.name(),
        height: header.height,
        view: header.view,
        time: header.time,
        ..parent.clone()
    };
    for (index, entry) in block.entries.iter().enumerate() {
        let applied = append(consortium, &mut executed, entry, checks)
            .map_err(|refusal| BlockInvalid::EntryRefused { index, refusal })?;
        if applied.closes && index + 1 < block.entries.len() {
            return Err(BlockInvalid::EntryAfterClosing { index: index + 1 });
        }
    }
    #[cfg(test)]
    if !is_carrier(parent, header.epoch) {
        crate::testing::changes::apply(&mut executed);
    }
    if executed.log.size() != header.log_size || executed.log.root() != header.log_root {
        return Err(BlockInvalid::LogRoot { claimed: header.log_root, found: executed.log.root() });
    }
    if executed.state.root() != header.state_root && !planted!(StateRootFromLeader) {
        return Err(BlockInvalid::StateRoot { claimed: header.state_root, found: executed.state.root() });
    }
    let found = next_validators(&executed);
    if header.next_validators != found {
        return Err(BlockInvalid::NextValidators { claimed: header.next_validators, found });
    }
    Ok(executed)
}

/// Whether the leader signed the header of this block, which stands on `parent`, and the header names all else in the
/// block. Whoever passes a block on can put another body under a true header: that says nothing about the leader, and
/// nothing about the block that a quorum votes for.
pub(crate) fn is_bound(parent: &Executed, block: &Block) -> bool {
    let header = &block.header;
    // By the view, as everywhere: a leader that names another epoch beside it has signed that.
    let epoch = header.view.epoch();
    let key = parent.voters_in(epoch).and_then(|validators| validators.key(header.leader));
    let mut log = parent.log.clone();
    block.entries.iter().for_each(|entry| log.append(entry.leaf_hash()));
    key.is_some_and(|key| header.is_proposed_by(&key, &block.proposal))
        && header.parent_certificate == certificate_digest(block.parent_certificate.as_ref())
        && (if epoch > parent.view.epoch() { shows_closing(parent, block) } else { block.carriers.is_empty() })
        && header.skipped == skipped_digest(block.skipped.as_ref())
        && (log.size(), log.root()) == (header.log_size, header.log_root)
}

/// Whether the header names its consortium, place, validators and parent rightly, and the parent is certified.
fn check_place(parent: &Executed, block: &Block, checks: &dyn Checks) -> Result<(), BlockInvalid> {
    let header = &block.header;
    let epoch = header.view.epoch();
    check_chain(parent, block)?;
    let voters = parent.voters_in(epoch).filter(|_| {
        let is_next = parent.stands_in(epoch).next_in(header.view.term) == Some(header.view);
        is_next && header.view.term >= View::first_term(epoch) && !header.view.is_re_genesis()
    });
    let validators = voters.ok_or(BlockInvalid::View { found: header.view, parent: parent.view })?;
    if header.epoch != validators.epoch || header.validators != validators.hash() {
        return Err(BlockInvalid::Validators);
    }
    let leader = header.leader;
    if !validators.key(leader).is_some_and(|key| header.is_proposed_by_with(&key, &block.proposal, checks)) {
        return Err(BlockInvalid::Proposal { leader });
    }
    if header.parent_certificate != certificate_digest(block.parent_certificate.as_ref()) {
        return Err(BlockInvalid::ParentCertificateDigest);
    }
    check_parent(parent, block, checks)?;
    check_skipped(parent, block, &validators, checks)
}

/// Whether the header names its consortium, height and parent rightly.
fn check_chain(parent: &Executed, block: &Block) -> Result<(), BlockInvalid> {
    let header = &block.header;
    if header.consortium != parent.name {
        return Err(BlockInvalid::ForeignConsortium { found: header.consortium });
    }
    if header.height != next_height(parent) {
        return Err(BlockInvalid::Height { found: header.height, parent: parent.height });
    }
    if header.parent != parent.digest {
        return Err(BlockInvalid::Parent { found: header.parent, expected: parent.digest });
    }
    Ok(())
}

fn check_time(parent: &Executed, block: &Block) -> Result<(), BlockInvalid> {
    let (time, parent) = (block.header.time, parent.time);
    if time > parent { Ok(()) } else { Err(BlockInvalid::TimeNotAfterParent { time, parent }) }
}

/// Whether a block of `epoch` on `parent` can do nothing but make the end of that epoch final.
fn is_carrier(parent: &Executed, epoch: u64) -> bool {
    parent.is_closed() && epoch == parent.view.epoch()
}

/// Whether what the block carries leads from what the certificate names down to its closing parent.
fn shows_closing(parent: &Executed, block: &Block) -> bool {
    let closed = block.parent_certificate.as_ref().and_then(|certificate| closed_by(certificate, &block.carriers));
    closed == Some((parent.height, parent.digest))
}

/// Whether the block carries a quorum's word for its parent.
fn check_parent(parent: &Executed, block: &Block, checks: &dyn Checks) -> Result<(), BlockInvalid> {
    match &block.parent_certificate {
        _ if planted!(ParentNotCertified) => Ok(()),
        None if parent.height == BlockHeight::ZERO && block.carriers.is_empty() => Ok(()),
        // Nothing of the new set may build on what the old one can still take back.
        Some(certificate) if block.header.epoch > parent.view.epoch() && shows_closing(parent, block) => {
            parent.verify_final_with(certificate, checks).map_err(BlockInvalid::ParentCertificate)
        }
        Some(certificate)
            if block.header.epoch == parent.view.epoch()
                && block.carriers.is_empty()
                && parent.height > BlockHeight::ZERO
                && (certificate.block, certificate.height, certificate.view)
                    == (parent.digest, parent.height, parent.view) =>
        {
            certificate.verify_with(&parent.voted_by(), &parent.name, checks).map_err(BlockInvalid::ParentCertificate)
        }
        _ => Err(BlockInvalid::ParentNotCertified),
    }
}

/// Whether no view between the parent's and the block's can make another block final: a later term begins with a
/// quorum's word that all that came after the parent is over. Before the first term of an epoch there was nothing.
fn check_skipped(
    parent: &Executed,
    block: &Block,
    validators: &ValidatorSet,
    checks: &dyn Checks,
) -> Result<(), BlockInvalid> {
    let header = &block.header;
    let stands = parent.stands_in(header.epoch);
    if header.skipped != skipped_digest(block.skipped.as_ref()) {
        return Err(BlockInvalid::SkippedDigest);
    }
    let between = header.view.term > stands.term.max(View::first_term(header.epoch));
    match &block.skipped {
        _ if planted!(BridgeNotChecked) => Ok(()),
        None if !between => Ok(()),
        Some(skipped) if between && skipped.bridges(stands, header.view.term) => {
            skipped.verify_with(validators, &parent.name, checks).map_err(BlockInvalid::Skipped)
        }
        _ => Err(BlockInvalid::NotSkipped { found: header.view, parent: stands }),
    }
}

fn check_size(entries: &[Entry]) -> Result<(), BlockInvalid> {
    let bytes: usize = entries.iter().map(|entry| entry.bytes().len()).sum();
    if entries.len() > BLOCK_ENTRIES_MAX || bytes > BLOCK_BYTES_MAX {
        return Err(BlockInvalid::TooLarge { entries: entries.len(), bytes });
    }
    Ok(())
}

/// Applies entries at the end of the log, as [`execute`] does, whatever block they are in.
///
/// # Errors
/// The index of the first entry that the rules refuse, and why.
pub fn append_all(
    consortium: &Consortium,
    executed: &mut Executed,
    entries: &[Entry],
    checks: &dyn Checks,
) -> Result<(), (usize, Refusal)> {
    entries.iter().enumerate().try_for_each(|(index, entry)| {
        append(consortium, executed, entry, checks).map(drop).map_err(|refusal| (index, refusal))
    })
}

/// Applies one entry at the end of the log.
pub(crate) fn append(
    consortium: &Consortium,
    executed: &mut Executed,
    entry: &Entry,
    checks: &dyn Checks,
) -> Result<Applied, Refusal> {
    let Executed { name, height, time, view, .. } = *executed;
    let (log_index, is_re_genesis) = (executed.log.next_index(), view.is_re_genesis());
    let at = BlockContext { name, height, time, log_index, is_re_genesis };
    let applied = executed.state.apply_with(consortium, entry, at, checks)?;
    executed.log.append(if planted!(LeafHashSkipped) { Digest::ZERO } else { entry.leaf_hash() });
    Ok(applied)
}

/// What the header of the block that led here says of the next set.
fn next_validators(executed: &Executed) -> Digest {
    if executed.is_closing() { executed.validators().hash() } else { Digest::ZERO }
}

fn next_height(parent: &Executed) -> BlockHeight {
    parent.height.next().expect("2^64 blocks take longer than the sun has")
}

pub(crate) fn skipped_digest(skipped: Option<&Nullification>) -> Digest {
    skipped.map_or(Digest::ZERO, Nullification::digest)
}

pub(crate) fn certificate_digest(certificate: Option<&Certificate>) -> Digest {
    certificate.map_or(Digest::ZERO, Certificate::digest)
}

/// Why a validator does not vote for a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockInvalid {
    /// Of another consortium.
    #[error("the block is of consortium {found}")]
    ForeignConsortium {
        /// What its header names.
        found: Digest,
    },
    /// Not the next height.
    #[error("height {found} does not follow {parent}")]
    Height {
        /// What its header names.
        found: BlockHeight,
        /// The parent's.
        parent: BlockHeight,
    },
    /// Another parent.
    #[error("the parent is {expected}, not {found}")]
    Parent {
        /// What its header names.
        found: Digest,
        /// The block that was executed before.
        expected: Digest,
    },
    /// Not the next view.
    #[error("view {found:?} does not follow {parent:?}")]
    View {
        /// What its header names.
        found: View,
        /// The parent's.
        parent: View,
    },
    /// Not the epoch or the validator set that votes.
    #[error("the header names another epoch or validator set")]
    Validators,
    /// The leader that the header names did not sign it.
    #[error("the header is not signed by its leader {leader}")]
    Proposal {
        /// Who it names.
        leader: NodeId,
    },
    /// The header's digest of a nullification is not of the one in the block.
    #[error("the header names another nullification")]
    SkippedDigest,
    /// The block skips views that are not proven to be over, or proves what it does not need.
    #[error("no quorum gave up exactly the views between {parent:?} and {found:?}")]
    NotSkipped {
        /// What its header names.
        found: View,
        /// The parent's.
        parent: View,
    },
    /// The nullification proves nothing.
    #[error("the nullification: {0}")]
    Skipped(#[source] CertificateInvalid),
    /// The header's digest of the parent's certificate is not of the one in the block.
    #[error("the header names another certificate of its parent")]
    ParentCertificateDigest,
    /// The parent is not certified, or the first block carries a certificate.
    #[error("the block does not carry a certificate of its parent")]
    ParentNotCertified,
    /// The parent's certificate proves nothing.
    #[error("the parent's certificate: {0}")]
    ParentCertificate(#[source] CertificateInvalid),
    /// Time must go on.
    #[error("time {time} is not after the parent's {parent}")]
    TimeNotAfterParent {
        /// The block's, in ms since 1970.
        time: Timestamp,
        /// The parent's.
        parent: Timestamp,
    },
    /// Too far in the future by the own clock. It may become valid by waiting.
    #[error("time {time} is too far ahead of the clock at {clock}")]
    TimeAhead {
        /// The block's, in ms since 1970.
        time: Timestamp,
        /// The validator's.
        clock: Timestamp,
    },
    /// The own raft log does not hold it where its leader put it. It says nothing about the block elsewhere.
    #[error("the block stands in another place of the log than its header says")]
    Misplaced,
    /// It is not what its header names. It says nothing about the block elsewhere.
    #[error("the header names another body")]
    OtherBody,
    /// Another block of its view was there before. It says nothing about the block elsewhere.
    #[error("another block of this view came before it")]
    ViewTaken,
    /// Too many entries or bytes.
    #[error("{entries} entries with {bytes} bytes exceed a block")]
    TooLarge {
        /// How many entries.
        entries: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// An entry that the rules refuse.
    #[error("entry {index} of the block: {refusal}")]
    EntryRefused {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        refusal: Refusal,
    },
    /// The epoch is closed: what follows in it holds nothing.
    #[error("{entries} entries in a block above the one that closed its epoch")]
    CarriesEntries {
        /// How many.
        entries: usize,
    },
    /// The voter of this node is in another epoch. It says nothing about the block.
    #[error("the block is of epoch {found}, and this node votes in epoch {expected}")]
    OtherEpoch {
        /// The block's.
        found: u64,
        /// The voter's.
        expected: u64,
    },
    /// An entry behind the one that changed the validator set.
    #[error("entry {index} of the block stands after the one that closed it")]
    EntryAfterClosing {
        /// Which, from 0.
        index: usize,
    },
    /// The next validator set is another, or there is none.
    #[error("the next validator set is {found}, not {claimed}")]
    NextValidators {
        /// Its hash by the header; zero for none.
        claimed: Digest,
        /// By execution.
        found: Digest,
    },
    /// The log's size or root is another.
    #[error("the log root is {found}, not {claimed}")]
    LogRoot {
        /// By the header.
        claimed: Digest,
        /// By execution.
        found: Digest,
    },
    /// The state root is another.
    #[error("the state root is {found}, not {claimed}")]
    StateRoot {
        /// By the header.
        claimed: Digest,
        /// By execution.
        found: Digest,
    },
}

#[cfg(test)]
mod tests;
