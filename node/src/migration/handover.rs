//! What the source gives to the receiver of its offer: envelope, pages, and at last the hand-over itself.

use tokio::time::Instant;
use wallet::{
    digest::Digest,
    handoff::{Input, Mode},
    page::Page,
    seal::envelope::{Envelope, TailContents},
    ticket::{Blind, ContentCommitment, HandoffTicket, SignedTicket},
    units::{KeyEpoch, Micros, NodeId, PageIndex, TokenPosition},
};

use super::{
    messages::{Freeze, Handover, OfferRef, PAGES_MAX, PagesReply, PagesRequest, SealedPage, WINDOW_BYTES_MAX},
    outbound::Outbound,
    refusal::Refusal as MoveRefusal,
};
use crate::{
    engine::monotonic_ns,
    peer::SessionReply,
    session::{actor::Actor, context::random, refusal::Refusal, start::Continuation},
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

    /// Sealed pages, for the receiver of the final offer.
    pub(crate) async fn on_pages(&mut self, from: NodeId, request: PagesRequest) -> Result<SessionReply, Refusal> {
        self.open_hop(from, request.offer)?;
        let (pages, full) = self.sealed_pages(request.from, request.count_max.min(PAGES_MAX)).await?;
        Ok(SessionReply::Pages(PagesReply { pages, full }))
    }

    /// Freezes at the next step boundary and hands over. Asked again, it hands over the same.
    pub(crate) async fn on_freeze(&mut self, from: NodeId, freeze: Freeze) -> Result<SessionReply, Refusal> {
        let outbound = self.open_hop(from, freeze.offer)?;
        if !outbound.is_accepted {
            return Err(MoveRefusal::AcceptanceNotFinal.into());
        }
        if outbound.handover.is_none() {
            self.freeze().await?;
        }
        let (pages, full) = self.sealed_pages(freeze.have, u32::MAX).await?;
        let outbound = self.outbound.as_ref().ok_or(MoveRefusal::OfferUnknown)?;
        let (ticket, tail) = outbound.handover.clone().ok_or(MoveRefusal::OfferUnknown)?;
        Ok(SessionReply::Handover(Box::new(Handover { ticket, pages, full, tail, figures: outbound.figures })))
    }

    async fn freeze(&mut self) -> Result<(), Refusal> {
        let held = self.held.as_ref().ok_or(Refusal::Unknown)?;
        if held.finished.is_some() || self.close.is_some() {
            return Err(Refusal::Finished);
        }
        let sequence = self.sequence.as_ref().ok_or(Refusal::Suspended)?.id;
        self.input(Input::Prepared)?;
        let parked = self.context.engine.suspend(sequence).await?;
        self.emit_all().await;
        let held = self.held.as_ref().ok_or(Refusal::Unknown)?;
        if held.finished.is_some() {
            return Err(Refusal::Finished);
        }
        let (next_token, last_step_end_ns) = (held.next(), held.last_step_end_ns());
        if let Some(outbound) = &mut self.outbound {
            outbound.parked = Some(parked);
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
        self.context.engine.resume(sequence).await?;
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
        let (Some(outbound), Some(held), Some(keys)) = (&mut self.outbound, &self.held, &self.keys) else {
            return Err(MoveRefusal::OfferUnknown.into());
        };
        let (Some(parked), Some(hop)) = (outbound.parked.take(), outbound.hop.as_mut()) else {
            return Err(MoveRefusal::OfferUnknown.into());
        };
        let mut start = held.start.clone();
        start.tokens = Vec::new();
        let mut tail = TailContents {
            page: self.context.engine.tail_page(&parked, &keys.page_hash)?,
            continuation: wallet::codec::encode(&Continuation { start, engine: parked.continuation }),
            tokens: wallet::codec::encode(&held.tokens),
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

    async fn sealed_pages(&mut self, from: u32, count_max: u32) -> Result<(Vec<SealedPage>, u32), Refusal> {
        let stream = self.context.engine.stream();
        let page_bytes = stream.payload_bytes()?;
        let window = u32::try_from(WINDOW_BYTES_MAX / page_bytes).unwrap_or(u32::MAX).max(1);
        let sequence = self.sequence.as_ref().ok_or(Refusal::Suspended)?.id;
        let (payloads, full) = self.context.engine.export_pages(sequence, from, count_max.min(window)).await?;
        let (Some(hop), Some(keys)) = (self.outbound.as_mut().and_then(|out| out.hop.as_mut()), &self.keys) else {
            return Err(MoveRefusal::OfferUnknown.into());
        };
        let mut pages = Vec::with_capacity(payloads.len());
        for (payload, index) in payloads.iter().zip(u64::from(from)..) {
            let page = Page::new(&stream, PageIndex::new(index), stream.block, payload, Some(&keys.page_hash))?;
            pages.push(SealedPage(hop.sealer.seal(&page)?));
        }
        Ok((pages, full))
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
}
