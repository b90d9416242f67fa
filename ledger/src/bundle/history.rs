//! Following a wallet through its entries, as an auditor does: written apart from the validators' rules, so that each
//! checks the other.

use wallet::{
    codec,
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, context},
    policy::{PolicyCommitment, PolicyOpening},
    prekey::ExchangeKey,
    units::{KeyEpoch, LogIndex, NodeId},
};

use super::{
    check::{Check, Failure, require},
    members::Members,
};
use crate::{
    apply::admits,
    event::{AbortReason, Entry, Event, KeyConfirmed, MigrationOffered, WalletCreated, next_head},
    refusal::Refusal,
    state::WalletRecord,
};

/// The wallet as the entries read so far leave it.
pub(super) struct History<'a> {
    members: &'a Members<'a>,
    pub(super) wallet: WalletAddress,
    pub(super) holder: NodeId,
    pub(super) epoch: KeyEpoch,
    key: PublicKey,
    policy: PolicyCommitment,
    head: Digest,
    offer: Option<Open<'a>>,
    /// Epoch, holder, key and entry of each rotation.
    rotations: Vec<(KeyEpoch, NodeId, PublicKey, Digest)>,
}

/// An open offer.
struct Open<'a> {
    entry: Digest,
    event: &'a MigrationOffered,
    is_accepted: bool,
}

/// A confirmed hop: what the bundle is about, if no entry follows.
pub(super) struct LastHop {
    pub(super) source: NodeId,
    /// The offer's entry, and the prekey that it spent.
    pub(super) offer: (Digest, ExchangeKey),
    pub(super) decision: Digest,
    pub(super) confirmed_at: LogIndex,
}

impl<'a> History<'a> {
    /// The wallet after its first entry.
    pub(super) fn begin(members: &'a Members<'a>, entry: &'a Entry) -> Result<Self, Failure> {
        let Event::WalletCreated(created) = &entry.body.event else {
            return Err(Failure::new(Check::Continuity, "the history does not begin with the wallet's creation"));
        };
        let WalletCreated { grant, holder_key, opening } = created;
        let wallet = grant.verify().map_err(|refusal| Failure::new(Check::Grant, refusal))?;
        let holder = grant.terms.holder;
        require(grant.terms.consortium == members.consortium.id(), Check::Grant, "it is for another consortium")?;
        require(holder == entry.body.author, Check::Grant, "it is for another holder")?;
        admitted(members, &grant.terms.policy, opening, holder)?;
        signed_by(holder_key, entry)?;
        let epoch = KeyEpoch::ZERO;
        Ok(Self {
            members,
            wallet,
            holder,
            epoch,
            key: *holder_key,
            policy: grant.terms.policy,
            head: next_head(&Digest::ZERO, &entry.id()),
            offer: None,
            rotations: vec![(epoch, holder, *holder_key, entry.id())],
        })
    }

    /// Reads the next entry, which stands at `index`; the hop, if it is a confirm.
    pub(super) fn read(&mut self, index: LogIndex, entry: &'a Entry) -> Result<Option<LastHop>, Failure> {
        let mut hop = None;
        let event = &entry.body.event;
        require(event.wallet() == Some(self.wallet), Check::Continuity, "an entry is about another wallet")?;
        require(event.swaps_head() == Some(self.head), Check::Continuity, "an entry does not name the head before it")?;
        match event {
            Event::MigrationOffered(offer) => self.offered(index, entry, offer)?,
            Event::MigrationAccepted(_) => self.accepted(entry)?,
            Event::KeyConfirmed(confirm) => hop = Some(self.confirmed(index, entry, confirm)?),
            Event::MigrationAborted(abort) => {
                let receiver = self.offer.take().map(|offer| offer.event.receiver);
                require(receiver.is_some(), Check::Continuity, "an abort without an offer")?;
                match abort.reason {
                    AbortReason::Source => self.by_holder(entry)?,
                    AbortReason::Receiver => {
                        require(receiver == Some(entry.body.author), Check::Continuity, "an abort by neither side")?;
                    }
                    // The height of a block is not in the log; the quorum has checked the deadline.
                    AbortReason::Deadline => {}
                }
            }
            Event::Touch(_) => {
                self.by_holder(entry)?;
                self.offer = None;
            }
            _ => return Err(Failure::new(Check::Continuity, format!("{} before the confirm", event.name()))),
        }
        self.head = next_head(&self.head, &entry.id());
        Ok(hop)
    }

    /// Whether the record under the state root goes on from this history.
    pub(super) fn leads_to(&self, record: &WalletRecord) -> Result<(), Failure> {
        let same = record.address == self.wallet && record.policy == self.policy;
        require(same, Check::StateProof, "the record is another wallet's")?;
        let recorded = record.rotations.iter().map(|r| (r.epoch, r.holder, r.key, r.entry)).take(self.rotations.len());
        require(recorded.eq(self.rotations.iter().copied()), Check::StateProof, "the record has other key rotations")?;
        let same = (record.epoch, record.holder, record.holder_key) == (self.epoch, self.holder, self.key);
        require(same || record.epoch > self.epoch, Check::StateProof, "the record has another holder")
    }

    fn offered(&mut self, index: LogIndex, entry: &Entry, offer: &'a MigrationOffered) -> Result<(), Failure> {
        self.by_holder(entry)?;
        require(self.offer.is_none(), Check::Continuity, "an offer while another is open")?;
        require(Some(offer.epoch) == self.epoch.next(), Check::Continuity, "an offer skips an epoch")?;
        admitted(self.members, &self.policy, &offer.opening, offer.receiver)?;
        // Only a node in force may be a receiver, and these are the validators.
        let key = self.members.epochs.of_entry(index).key(offer.receiver);
        let key = key.filter(|_| offer.prekey.node == offer.receiver);
        let prekey = key.is_some_and(|key| offer.prekey.verify(&key).is_ok());
        require(prekey, Check::Prekey, "it is not signed by the receiver")?;
        self.offer = Some(Open { entry: entry.id(), event: offer, is_accepted: false });
        Ok(())
    }

    fn accepted(&mut self, entry: &Entry) -> Result<(), Failure> {
        let Some(offer) = self.offer.as_mut().filter(|offer| !offer.is_accepted) else {
            return Err(Failure::new(Check::Continuity, "an acceptance without an offer"));
        };
        require(
            entry.body.author == offer.event.receiver,
            Check::Continuity,
            "an acceptance by another node than the receiver",
        )?;
        offer.is_accepted = true;
        Ok(())
    }

    fn confirmed(&mut self, index: LogIndex, entry: &Entry, confirm: &KeyConfirmed) -> Result<LastHop, Failure> {
        let Some(Open { entry: offered, event: offer, is_accepted: true }) = self.offer.take() else {
            return Err(Failure::new(Check::Continuity, "a confirm without an acceptance"));
        };
        let ticket = &confirm.ticket.ticket;
        require(
            (ticket.source, ticket.receiver) == (self.holder, offer.receiver),
            Check::Ticket,
            "it is from another source or for another receiver",
        )?;
        require(Some(ticket.epoch) == self.epoch.next(), Check::Ticket, "it is for another epoch")?;
        confirm.ticket.verify(&self.key).map_err(|refusal| Failure::new(Check::Ticket, refusal))?;
        require(entry.body.author == offer.receiver, Check::Confirm, "it is by another node than the receiver")?;
        signed_by(&confirm.holder_key, entry)?;
        confirm
            .ticket
            .verify_opened(&offer.confirm_key, &confirm.holder_key, &confirm.exchange_key, &confirm.opened)
            .map_err(|refusal| Failure::new(Check::Confirm, refusal))?;
        let hop = LastHop {
            source: self.holder,
            offer: (offered, offer.prekey.key),
            decision: offer.decision,
            confirmed_at: index,
        };
        (self.holder, self.epoch, self.key) = (offer.receiver, ticket.epoch, confirm.holder_key);
        self.rotations.push((self.epoch, self.holder, self.key, entry.id()));
        Ok(hop)
    }

    fn by_holder(&self, entry: &Entry) -> Result<(), Failure> {
        require(entry.body.author == self.holder, Check::Continuity, "an entry by another node than the holder")?;
        signed_by(&self.key, entry)
    }
}

fn signed_by(key: &PublicKey, entry: &Entry) -> Result<(), Failure> {
    let verifies = entry
        .holder_signature
        .as_ref()
        .is_some_and(|signature| key.verify(context::WALLET_HOLDER, &codec::encode(&entry.body), signature).is_ok());
    require(verifies, Check::HolderSignature, "an entry is not signed by the epoch key")
}

/// The policy must allow the region in which the node stands, as its operator attests.
fn admitted(
    members: &Members<'_>,
    policy: &PolicyCommitment,
    opening: &PolicyOpening,
    node: NodeId,
) -> Result<(), Failure> {
    let region = members.region(node).ok_or(Refusal::ReceiverInvalid { receiver: node });
    let admitted = region.and_then(|region| admits(region, policy, opening, node));
    admitted.map_err(|refusal| Failure::new(Check::Policy, refusal))
}
