//! The beginning, the restarts and the end of a wallet; and what a node says of itself.

use wallet::digest::Digest;

use super::Step;
use crate::{
    event::{BatchClosed, DecisionAnchored, Touch, ValidatorResumed, WalletCreated},
    refusal::Refusal,
    state::{AnchorRecord, Boot, Cause, KeyRotated, Phase, Record, ResumptionRecord, StateKey, WalletRecord},
};

impl Step<'_> {
    pub(super) fn wallet_created(&mut self, event: &WalletCreated) -> Result<(), Refusal> {
        let terms = &event.grant.terms;
        let address = event.grant.verify().map_err(|_| Refusal::GrantInvalid)?;
        if terms.consortium != self.consortium.id() || terms.holder != self.author() {
            return Err(Refusal::GrantForeign);
        }
        if self.state.wallet(address).is_some() {
            return Err(Refusal::WalletExists { wallet: address });
        }
        self.admits(&terms.policy, &event.opening, terms.holder)?;
        self.signed_by(&event.holder_key)?;
        let rotated = KeyRotated {
            epoch: Default::default(),
            holder: terms.holder,
            key: event.holder_key,
            cause: Cause::Created,
            at: self.at.height,
            entry: self.id,
        };
        self.rotated = Some(rotated.clone());
        self.advance(WalletRecord {
            address,
            holder: terms.holder,
            epoch: rotated.epoch,
            head: Digest::ZERO,
            holder_key: event.holder_key,
            exchange_key: None,
            tenant_key: terms.tenant_key,
            policy: terms.policy,
            model: terms.model,
            numerics: terms.numerics,
            phase: Phase::Active,
            exposed: Vec::new(),
            rotations: vec![rotated],
            boot: None,
            hop: None,
            created_at: self.at.height,
        });
        Ok(())
    }

    /// Closes an open offer: whoever touches goes on serving alone.
    pub(super) fn touch(&mut self, event: &Touch) -> Result<(), Refusal> {
        let mut wallet = self.swap(event.wallet, event.head)?;
        self.by_holder(&wallet)?;
        if wallet.boot.as_ref().is_some_and(|boot| boot.key == event.boot_key) {
            return Err(Refusal::BootReused);
        }
        wallet.phase = Phase::Active;
        wallet.boot = Some(Boot { nonce: event.boot_nonce, key: event.boot_key, entry: self.id });
        self.advance(wallet);
        Ok(())
    }

    pub(super) fn batch_closed(&mut self, event: &BatchClosed) -> Result<(), Refusal> {
        let mut wallet = self.swap(event.wallet, event.head)?;
        self.by_holder(&wallet)?;
        wallet.phase = Phase::Closed { reason: event.reason, at: self.at.height };
        self.advance(wallet);
        Ok(())
    }

    /// A decision log only grows; the same length may not have two heads.
    pub(super) fn decision_anchored(&mut self, event: &DecisionAnchored) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        let anchored = self.state.anchor(self.author()).map_or(0, |anchor| anchor.decisions);
        if event.decisions <= anchored {
            return Err(Refusal::AnchorNotAfter { anchored, named: event.decisions });
        }
        let record = AnchorRecord { decisions: event.decisions, log_head: event.log_head, entry: self.id };
        self.put(StateKey::Anchor(self.author()), Record::Anchor(record));
        Ok(())
    }

    /// Nobody but the node can say it, and it costs nobody else anything: the last word stands. One that a re-genesis
    /// dropped is none in what follows: it would cost the key its term.
    pub(super) fn validator_resumed(&mut self, event: &ValidatorResumed) -> Result<(), Refusal> {
        self.not_signed_by_holder()?;
        if event.name != self.at.name {
            return Err(Refusal::ResumedElsewhere { current: self.at.name, named: event.name });
        }
        let record = ResumptionRecord { nonce: event.nonce, height: self.at.height, entry: self.id };
        self.put(StateKey::Resumption(self.author()), Record::Resumption(record));
        Ok(())
    }
}
