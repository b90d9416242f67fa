//! The hand-over of one wallet as one node sees it: a state machine without clock, network or disk.
//!
//! The rules, each of which a test below breaks:
//! - A holder serves while its offer is open, and freezes only at a step boundary, once the acceptance is final and
//!   the pre-copy is done. Frozen, it serves again only when an abort or its own touch is final; no time-out does it.
//! - A ticket names the head of the acceptance. Any later entry of the wallet voids it.
//! - A receiver decodes ahead, but emits only when the confirm that it submitted in this boot is final.
//! - A restarted node serves only when a touch with this boot's nonce is final. Entries read again have no effect.
//!
//! The shell feeds final entries in order, carries effects out, and sends [`Input::Retry`] when a submission seems
//! lost. Leases are not built yet: a holder cut off from the ledger goes on serving.

mod message;
mod view;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use message::{Effect, Input, Intent, Mode, Stopped};
pub use view::{Change, Offer, Phase, WalletFact, WalletView};

use crate::{
    grant::WalletAddress,
    identity::PublicKey,
    refusal::Refusal,
    ticket::SignedTicket,
    units::{BlockHeight, KeyEpoch, NodeId, Timestamp, TokenPosition},
};

/// One node's part in the hand-overs of one wallet.
#[derive(Clone, Debug)]
pub struct Handoff {
    node: NodeId,
    wallet: WalletAddress,
    boot_nonce: [u8; 16],
    view: WalletView,
    mode: Mode,
    since: Timestamp,
    next_token: TokenPosition,
    prepared: bool,
    caught_up: bool,
    ticket: Option<SignedTicket>,
    confirm_key: Option<PublicKey>,
    wish: Option<Intent>,
}

impl Handoff {
    /// The first holder, which created the wallet in this boot and serves before that is final.
    pub const fn create(node: NodeId, wallet: WalletAddress, boot_nonce: [u8; 16], now: Timestamp) -> Self {
        Self::new(node, wallet, boot_nonce, Mode::Serving, now)
    }

    /// A node that has had no part in the wallet.
    pub const fn observe(node: NodeId, wallet: WalletAddress, boot_nonce: [u8; 16], now: Timestamp) -> Self {
        Self::new(node, wallet, boot_nonce, Mode::Idle, now)
    }

    /// A node that finds the wallet on its disk. `next_token` is where its journal ends.
    pub const fn restart(
        node: NodeId,
        wallet: WalletAddress,
        boot_nonce: [u8; 16],
        next_token: TokenPosition,
        now: Timestamp,
    ) -> Self {
        let mut restarted = Self::new(node, wallet, boot_nonce, Mode::Restarted, now);
        restarted.next_token = next_token;
        restarted.caught_up = false;
        restarted
    }

    const fn new(node: NodeId, wallet: WalletAddress, boot_nonce: [u8; 16], mode: Mode, now: Timestamp) -> Self {
        Self {
            node,
            wallet,
            boot_nonce,
            view: WalletView::new(),
            mode,
            since: now,
            next_token: TokenPosition::ZERO,
            prepared: false,
            caught_up: true,
            ticket: None,
            confirm_key: None,
            wish: None,
        }
    }

    /// What the node may do now.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Since when it is in this mode.
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// What is final, as far as this node knows.
    pub const fn view(&self) -> &WalletView {
        &self.view
    }

    /// Takes one input in. After a refusal nothing has changed.
    ///
    /// # Errors
    /// A [`Refusal`] if a rule forbids the input now.
    pub fn step(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let before = self.mode;
        match input {
            Input::Final(fact) => self.learn(&fact, effects)?,
            Input::CaughtUp => self.caught_up(effects),
            Input::Height(height) => self.height(height, effects),
            Input::Migrate { to, deadline } => self.propose(Intent::Offer { receiver: to, deadline }, effects)?,
            Input::Prepared => self.prepared()?,
            Input::StepBoundary { next_token } => self.step_boundary(next_token, effects)?,
            Input::Accept => self.propose(Intent::Accept, effects)?,
            Input::Ticket(ticket) => self.take_ticket(ticket)?,
            Input::Verified { holder_key } => self.verified(holder_key, effects)?,
            Input::Abort => self.propose(Intent::Abort, effects)?,
            Input::Close => self.propose(Intent::Close, effects)?,
            Input::Retry => self.submit_wish(effects),
        }
        if self.mode != before {
            self.since = now;
        }
        Ok(())
    }

    fn learn(&mut self, fact: &WalletFact, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let held = self.view.is_held_by(self.node);
        if !self.view.apply(fact)? {
            return Ok(());
        }
        let ours = fact.author == self.node;
        match &fact.change {
            Change::Created { .. } | Change::Accepted => {}
            Change::Offered { receiver, .. } => {
                if held && self.mode == Mode::Serving {
                    effects.push(Effect::PreCopy { receiver: *receiver });
                }
            }
            Change::Confirmed { holder_key, next_token } => {
                let this_boot = self.mode == Mode::Ahead && self.confirm_key == Some(*holder_key);
                if ours && this_boot {
                    self.serve(*next_token, effects);
                } else if ours {
                    self.stop(Stopped::OtherBoot, effects);
                } else {
                    self.stop(Stopped::HandedOver, effects);
                    self.erase_former_keys(held, effects);
                }
            }
            Change::Aborted => self.offer_closed(effects),
            Change::Touched { boot_nonce } if ours => self.touched(*boot_nonce, effects),
            Change::Touched { .. } => self.offer_closed(effects),
            Change::Closed => {
                self.stop(Stopped::Closed, effects);
                self.erase_former_keys(held, effects);
            }
        }
        self.forget_what_the_entry_voided();
        self.reconsider(effects);
        Ok(())
    }

    fn touched(&mut self, boot_nonce: [u8; 16], effects: &mut Vec<Effect>) {
        if boot_nonce == self.boot_nonce {
            if matches!(self.mode, Mode::Restarted | Mode::Frozen) {
                self.serve(self.next_token.max(self.view.next_token), effects);
            }
        } else if matches!(self.mode, Mode::Serving | Mode::Frozen) {
            // A second process with our key: it holds the wallet now. We do not fight over it until told to.
            effects.push(Effect::Stop { why: Stopped::OtherBoot });
            self.mode = Mode::Restarted;
            self.caught_up = false;
        }
    }

    fn offer_closed(&mut self, effects: &mut Vec<Effect>) {
        match self.mode {
            Mode::Frozen => self.serve(self.next_token, effects),
            Mode::Ahead => self.stop(Stopped::OfferClosed, effects),
            Mode::Idle | Mode::Serving | Mode::Restarted => {}
        }
    }

    fn serve(&mut self, from: TokenPosition, effects: &mut Vec<Effect>) {
        self.mode = Mode::Serving;
        self.next_token = from;
        effects.push(Effect::Emit { from });
    }

    fn stop(&mut self, why: Stopped, effects: &mut Vec<Effect>) {
        match self.mode {
            Mode::Serving | Mode::Frozen | Mode::Ahead => {
                effects.push(Effect::Stop { why });
                self.mode = Mode::Idle;
            }
            Mode::Restarted if self.caught_up => self.mode = Mode::Idle,
            Mode::Idle | Mode::Restarted => {}
        }
    }

    /// Entries read again have no effect, so a restarted node erases when it has caught up.
    fn erase_former_keys(&self, held: bool, effects: &mut Vec<Effect>) {
        let former = match self.view.phase {
            Phase::Closed => Some(self.view.epoch),
            _ => self.view.epoch.get().checked_sub(1).map(KeyEpoch::new),
        };
        if let Some(epoch) = former.filter(|_| held && self.caught_up) {
            effects.push(Effect::EraseKeys { epoch });
        }
    }

    fn forget_what_the_entry_voided(&mut self) {
        if self.ticket.as_ref().is_some_and(|signed| signed.ticket.head != self.view.head) {
            self.ticket = None;
            self.confirm_key = None;
        }
        if self.view.offer().is_none() {
            self.prepared = false;
        }
        if self.mode == Mode::Idle && self.view.is_held_by(self.node) {
            // Holder of record by an act of an earlier boot.
            self.mode = Mode::Restarted;
        }
    }

    /// The head moved: what is still wanted and allowed is submitted again, at the new head.
    fn reconsider(&mut self, effects: &mut Vec<Effect>) {
        self.wish = self.wish.take().filter(|wish| self.allows(wish).is_ok());
        if self.mode == Mode::Restarted && self.caught_up && self.wish.is_none() && self.view.is_held_by(self.node) {
            self.wish = Some(Intent::Touch { boot_nonce: self.boot_nonce });
        }
        self.submit_wish(effects);
    }

    fn caught_up(&mut self, effects: &mut Vec<Effect>) {
        if self.mode != Mode::Restarted || self.caught_up {
            return;
        }
        self.caught_up = true;
        if !self.view.is_held_by(self.node) {
            self.mode = Mode::Idle;
            self.erase_former_keys(true, effects);
        }
        self.reconsider(effects);
    }

    fn height(&mut self, height: BlockHeight, effects: &mut Vec<Effect>) {
        let late = self.view.offer().is_some_and(|offer| height > offer.deadline);
        if late && self.view.is_held_by(self.node) && self.wish.is_none() && self.allows(&Intent::Abort).is_ok() {
            self.wish = Some(Intent::Abort);
            self.submit_wish(effects);
        }
    }

    fn prepared(&mut self) -> Result<(), Refusal> {
        self.demand_mode(&[Mode::Serving])?;
        if self.view.offer().is_none() {
            return Err(Refusal::PhaseWrong { reason: "no offer is open" });
        }
        self.prepared = true;
        Ok(())
    }

    fn step_boundary(&mut self, next_token: TokenPosition, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.demand_mode(&[Mode::Serving])?;
        if next_token < self.next_token {
            return Err(Refusal::PositionBackwards { current: self.next_token, next: next_token });
        }
        self.next_token = next_token;
        let Phase::Accepted(Offer { receiver, .. }) = self.view.phase else { return Ok(()) };
        let Some(epoch) = self.view.epoch.next() else { return Ok(()) };
        if self.prepared && self.wish.is_none() {
            self.mode = Mode::Frozen;
            effects.push(Effect::Freeze);
            effects.push(Effect::CutTicket { head: self.view.head, epoch, receiver, next_token });
        }
        Ok(())
    }

    fn take_ticket(&mut self, signed: SignedTicket) -> Result<(), Refusal> {
        self.demand_mode(&[Mode::Idle, Mode::Ahead])?;
        self.check_ticket(&signed)?;
        match &self.ticket {
            Some(known) if *known != signed => Err(Refusal::TicketMismatch { field: "content or position" }),
            _ => {
                self.ticket = Some(signed);
                Ok(())
            }
        }
    }

    fn check_ticket(&self, signed: &SignedTicket) -> Result<(), Refusal> {
        let ticket = &signed.ticket;
        if ticket.wallet != self.wallet {
            return Err(Refusal::TicketMismatch { field: "wallet" });
        }
        if ticket.receiver != self.node {
            return Err(Refusal::TicketMismatch { field: "receiver" });
        }
        if ticket.head != self.view.head {
            return Err(Refusal::HeadMismatch { current: self.view.head, named: ticket.head });
        }
        let (Phase::Accepted(offer), Some((holder, holder_key))) = (self.view.phase, self.view.holder) else {
            return Err(Refusal::PhaseWrong { reason: "no acceptance is final" });
        };
        for (matches, field) in [
            (offer.receiver == self.node, "receiver"),
            (ticket.source == holder, "source"),
            (Some(ticket.epoch) == self.view.epoch.next(), "epoch"),
        ] {
            if !matches {
                return Err(Refusal::TicketMismatch { field });
            }
        }
        signed.verify(&holder_key)
    }

    fn verified(&mut self, holder_key: PublicKey, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.demand_mode(&[Mode::Idle])?;
        let ticket = self.ticket.clone().ok_or(Refusal::PhaseWrong { reason: "no ticket has arrived" })?;
        let from = ticket.ticket.next_token;
        // The head has not moved since the ticket was checked, or the ticket would be gone: the confirm is allowed.
        self.mode = Mode::Ahead;
        self.confirm_key = Some(holder_key);
        effects.push(Effect::DecodeAhead { from });
        self.propose(Intent::Confirm { ticket: Box::new(ticket), holder_key }, effects)
    }

    fn propose(&mut self, intent: Intent, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        self.allows(&intent)?;
        self.wish = Some(intent);
        self.submit_wish(effects);
        Ok(())
    }

    fn submit_wish(&self, effects: &mut Vec<Effect>) {
        if let Some(intent) = &self.wish {
            effects.push(Effect::Submit { head: self.view.head, intent: intent.clone() });
        }
    }

    /// Whether the ledger would take the intent at the head that this node knows, and this node may submit it.
    fn allows(&self, intent: &Intent) -> Result<(), Refusal> {
        match intent {
            Intent::Offer { receiver, .. } => {
                self.demand_mode(&[Mode::Serving])?;
                self.demand_holder()?;
                match self.view.phase {
                    Phase::Active if *receiver != self.node => Ok(()),
                    Phase::Active => Err(Refusal::PhaseWrong { reason: "the receiver is the holder" }),
                    _ => Err(Refusal::PhaseWrong { reason: "an offer is open" }),
                }
            }
            Intent::Accept => {
                self.demand_mode(&[Mode::Idle])?;
                match self.view.phase {
                    Phase::Offered(offer) if offer.receiver == self.node => Ok(()),
                    _ => Err(Refusal::PhaseWrong { reason: "no offer to this node is open" }),
                }
            }
            Intent::Confirm { ticket, .. } => {
                self.demand_mode(&[Mode::Ahead])?;
                self.check_ticket(ticket)
            }
            Intent::Abort => {
                self.demand_mode(&[Mode::Idle, Mode::Serving, Mode::Frozen, Mode::Ahead])?;
                let offer = self.view.offer().ok_or(Refusal::PhaseWrong { reason: "no offer is open" })?;
                if offer.receiver == self.node { Ok(()) } else { self.demand_holder() }
            }
            Intent::Touch { .. } => {
                self.demand_mode(&[Mode::Restarted])?;
                self.demand_holder()
            }
            Intent::Close => {
                self.demand_mode(&[Mode::Serving, Mode::Frozen, Mode::Restarted])?;
                self.demand_holder()
            }
        }
    }

    fn demand_mode(&self, modes: &[Mode]) -> Result<(), Refusal> {
        if modes.contains(&self.mode) { Ok(()) } else { Err(Refusal::ModeWrong { mode: self.mode }) }
    }

    fn demand_holder(&self) -> Result<(), Refusal> {
        if self.view.is_held_by(self.node) {
            return Ok(());
        }
        Err(Refusal::NotHolder { holder: self.view.holder.map(|(holder, _)| holder) })
    }
}
