//! The rules: what an entry must fulfil, and what it changes. Deterministic, so that every validator agrees.

mod enactment;
mod evidence;
mod governance;
mod hop;
mod lifecycle;
mod re_genesis;

use genesis::Consortium;
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, RegionId, Signature, context},
    policy::{PolicyCommitment, PolicyOpening},
    units::{BlockHeight, LogIndex, NodeId, Timestamp},
};

use crate::{
    author::AuthorSignature,
    checks::{Checks, Direct},
    credits::Award,
    event::{Entry, EntryBody, EntryParts, Event, next_head},
    execute::ENTRY_BYTES_MAX,
    planted::planted,
    refusal::Refusal,
    state::{EntryRecord, KeyRotated, NodeRecord, Record, Standing, State, StateKey, WalletRecord},
};

/// At most this many receivers of a wallet may be exposed.
pub const EXPOSED_MAX: usize = 8;
/// A wallet has at most this many epoch keys; a successor batch goes on.
pub const ROTATIONS_MAX: usize = 1_024;

/// Where an entry is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockContext {
    /// The name in force, see [`crate::re_genesis::name`].
    pub name: Digest,
    /// The block's height.
    pub height: BlockHeight,
    /// The block's time.
    pub time: Timestamp,
    /// The entry's leaf.
    pub log_index: LogIndex,
    /// Whether the block is a re-genesis.
    pub is_re_genesis: bool,
}

/// What applying an entry brought, beside the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's id.
    pub entry: Digest,
    /// The key rotation that it implies.
    pub rotated: Option<KeyRotated>,
    /// What a hop earned.
    pub award: Option<Award>,
    /// Whether it changed the validator set: then it is the last entry of its block.
    pub closes: bool,
}

impl State {
    /// Applies one entry.
    ///
    /// # Errors
    /// [`Refusal`] for the first rule that it breaks; the state is unchanged then.
    pub fn apply(&mut self, consortium: &Consortium, entry: &Entry, at: BlockContext) -> Result<Applied, Refusal> {
        self.apply_with(consortium, entry, at, &Direct)
    }

    /// [`State::apply`] with a memory of what was checked before.
    pub(crate) fn apply_with(
        &mut self,
        consortium: &Consortium,
        entry: &Entry,
        at: BlockContext,
        checks: &dyn Checks,
    ) -> Result<Applied, Refusal> {
        check_size(entry)?;
        if !planted!(AuthorNotChecked) {
            self.check_author(consortium, entry, checks)?;
        }
        let Step { changes, rotated, award, id, .. } = self.step(consortium, entry, at, checks)?;
        let closes = changes.iter().any(|(key, _)| matches!(key, StateKey::Validators(_)));
        changes.into_iter().for_each(|(key, record)| self.put(key, record));
        Ok(Applied { entry: id, rotated, award, closes })
    }

    /// Whether the rules take what `body` says, before its author signs it: for a node that lends its signature to what
    /// somebody else says. No wallet's holder signs with it.
    ///
    /// # Errors
    /// [`Refusal`] for the first rule that it breaks, also where it may be taken later.
    pub(crate) fn check_unsigned(
        &self,
        consortium: &Consortium,
        body: EntryBody,
        at: BlockContext,
        checks: &dyn Checks,
    ) -> Result<(), Refusal> {
        self.key_of_author(&body)?;
        let signature = AuthorSignature::Direct(Signature([0; 64]));
        let entry = EntryParts { body, signature, holder_signature: None }.into();
        check_size(&entry)?;
        self.step(consortium, &entry, at, checks).map(drop)
    }

    /// What an entry changes, whoever signed it.
    fn step<'a>(
        &'a self,
        consortium: &'a Consortium,
        entry: &'a Entry,
        at: BlockContext,
        checks: &'a dyn Checks,
    ) -> Result<Step<'a>, Refusal> {
        let id = entry.id();
        if self.entry(id).is_some() {
            return Err(Refusal::Replayed { id });
        }
        let mut step =
            Step { state: self, changes: Vec::new(), consortium, entry, checks, id, at, rotated: None, award: None };
        step.event()?;
        let record = EntryRecord { log_index: at.log_index, height: at.height, time: at.time };
        step.put(StateKey::Entry(id), Record::Entry(record));
        Ok(step)
    }

    /// Whether the entry is for this consortium, and by a node that may say that as things are. Costs a signature, so a
    /// node can ask before it forwards an entry.
    ///
    /// # Errors
    /// [`Refusal`] for what is wrong.
    pub fn check_author(&self, consortium: &Consortium, entry: &Entry, checks: &dyn Checks) -> Result<(), Refusal> {
        check_signed(consortium, entry, &self.key_of_author(&entry.body)?, checks)
    }

    /// The key of an author that may say that as things are.
    fn key_of_author(&self, body: &EntryBody) -> Result<PublicKey, Refusal> {
        let author = body.author;
        let record = self.node(author).filter(|record| record.standing != Standing::Removed);
        let NodeRecord { node, standing, .. } = record.ok_or(Refusal::AuthorUnknown { author })?;
        let may = match standing {
            Standing::InForce => true,
            Standing::Suspended => body.event.lets_go(),
            Standing::Keyless | Standing::Removed => false,
        };
        if may { Ok(node.key) } else { Err(Refusal::AuthorSuspended { author }) }
    }
}

fn check_size(entry: &Entry) -> Result<(), Refusal> {
    let bytes = entry.bytes().len();
    if bytes > ENTRY_BYTES_MAX { Err(Refusal::EntryTooLarge { bytes }) } else { Ok(()) }
}

/// Whether the entry is for this consortium and by the node of the genesis document that it names, under the key that it
/// has there: for entries before the first change of the validator set, without a state.
///
/// # Errors
/// [`Refusal`] for what is wrong.
pub fn check_author(consortium: &Consortium, entry: &Entry) -> Result<(), Refusal> {
    check_author_with(consortium, entry, &Direct)
}

/// [`check_author`] with a memory of what was checked before.
///
/// # Errors
/// Those of [`check_author`].
pub fn check_author_with(consortium: &Consortium, entry: &Entry, checks: &dyn Checks) -> Result<(), Refusal> {
    let author = entry.body.author;
    let node = consortium.node(author).ok_or(Refusal::AuthorUnknown { author })?;
    check_signed(consortium, entry, &node.key, checks)
}

/// Whether the entry is for this consortium and signed with `key`, its author's.
pub(crate) fn check_signed(
    consortium: &Consortium,
    entry: &Entry,
    key: &PublicKey,
    checks: &dyn Checks,
) -> Result<(), Refusal> {
    let EntryBody { consortium: found, author, .. } = entry.body;
    if found != consortium.id() {
        return Err(Refusal::ForeignConsortium { found });
    }
    entry.signature.verify(key, entry, checks).map_err(|_| Refusal::AuthorSignature { author })
}

/// One entry on its way into the state.
struct Step<'a> {
    /// As it was before.
    state: &'a State,
    /// What the entry puts into it if no rule refuses it.
    changes: Vec<(StateKey, Record)>,
    consortium: &'a Consortium,
    entry: &'a Entry,
    checks: &'a dyn Checks,
    id: Digest,
    at: BlockContext,
    rotated: Option<KeyRotated>,
    award: Option<Award>,
}

impl Step<'_> {
    fn event(&mut self) -> Result<(), Refusal> {
        match &self.entry.body.event {
            Event::WalletCreated(event) => self.wallet_created(event),
            Event::MigrationOffered(event) => self.migration_offered(event),
            Event::MigrationAccepted(event) => self.migration_accepted(event),
            Event::KeyConfirmed(event) => self.key_confirmed(event),
            Event::MigrationAborted(event) => self.migration_aborted(event),
            Event::Touch(event) => self.touch(event),
            Event::BaselineCommitted(event) => self.baseline_committed(event),
            Event::LatencyDelta(event) => self.latency_delta(event),
            Event::BatchEvicted(event) => self.batch_evicted(event),
            Event::DecisionAnchored(event) => self.decision_anchored(event),
            Event::BatchClosed(event) => self.batch_closed(event),
            Event::ValidatorResumed(event) => self.validator_resumed(event),
            Event::ProposalMade(event) => self.proposal_made(event),
            Event::BallotCast(event) => self.ballot_cast(event),
            Event::ProposalWithdrawn(event) => self.proposal_withdrawn(event),
            Event::ProposalEnacted(event) => self.proposal_enacted(event),
            Event::ReGenesis(event) => self.re_genesis(event),
        }
    }

    fn put(&mut self, key: StateKey, record: Record) {
        self.changes.push((key, record));
    }

    fn author(&self) -> NodeId {
        self.entry.body.author
    }

    /// The wallet, open and at the head that the entry names.
    fn swap(&self, address: WalletAddress, head: Digest) -> Result<WalletRecord, Refusal> {
        let wallet = self.open_wallet(address)?;
        if wallet.head != head {
            return Err(Refusal::HeadMoved { current: wallet.head, named: head });
        }
        Ok(wallet)
    }

    fn open_wallet(&self, address: WalletAddress) -> Result<WalletRecord, Refusal> {
        let wallet = self.state.wallet(address).ok_or(Refusal::WalletUnknown { wallet: address })?;
        if wallet.is_closed() {
            return Err(Refusal::WalletClosed { wallet: address });
        }
        Ok(wallet)
    }

    /// The author must be the holder and have signed with the epoch key of record.
    fn by_holder(&self, wallet: &WalletRecord) -> Result<(), Refusal> {
        let (holder, author) = (wallet.holder, self.author());
        if holder != author {
            return Err(Refusal::NotHolder { holder, author });
        }
        self.signed_by(&wallet.holder_key)
    }

    /// The holder's signature must be there and by `key`.
    fn signed_by(&self, key: &PublicKey) -> Result<(), Refusal> {
        let signature = self.entry.holder_signature.as_ref().ok_or(Refusal::HolderSignature)?;
        let body = self.entry.body_bytes();
        self.checks.verify(key, context::WALLET_HOLDER, body, signature).map_err(|_| Refusal::HolderSignature)
    }

    /// The event does not speak for the holder, so there is nothing that the epoch key should sign.
    fn not_signed_by_holder(&self) -> Result<(), Refusal> {
        if self.entry.holder_signature.is_some() { Err(Refusal::HolderSignature) } else { Ok(()) }
    }

    /// The policy must allow the region in which the node is.
    fn admits(&self, policy: &PolicyCommitment, opening: &PolicyOpening, node: NodeId) -> Result<(), Refusal> {
        let record = self.state.node(node).ok_or(Refusal::ReceiverInvalid { receiver: node })?;
        admits(&record.node.region, policy, opening, node)
    }

    /// Writes the wallet back with its head advanced over this entry.
    fn advance(&mut self, mut wallet: WalletRecord) {
        wallet.head = next_head(&wallet.head, &self.id);
        self.put(StateKey::Wallet(wallet.address), Record::Wallet(Box::new(wallet)));
    }
}

/// Whether `opening` belongs to `policy` and allows `at`, the region in which `node` is.
///
/// # Errors
/// [`Refusal`] for what is wrong.
pub fn admits(at: &RegionId, policy: &PolicyCommitment, opening: &PolicyOpening, node: NodeId) -> Result<(), Refusal> {
    let region = opening.region.clone();
    if *at != region {
        return Err(Refusal::WrongRegion { node, region: at.clone(), opened: region });
    }
    match opening.verify(policy) {
        Ok(_) => Ok(()),
        Err(_) if !opening.allowed => Err(Refusal::RegionForbidden { region }),
        Err(_) => Err(Refusal::PolicyOpening { region }),
    }
}

#[cfg(test)]
mod tests;
