//! A migration between two nodes: offer, acceptance, confirm, abort.

use wallet::units::{BlockHeight, NodeId};

use super::{EXPOSED_MAX, ROTATIONS_MAX, Step};
use crate::{
    credits::{Award, Latency, settle},
    event::{AbortReason, KeyConfirmed, MigrationAborted, MigrationAccepted, MigrationOffered},
    refusal::Refusal,
    state::{Cause, Hop, KeyRotated, Offer, Phase, Record, Standing, StateKey, WalletRecord},
};

impl Step<'_> {
    pub(super) fn migration_offered(&mut self, event: &MigrationOffered) -> Result<(), Refusal> {
        let mut wallet = self.swap(event.wallet, event.head)?;
        self.by_holder(&wallet)?;
        if wallet.phase != Phase::Active {
            return Err(Refusal::WrongPhase { event: "MigrationOffered" });
        }
        self.next_epoch(&wallet, event.epoch)?;
        self.receivable(&wallet, event)?;
        self.admits(&wallet.policy, &event.opening, event.receiver)?;
        self.within_deadline_range(event.deadline)?;
        if let Some(baseline) = event.baseline {
            let known = self.state.baseline(baseline);
            if known.is_none_or(|known| known.wallet != wallet.address || known.epoch != wallet.epoch) {
                return Err(Refusal::BaselineUnknown { baseline });
            }
        }
        // Spent by the offer and not by the acceptance: no two offers ever share a key agreement.
        self.put(StateKey::Prekey(event.prekey.key), Record::Prekey(self.id));
        wallet.phase = Phase::Offered(Offer {
            entry: self.id,
            receiver: event.receiver,
            prekey: event.prekey.key,
            ephemeral: event.ephemeral,
            content: event.content,
            confirm_key: event.confirm_key,
            decision: event.decision,
            baseline: event.baseline,
            deadline: event.deadline,
        });
        self.advance(wallet);
        Ok(())
    }

    pub(super) fn migration_accepted(&mut self, event: &MigrationAccepted) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let mut wallet = self.swap(event.wallet, event.head)?;
        let Phase::Offered(offer) = wallet.phase.clone() else {
            return Err(Refusal::WrongPhase { event: "MigrationAccepted" });
        };
        self.by_receiver(&offer)?;
        self.before_deadline(&offer)?;
        if !wallet.exposed.contains(&offer.receiver) {
            wallet.exposed.push(offer.receiver);
        }
        wallet.phase = Phase::Accepted(offer);
        self.advance(wallet);
        Ok(())
    }

    /// The only entry that changes who holds a wallet. The key rotation follows from it.
    pub(super) fn key_confirmed(&mut self, event: &KeyConfirmed) -> Result<(), Refusal> {
        let ticket = &event.ticket.ticket;
        let mut wallet = self.swap(ticket.wallet, ticket.head)?;
        let Phase::Accepted(offer) = wallet.phase.clone() else {
            return Err(Refusal::WrongPhase { event: "KeyConfirmed" });
        };
        self.by_receiver(&offer)?;
        self.before_deadline(&offer)?;
        self.next_epoch(&wallet, ticket.epoch)?;
        if (ticket.source, ticket.receiver) != (wallet.holder, offer.receiver) {
            return Err(Refusal::TicketForeign { holder: wallet.holder, receiver: offer.receiver });
        }
        event.ticket.verify(&wallet.holder_key).map_err(|_| Refusal::TicketInvalid)?;
        if wallet.rotations.iter().any(|rotated| rotated.key == event.holder_key) {
            return Err(Refusal::KeyReused);
        }
        self.signed_by(&event.holder_key)?;
        event
            .ticket
            .verify_opened(&offer.confirm_key, &event.holder_key, &event.exchange_key, &event.opened)
            .map_err(|_| Refusal::NotOpened)?;
        let rotated = KeyRotated {
            epoch: ticket.epoch,
            holder: offer.receiver,
            key: event.holder_key,
            cause: Cause::Hop,
            at: self.at.height,
            entry: self.id,
        };
        wallet.hop = Some(Hop {
            source: wallet.holder,
            decision: offer.decision,
            baseline: offer.baseline,
            content: ticket.content,
            confirmed_at: self.at.height,
        });
        wallet.holder = offer.receiver;
        wallet.epoch = ticket.epoch;
        wallet.holder_key = event.holder_key;
        wallet.exchange_key = Some(event.exchange_key);
        wallet.exposed.retain(|node| *node != offer.receiver);
        wallet.rotations.push(rotated.clone());
        wallet.boot = None;
        wallet.phase = Phase::Active;
        self.rotated = Some(rotated);
        if offer.baseline.is_none() {
            let earned = self.settle(ticket.source, ticket.receiver, None);
            self.award(&wallet, earned);
        }
        self.advance(wallet);
        Ok(())
    }

    /// Source and receiver may abort at any time; anybody may once the deadline has passed.
    pub(super) fn migration_aborted(&mut self, event: &MigrationAborted) -> Result<(), Refusal> {
        let mut wallet = self.swap(event.wallet, event.head)?;
        let offer = wallet.offer().ok_or(Refusal::WrongPhase { event: "MigrationAborted" })?;
        let author = self.author();
        let allowed = match event.reason {
            AbortReason::Source => author == wallet.holder,
            AbortReason::Receiver => author == offer.receiver,
            AbortReason::Deadline => self.at.height > offer.deadline,
        };
        if !allowed {
            return Err(Refusal::AbortNotAllowed { author });
        }
        match event.reason {
            AbortReason::Source => self.signed_by(&wallet.holder_key)?,
            AbortReason::Receiver | AbortReason::Deadline => self.not_signed_by_holder()?,
        }
        wallet.phase = Phase::Active;
        self.advance(wallet);
        Ok(())
    }

    /// What a hop earns, by the parameters and operators of now.
    pub(super) fn settle(
        &self,
        source: NodeId,
        destination: NodeId,
        measured: Option<(Latency, Latency)>,
    ) -> crate::credits::Earned {
        let operator = |node| self.state.node(node).map(|record| record.node.operator);
        let same_operator = operator(source) == operator(destination);
        settle(&self.state.parameters(), same_operator, measured, self.at.height)
    }

    /// Records what the hop to the wallet's present epoch earned.
    pub(super) fn award(&mut self, wallet: &WalletRecord, earned: crate::credits::Earned) {
        let award = Award {
            wallet: wallet.address,
            epoch: wallet.epoch,
            node: wallet.holder,
            entry: self.id,
            at: self.at.height,
            earned,
        };
        if let crate::credits::Earned::Lot(lot) = earned {
            let mut account = self.state.account(award.node);
            account.add(lot, self.at.height);
            self.put(StateKey::Account(award.node), Record::Account(account));
        }
        self.put(StateKey::Award(award.wallet, award.epoch), Record::Award(award.clone()));
        self.award = Some(award);
    }

    fn next_epoch(&self, wallet: &WalletRecord, named: wallet::units::KeyEpoch) -> Result<(), Refusal> {
        let count = wallet.rotations.len();
        if count >= ROTATIONS_MAX {
            return Err(Refusal::RotationsFull { count });
        }
        let expected = wallet.epoch.next().ok_or(Refusal::RotationsFull { count })?;
        if named == expected { Ok(()) } else { Err(Refusal::WrongEpoch { expected, named }) }
    }

    /// The receiver must be another node in force, own the prekey, and not be one exposed receiver too many.
    fn receivable(&self, wallet: &WalletRecord, event: &MigrationOffered) -> Result<(), Refusal> {
        let receiver = event.receiver;
        let record = self.state.node(receiver).filter(|record| record.standing == Standing::InForce);
        let record = record.filter(|_| receiver != wallet.holder).ok_or(Refusal::ReceiverInvalid { receiver })?;
        if event.prekey.node != receiver || event.prekey.verify(&record.node.key).is_err() {
            return Err(Refusal::PrekeyInvalid { receiver });
        }
        if self.state.is_prekey_spent(event.prekey.key) {
            return Err(Refusal::PrekeySpent);
        }
        let count = wallet.exposed.len();
        if count >= EXPOSED_MAX && !wallet.exposed.contains(&receiver) {
            return Err(Refusal::ExposedFull { count });
        }
        Ok(())
    }

    fn within_deadline_range(&self, deadline: BlockHeight) -> Result<(), Refusal> {
        let now = self.at.height.get();
        let from = BlockHeight::new(now.saturating_add(1));
        let to = BlockHeight::new(now.saturating_add(self.state.parameters().offer_deadline_blocks));
        if (from..=to).contains(&deadline) { Ok(()) } else { Err(Refusal::DeadlineOutOfRange { deadline, from, to }) }
    }

    fn before_deadline(&self, offer: &Offer) -> Result<(), Refusal> {
        let deadline = offer.deadline;
        if self.at.height <= deadline { Ok(()) } else { Err(Refusal::DeadlinePassed { deadline }) }
    }

    fn by_receiver(&self, offer: &Offer) -> Result<(), Refusal> {
        let (receiver, author) = (offer.receiver, self.author());
        if receiver == author { Ok(()) } else { Err(Refusal::NotReceiver { receiver, author }) }
    }
}
