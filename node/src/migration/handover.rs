//! What the source gives to the receiver of its offer: the envelope, and at last the hand-over itself.

use gpu::stream::{Stream as _, StreamWriter as _};
use tokio::time::Instant;
use wallet::{
    digest::Digest,
    handoff::{Input, Mode},
    seal::envelope::{Envelope, TailContents},
    ticket::{Blind, ContentCommitment, HandoffTicket, SignedTicket},
    units::{KeyEpoch, Micros, NodeId, TokenPosition},
};

use zeroize::Zeroizing;

use super::{
    messages::{Freeze, Handover, OfferRef},
    outbound::{OfferedHop, Outbound},
    refusal::Refusal as MoveRefusal,
};
use crate::{
    engine::monotonic_ns,
    peer::SessionReply,
    session::{actor::Actor, context::random, continuation::Stand, disk::DiskFault, refusal::Refusal},
};

impl Actor {
    /// The envelope, for the receiver whose acceptance is final.
    pub(crate) fn on_envelope(&mut self, from: NodeId, offer: OfferRef) -> Result<SessionReply, Refusal> {
        let outbound = self.open_hop(from, offer)?;
        if !outbound.is_accepted {
            return Err(MoveRefusal::AcceptanceNotFinal.into());
        }
        let hop = outbound.hop.as_ref().ok_or(MoveRefusal::OfferUnknown)?;
        Ok(SessionReply::Envelope(hop.envelope.clone()))
    }

    /// Freezes at the next step boundary and hands over. Asked again, it hands over the same.
    pub(crate) async fn on_freeze(&mut self, from: NodeId, freeze: Freeze) -> Result<SessionReply, Refusal> {
        let outbound = self.open_hop(from, freeze.offer)?;
        if !outbound.is_accepted {
            return Err(MoveRefusal::AcceptanceNotFinal.into());
        }
        if outbound.handover.is_none() {
            self.fill_hop().await;
            if self.defers_freeze(freeze.have) {
                return Err(MoveRefusal::PagesBehind.into());
            }
            self.freeze().await?;
        }
        // The receiver waits for them: the last pages travel beside this answer.
        self.fill_hop().await;
        let outbound = self.outbound.as_ref().ok_or(MoveRefusal::OfferUnknown)?;
        let (ticket, tail) = outbound.handover.clone().ok_or(MoveRefusal::OfferUnknown)?;
        let root = outbound.close_hop()?;
        let full = outbound.full;
        Ok(SessionReply::Handover(Box::new(Handover { ticket, full, root, tail, figures: outbound.figures })))
    }

    async fn freeze(&mut self) -> Result<(), Refusal> {
        let held = self.held.as_ref().ok_or(Refusal::Unknown)?;
        if held.finished.is_some() || self.close.is_some() {
            return Err(Refusal::Finished);
        }
        let sequence = self.sequence.as_ref().map(|sequence| sequence.id);
        self.input(Input::Prepared)?;
        let parked = match sequence {
            Some(sequence) => Some(self.context.engine.suspend(sequence).await?),
            None => None,
        };
        self.emit_all().await;
        let held = self.held.as_ref().ok_or(Refusal::Unknown)?;
        if held.finished.is_some() {
            return Err(Refusal::Finished);
        }
        let keys = self.keys.as_ref().ok_or(Refusal::Unknown)?;
        let (full, tail) = match &parked {
            Some(parked) => (parked.full_pages, parked.tail_page(&self.context.engine.stream(), &keys.page_hash)?),
            // One that is parked, or waits for room in the engine, gives what is on its disk.
            None => {
                let (full, stream) = (held.content.pages(), self.context.engine.stream());
                let read = self.on_disk(move |held, dir, keys| Ok(held.parked_tail(dir, keys, &stream, full)));
                let tail = read.await?;
                (u32::try_from(full).unwrap_or(u32::MAX), tail)
            }
        };
        // What was parked has no step that the gap could be measured from.
        let held = self.held.as_ref().ok_or(Refusal::Unknown)?;
        let (next_token, last_step_end_ns) = (held.next(), held.last_step_end_ns().filter(|_| parked.is_some()));
        if let Some(outbound) = &mut self.outbound {
            outbound.full = full;
            outbound.tail = Some(Zeroizing::new(tail));
            outbound.frozen_at = Some(Instant::now());
            outbound.figures.last_step_end_ns = last_step_end_ns.unwrap_or_default();
            outbound.figures.median_step_us = self.context.engine.median_step().map_or(0, Micros::get);
            outbound.figures.frozen_ns = monotonic_ns();
        }
        self.input(Input::StepBoundary { next_token })?;
        Box::pin(self.carry_out()).await;
        if self.handoff.mode() == Mode::Frozen {
            return Ok(());
        }
        if let Some(sequence) = sequence {
            self.context.engine.resume(sequence).await?;
        }
        Err(MoveRefusal::OfferUnknown.into())
    }

    /// Seals the tail and signs the ticket: the freeze is done.
    pub(crate) async fn cut_ticket(&mut self, head: Digest, epoch: KeyEpoch, to: NodeId, next: TokenPosition) {
        if let Err(refusal) = self.keep_pages().await {
            tracing::error!(wallet = %self.wallet.0, %refusal, "the last pages cannot be read");
            return;
        }
        match self.make_handover(head, epoch, to, next).await {
            Ok(handover) => {
                if let Some(outbound) = &mut self.outbound {
                    outbound.report.tokens_at_freeze = next;
                    outbound.handover = Some(handover);
                }
            }
            // It stays frozen; the deadline aborts it.
            Err(refusal) => tracing::error!(wallet = %self.wallet.0, %refusal, "no ticket was cut"),
        }
    }

    async fn make_handover(
        &mut self,
        head: Digest,
        epoch: KeyEpoch,
        receiver: NodeId,
        next_token: TokenPosition,
    ) -> Result<(SignedTicket, Envelope), Refusal> {
        let record = self.record().await.ok_or(Refusal::Unknown)?;
        let entries = self.on_disk(|held, _, _| Ok(held.journal().entries().map_err(DiskFault::from)?)).await?;
        let (Some(outbound), Some(held), Some(keys)) = (&mut self.outbound, &self.held, &self.keys) else {
            return Err(MoveRefusal::OfferUnknown.into());
        };
        let (Some(page), Some(hop)) = (outbound.tail.take(), outbound.hop.as_mut()) else {
            return Err(MoveRefusal::OfferUnknown.into());
        };
        let mut tail = TailContents {
            continuation: held.sign(keys, self.wallet, Stand::Ready, &page)?.signed.as_bytes().to_vec(),
            page: page.to_vec(),
            journal: wallet::codec::encode(&entries),
            record: record.encode(),
            root: Digest::ZERO,
            blind: Blind::from_bytes(random()),
            resume_secret_hash: keys.resume_secret_hash,
            tenant_key: keys.tenant_key.clone(),
            policy: keys.policy.clone(),
            client_cursor: next_token,
        };
        tail.root = held.content.root(&tail.digests(&keys.page_hash));
        let ticket = HandoffTicket {
            wallet: self.wallet,
            head,
            epoch,
            source: self.context.me,
            receiver,
            content: ContentCommitment::new(&tail.root, &tail.blind),
            next_token,
        };
        let signed = ticket.sign(&keys.holder.key());
        let sealed = hop.tail.take().ok_or(MoveRefusal::OfferUnknown)?.seal(&tail);
        Ok((signed, sealed))
    }

    /// The outbound move that a receiver asks about.
    fn open_hop(&self, from: NodeId, offer: OfferRef) -> Result<&Outbound, Refusal> {
        let outbound = self.outbound.as_ref().ok_or(MoveRefusal::OfferUnknown)?;
        if outbound.to != from {
            return Err(MoveRefusal::NotReceiver { from }.into());
        }
        let is_open = outbound.hop.as_ref().is_some_and(|hop| hop.offer == offer.offer)
            && outbound.offer_final_at.is_some()
            && outbound.given_up.is_none();
        if is_open { Ok(outbound) } else { Err(MoveRefusal::OfferUnknown.into()) }
    }

    /// What was drawn for the open offer to `receiver`.
    pub(super) fn offered_hop(&mut self, receiver: NodeId) -> Option<&mut OfferedHop> {
        let outbound = self.outbound.as_mut().filter(|out| out.to == receiver && out.given_up.is_none())?;
        outbound.hop.as_mut().filter(|_| outbound.offer_final_at.is_some())
    }
}

impl Outbound {
    /// Ends the hop stream once all pages are in it, and names its root.
    fn close_hop(&self) -> Result<Digest, Refusal> {
        let writer = self.hop.as_ref().and_then(|hop| hop.stream.as_ref()).ok_or(MoveRefusal::OfferUnknown)?;
        if writer.next() < self.full {
            return Err(MoveRefusal::PagesBehind.into());
        }
        writer.ring.close(0).map_err(MoveRefusal::of_stream)?;
        Ok(writer.ring.root(u64::from(self.full)).map_err(MoveRefusal::of_stream)?)
    }
}
