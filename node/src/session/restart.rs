//! Sessions that a restarted node finds on its disk. None of them is served before a touch of this boot is final.

use std::sync::Arc;

use gpu::{Model, continuation::Divergence};
use ledger::event::CloseReason;
use wallet::{
    grant::WalletAddress,
    handoff::{Handoff, Input, Mode, Phase},
    units::TokenPosition,
};

use super::{
    Message, Sessions,
    actor::Actor,
    context::now,
    disk::{DiskFault, HolderKeys, HopSecrets, SessionDir},
    held::Held,
    refusal::Refusal,
};
use crate::{
    migration::{inbound::Inbound, messages::Handover},
    peer::SessionReply,
};

/// What a wallet's folder holds.
pub(super) struct Found {
    keys: Option<HolderKeys>,
    hop: Option<HopSecrets>,
    handover: Option<Handover>,
    held: Option<Held>,
    divergences: Vec<Divergence>,
}

impl Found {
    /// Reads the folder; none if it holds nothing.
    ///
    /// # Errors
    /// [`DiskFault`] if it cannot be read now. It may be whole: nothing is done with it, and nothing is said about the
    /// session on the ledger. The next start reads it again.
    pub(super) fn read(dir: &SessionDir, model: &Arc<Model>) -> Result<Option<Self>, DiskFault> {
        // Else a key that was rotated away would be needed for ever.
        dir.seal_anew()?;
        let (keys, hop) = (dir.load_keys()?, dir.load_hop()?);
        if keys.is_none() && hop.is_none() {
            return Ok(None);
        }
        let held = match &keys {
            Some(keys) => match Held::reopen(dir, keys, model) {
                Err(fault) if fault.may_be_whole() => return Err(fault),
                Err(fault) => {
                    tracing::warn!(wallet = %dir.wallet().0, %fault, "what is kept of the session is damaged");
                    None
                }
                Ok(held) => held,
            },
            None => None,
        };
        // With keys the hop came as far as a confirm of an earlier boot: the ledger knows what became of it.
        let handover = if keys.is_none() { dir.load_handover()? } else { None };
        // Evidence that cannot be read keeps no session from going on.
        let divergences = dir
            .load_divergences()
            .inspect_err(|fault| tracing::warn!(wallet = %dir.wallet().0, %fault, "divergences"))
            .unwrap_or_default();
        Ok(Some(Self { keys, hop, handover, held, divergences }))
    }
}

impl Actor {
    /// The session that was found in a wallet's folder.
    pub(super) fn restore(sessions: &Sessions, wallet: WalletAddress, found: Found) -> Self {
        let context = sessions.context();
        let Found { keys, hop, handover, held, divergences } = found;
        let next = held.as_ref().map_or(TokenPosition::ZERO, Held::next);
        let handoff = Handoff::restart(context.me, wallet, context.boot_nonce, next, now());
        let mut actor = Self::new(sessions, wallet, handoff);
        (actor.held, actor.divergences) = (held, divergences);
        actor.stand_if(actor.held.as_ref().is_some_and(Held::is_parked));
        actor.close = match &actor.held {
            // Not before the ledger said that this node holds it.
            None if keys.is_some() => Some(CloseReason::Unrecoverable),
            Some(held) if held.finished.is_some() => Some(CloseReason::Finished),
            _ => None,
        };
        match (keys, hop) {
            (Some(keys), _) => actor.hold(keys),
            (None, Some(hop)) => {
                let room = context.line.kept_before(wallet, hop.blocks);
                actor.inbound = Some(Inbound::restored(&hop, handover, room));
            }
            (None, None) => {}
        }
        actor.emit_missing();
        actor.emit_end();
        actor
    }

    /// Waits until this node knows again all that was ever final at it: a ledger that was restored from a backup may be older
    /// than the session. Until then the session stands, and nothing of it is erased. True if it had to wait; none if the
    /// node stops.
    pub(super) async fn until_recovered(&mut self) -> Option<bool> {
        let mut recovered = self.context.replica.recovered();
        if *recovered.borrow() {
            return Some(false);
        }
        self.publish();
        tracing::warn!(wallet = %self.wallet.0, "the ledger was restored: the session waits until this node votes again");
        loop {
            tokio::select! {
                known = recovered.wait_for(|known| *known) => return known.is_ok().then_some(true),
                message = self.inbox.recv() => match message {
                    Some(Message::Stop) | None => return None,
                    Some(message) => self.put_off(message),
                },
            }
        }
    }

    /// The answer to whoever asks for something before it is known what became of the session.
    fn put_off(&self, message: Message) {
        let refusal = Refusal::NotServing { mode: self.handoff.mode() };
        match message {
            // An error means that nobody waits any more.
            Message::Command(_, reply) => drop(reply.send(Err(refusal))),
            Message::Peer(_, _, reply) => drop(reply.send(SessionReply::Refused(refusal.to_peer()))),
            // It has no record to give yet, and has asked for nothing that could be answered.
            _ => {}
        }
    }

    /// Everything that was final when the node started is known. `was_behind`: it had to be learned from others.
    pub(super) fn caught_up(&mut self, was_behind: bool) {
        let view = self.handoff.view().clone();
        if view.phase == Phase::Absent {
            // The entry may never have left this node. The same entry is the same, however often it is sent.
            self.submit_creation();
        }
        // The machine takes this in any mode.
        let _ = self.input(Input::CaughtUp);
        if self.handoff.mode() == Mode::Restarted {
            return;
        }
        let confirm_is_open = matches!(view.phase, Phase::Accepted(offer) if offer.receiver == self.context.me);
        let is_absent = view.phase == Phase::Absent;
        if let Some(keys) = self.keys.as_ref().filter(|_| !confirm_is_open && !is_absent) {
            // A move to this node that was given up leaves keys of an epoch that never began. After a restore they can wait
            // for the next start: to erase what the ledger does not know would be no small mistake then.
            if was_behind && keys.epoch > view.epoch && view.phase != Phase::Closed {
                tracing::warn!(wallet = %self.wallet.0, "the ledger knows no such key: it is kept until the next start");
            } else {
                tracing::info!(wallet = %self.wallet.0, "held by another node: the session's files are erased");
                self.forget_keys();
                self.erase_hop();
            }
        }
        if self.inbound.is_some() {
            self.hop_is_restored();
        }
    }

    /// Erases what an inbound move left on the disk.
    pub(crate) fn erase_hop(&self) {
        if let Err(fault) = self.dir.erase_hop() {
            tracing::error!(refusal = %Refusal::from(fault), "the hop's files could not be erased");
        }
    }
}
