//! The source's pages on their way: while it decodes, each full page goes into the hop stream.

use gpu::stream::{Appended, Stream as _};
use wallet::units::NodeId;

use super::{hop::HopWriter, refusal::Refusal as MoveRefusal};
use crate::{
    network::stream::Readers,
    session::{Message, actor::Actor, refusal::Refusal},
};

/// Full pages that the receiver may lack when the session freezes: they cross in the gap.
const BEHIND_MAX: u32 = 2;

/// Requests to freeze that are put off while pages become full faster than they cross.
const DEFERRED_MAX: u32 = 64;

impl Actor {
    /// The offer is final: the pages so far go into its hop stream, which the receiver may read from now on.
    pub(crate) async fn begin_hop(&mut self, receiver: NodeId) {
        let begun = self.try_begin_hop(receiver).await;
        if let Err(refusal) = begun {
            // The receiver gets no pages, and the deadline ends the offer.
            tracing::error!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "no page can be offered");
        }
    }

    async fn try_begin_hop(&mut self, receiver: NodeId) -> Result<(), Refusal> {
        let pages = self.context.engine.stream();
        let Some(offered) = self.offered_hop(receiver) else { return Ok(()) };
        if offered.stream.is_some() {
            return Ok(());
        }
        let writer = HopWriter::new(offered.offer, &pages)?;
        let ring = writer.ring.clone();
        offered.stream = Some(writer);
        // What is there already crosses with the first answer.
        self.fill_hop().await;
        let offer = self.context.exports.offer(ring, Readers::consumer(receiver)).map_err(MoveRefusal::of_stream)?;
        if let Some(writer) = self.offered_hop(receiver).and_then(|offered| offered.stream.as_mut()) {
            writer.offer = Some(offer);
        }
        Ok(())
    }

    /// Moves the pages that became full into the hop stream, as far as there is room.
    pub(crate) async fn fill_hop(&mut self) {
        if let Err(refusal) = self.try_fill_hop().await {
            // It is tried again with the next page, and before the hand-over.
            tracing::warn!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "pages were not sealed");
        }
    }

    async fn try_fill_hop(&mut self) -> Result<(), Refusal> {
        let stream = self.context.engine.stream();
        loop {
            let behind = self.pages_behind();
            let (Some(_), Some(writer)) = (&self.held, self.hop_writer()) else { return Ok(()) };
            if behind == 0 {
                return Ok(());
            }
            let (next, count_max) = (writer.next(), behind.min(writer.room()));
            let payloads = match &self.sequence {
                Some(sequence) => self.context.engine.pages(sequence.id, next, count_max).await?.0,
                None => self.on_disk(move |held, _, _| held.payloads(next, count_max)).await?,
            };
            let offered = self.outbound.as_mut().and_then(|outbound| outbound.hop.as_mut());
            let (Some(offered), Some(keys)) = (offered, &self.keys) else { return Ok(()) };
            let Some(writer) = &mut offered.stream else { return Ok(()) };
            if payloads.is_empty() {
                return Ok(());
            }
            for (payload, index) in payloads.iter().zip(u64::from(next)..) {
                match writer.put(&stream, &mut offered.sealer, index, payload, &keys.page_hash)? {
                    Appended::Ok(_) | Appended::Same(_) => {}
                    Appended::Full(wake) => {
                        let (ring, inbox) = (writer.ring.clone(), self.session.inbox());
                        writer.wait(tokio::spawn(async move {
                            ring.wait(wake).await;
                            // An error means that the session is over.
                            let _ = inbox.send(Message::HopRoom);
                        }));
                        return Ok(());
                    }
                    refused => {
                        let reason = format!("page {index} is refused: {refused:?}");
                        return Err(MoveRefusal::StreamFailed { code: "E-209", reason }.into());
                    }
                }
            }
        }
    }

    /// Whether the receiver lacks so many of the full pages that freezing now would make the gap long.
    pub(super) fn defers_freeze(&mut self, have: u32) -> bool {
        let behind = self.pages_behind();
        let offered = self.outbound.as_mut().and_then(|outbound| outbound.hop.as_mut());
        let Some(writer) = offered.and_then(|offered| offered.stream.as_mut()) else { return true };
        writer.deferred = writer.deferred.saturating_add(1);
        writer.next().saturating_add(behind).saturating_sub(have) > BEHIND_MAX && writer.deferred <= DEFERRED_MAX
    }

    /// Full pages that are not in the hop stream yet. Before the prompt is computed it may be too many.
    fn pages_behind(&self) -> u32 {
        let (Some(held), Some(writer)) = (&self.held, self.hop_writer()) else { return 0 };
        let full = match &self.sequence {
            // The last token has no row yet.
            Some(_) => held.next().get().saturating_sub(1) / u32::from(self.context.engine.stream().block),
            None => u32::try_from(held.content.pages()).unwrap_or(u32::MAX),
        };
        full.saturating_sub(writer.next())
    }

    fn hop_writer(&self) -> Option<&HopWriter> {
        self.outbound.as_ref()?.hop.as_ref()?.stream.as_ref()
    }
}
