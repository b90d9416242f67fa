//! The source's side of a move.

use std::time::Duration;

use ledger::{
    event::{Event, MigrationOffered},
    state::Phase,
};
use tokio::{sync::oneshot, time::Instant};
use wallet::{
    digest::Digest,
    handoff::{Input, Mode},
    policy::VerifiedOpening,
    prekey::{ExchangeSecret, SignedPrekey},
    refusal::Refusal as WalletRefusal,
    schedule::{Gates, GlobalGate, HopKeys, HopLabel, RegionGate},
    seal::{
        envelope::{Envelope, EnvelopeKey, OfferSecrets, TailContents},
        pages::{DataKey, PageRoute, PageSealer},
    },
    ticket::{Blind, SignedTicket},
    units::{BlockHeight, ByteCount, NodeId, TokenCount, TokenPosition},
};

use zeroize::Zeroizing;

use super::{
    hop::HopWriter,
    messages::{Reserve, Reserved, SourceFigures},
    refusal::Refusal as MoveRefusal,
    report::MoveReport,
};
use crate::{
    ledger_feed::FinalFact,
    peer::{PeerFault, SessionReply, SessionRequest},
    session::{
        Message,
        actor::{Actor, CommandOutcome},
        command::CommandReply,
        context::{NodeContext, fill_random, random},
        refusal::Refusal,
    },
};

/// The gates are not built yet.
pub(super) const GATES: Gates = Gates { global: GlobalGate::NotBuilt, region: RegionGate::NotBuilt };
/// How long the source waits for the destination's figures once the confirm is final.
const REPORT_WITHIN: Duration = Duration::from_secs(3);
/// How long the source waits before it asks a destination again that does not know yet that it is the holder.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Blocks between the height that this node knows and the one at which its offer is ordered.
const HEIGHT_MARGIN: u64 = 50;

/// A move from this node.
pub(crate) struct Outbound {
    /// The destination.
    pub(crate) to: NodeId,
    /// Blocks that it takes there.
    pub(crate) blocks: u32,
    pub(super) rule: String,
    pub(super) decision: Digest,
    pub(super) opening: VerifiedOpening,
    pub(super) reply: Option<oneshot::Sender<CommandOutcome>>,
    pub(super) prekey: Option<SignedPrekey>,
    pub(super) hop: Option<OfferedHop>,
    /// The page after the full ones, once it is frozen.
    pub(super) tail: Option<Zeroizing<Vec<u8>>>,
    /// Full pages at the freeze.
    pub(super) full: u32,
    pub(super) handover: Option<(SignedTicket, Envelope)>,
    pub(super) figures: SourceFigures,
    pub(super) begun_at: Instant,
    pub(super) submitted_at: Option<Instant>,
    pub(super) offer_final_at: Option<Instant>,
    pub(super) is_accepted: bool,
    pub(super) frozen_at: Option<Instant>,
    pub(super) confirmed_at: Option<Instant>,
    pub(super) report: MoveReport,
    pub(super) given_up: Option<Refusal>,
}

/// A move that waits for the wallet's creation.
pub(crate) struct AskedMove {
    to: NodeId,
    decision: Digest,
    rule: String,
    reply: oneshot::Sender<CommandOutcome>,
    at: Instant,
}

/// What was drawn for one offer.
pub(super) struct OfferedHop {
    pub(super) offer: Digest,
    pub(super) envelope: Envelope,
    pub(super) sealer: PageSealer,
    pub(super) tail: Option<EnvelopeKey<TailContents>>,
    /// The pages' way, from the final offer on.
    pub(super) stream: Option<HopWriter>,
}

impl Actor {
    /// Begins a move: asks the destination to keep room. Nothing leaves this node before the policy allows it.
    pub(crate) fn migrate(
        &mut self,
        to: NodeId,
        decision: Digest,
        rule: String,
        reply: oneshot::Sender<CommandOutcome>,
    ) {
        match self.begin_move(to, decision, rule.clone()) {
            Ok(outbound) => self.outbound = Some(Outbound { reply: Some(reply), ..outbound }),
            Err(Refusal::CreationNotFinal) if self.asked.is_none() => {
                self.asked = Some(AskedMove { to, decision, rule, reply, at: Instant::now() });
            }
            Err(refusal) => {
                // An error means that nobody waits any more.
                let _ = reply.send(Err(refusal));
            }
        }
    }

    /// Begins a move that was asked for before the wallet's creation was final.
    fn watch_asked(&mut self) {
        let Some(asked) = &self.asked else { return };
        let is_late = asked.at.elapsed() > self.context.patience.pre_copy;
        if !is_late && !self.is_holder() && self.close.is_none() {
            return;
        }
        let Some(AskedMove { to, decision, rule, reply, .. }) = self.asked.take() else { return };
        if self.is_holder() {
            return self.migrate(to, decision, rule, reply);
        }
        let refusal = if self.close.is_some() { Refusal::Finished } else { Refusal::CreationNotFinal };
        // An error means that nobody waits any more.
        let _ = reply.send(Err(refusal));
    }

    fn begin_move(&mut self, to: NodeId, decision: Digest, rule: String) -> Result<Outbound, Refusal> {
        if self.outbound.is_some() || self.inbound.is_some() {
            return Err(Refusal::Busy);
        }
        let (Some(keys), Some(held)) = (&self.keys, &self.held) else {
            return Err(match self.handoff.view().holder {
                Some((holder, _)) if holder != self.context.me => Refusal::Moved { to: holder },
                _ => self.nothing_held(),
            });
        };
        if held.finished.is_some() || self.close.is_some() {
            return Err(Refusal::Finished);
        }
        held.may_move()?;
        let node = self.context.members().in_force(to).filter(|_| to != self.context.me);
        let region = node.ok_or(MoveRefusal::DestinationInvalid { node: to })?.region;
        let opening = keys.policy.open(&region)?.verify(&keys.policy.commitment())?;
        if self.handoff.mode() != Mode::Serving {
            return Err(Refusal::NotServing { mode: self.handoff.mode() });
        }
        let view = self.handoff.view();
        let epoch = view.epoch.next().filter(|_| self.is_holder()).ok_or(Refusal::CreationNotFinal)?;
        let reserve = Reserve {
            wallet: self.wallet,
            head: view.head,
            epoch,
            model: held.start.model,
            numerics: held.start.numerics,
            tokens: TokenCount::new(held.next().get()),
            blocks: self.context.engine.blocks_needed(held.start.prompt_tokens, &held.start.sampling),
        };
        let report = MoveReport {
            wallet: self.wallet,
            epoch,
            from: self.context.me,
            to,
            rule: Some(rule.clone()),
            decision,
            reason: None,
            pages_moved: 0,
            pages_verified: 0,
            bytes_moved: ByteCount::ZERO,
            tokens_at_freeze: TokenPosition::ZERO,
            source_last_step_end_ns: None,
            destination_first_step_start_ns: None,
            median_step_us: None,
            offer_final_ms: None,
            accept_final_ms: None,
            confirm_final_ms: None,
            freeze_to_confirm_final_ms: None,
            completed: false,
        };
        let blocks = reserve.blocks;
        self.ask_for_room(to, reserve);
        Ok(Outbound {
            to,
            blocks,
            rule,
            decision,
            opening,
            reply: None,
            prekey: None,
            hop: None,
            tail: None,
            full: 0,
            handover: None,
            figures: SourceFigures::default(),
            begun_at: Instant::now(),
            submitted_at: None,
            offer_final_at: None,
            is_accepted: false,
            frozen_at: None,
            confirmed_at: None,
            report,
            given_up: None,
        })
    }

    fn ask_for_room(&self, to: NodeId, reserve: Reserve) {
        let (link, inbox, patience) = (self.context.link.clone(), self.session.inbox(), self.context.patience.answer);
        tokio::spawn(async move {
            let until = Instant::now() + patience;
            let answer = loop {
                let answer = link.ask(to, SessionRequest::Reserve(Box::new(reserve.clone())), patience).await;
                // What made this node the holder is final here; there it may become so in a moment.
                let is_behind =
                    matches!(&answer, Err(PeerFault::Refused(refused)) if refused.code == MoveRefusal::NOT_HOLDER);
                if !is_behind || Instant::now() >= until {
                    break answer;
                }
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            };
            let reserved = match answer {
                Ok(SessionReply::Reserved(reserved)) => Ok(reserved),
                Ok(_) => Err(Refusal::of_peer(to, PeerFault::unexpected(to))),
                Err(fault) => Err(Refusal::of_peer(to, fault)),
            };
            // An error means that the session is over.
            let _ = inbox.send(Message::Reserved(reserved));
        });
    }

    /// The destination keeps room: the offer goes to the ledger.
    pub(crate) fn on_reserved(&mut self, reserved: Result<Reserved, Refusal>) {
        let Some(outbound) = self.outbound.as_mut().filter(|outbound| outbound.prekey.is_none()) else { return };
        let to = outbound.to;
        let prekey = reserved.and_then(|Reserved { prekey }| {
            let key = self.context.members().in_force(to).map(|node| node.key).unwrap_or_default();
            if prekey.node != to {
                return Err(WalletRefusal::SignatureInvalid { what: "prekey" }.into());
            }
            prekey.verify(&key)?;
            Ok(prekey)
        });
        match prekey {
            Ok(prekey) => outbound.prekey = Some(prekey),
            Err(refusal) => return self.move_failed(refusal),
        }
        let blocks_max = self.context.members().parameters().offer_deadline_blocks;
        let ahead = blocks_max.saturating_sub(HEIGHT_MARGIN).max(blocks_max / 2).max(1);
        let known = self.context.replica.state().height.get();
        let deadline = BlockHeight::new(known.saturating_add(ahead));
        if let Err(refusal) = self.input(Input::Migrate { to, deadline }) {
            self.move_failed(refusal.into());
        }
    }

    /// The offer at `head`, with everything drawn for it; none if the move was given up.
    pub(crate) fn offer_event(
        &mut self,
        head: Digest,
        receiver: NodeId,
        deadline: BlockHeight,
    ) -> Result<Option<Event>, Refusal> {
        let baseline = self.final_baseline();
        let epoch = self.handoff.view().epoch;
        let Some(outbound) = self.outbound.as_mut().filter(|out| out.to == receiver && out.given_up.is_none()) else {
            return Ok(None);
        };
        let (Some(keys), Some(held), Some(prekey), Some(epoch)) =
            (&self.keys, &self.held, &outbound.prekey, epoch.next())
        else {
            return Ok(None);
        };
        let blind = Blind::from_bytes(random());
        let ephemeral = ExchangeSecret::draw(&mut fill_random);
        let stream = self.context.engine.stream();
        let label = HopLabel {
            consortium: self.context.consortium.id(),
            wallet: self.wallet,
            epoch,
            head,
            source: self.context.me,
            receiver,
            region: outbound.opening.region().clone(),
            opening: *outbound.opening.hash(),
            policy: *outbound.opening.policy(),
            prekey: prekey.key,
            ephemeral: ephemeral.public_key(),
            content: held.content.commit_pages(&blind),
            numerics: held.start.numerics,
        };
        let hop = HopKeys::derive(&label, &outbound.opening, ephemeral.agree(&prekey.key)?, GATES)?;
        let data_key = DataKey::from_bytes(random());
        let route = PageRoute { wallet: self.wallet, epoch, stream: stream.clone() };
        let HopKeys { confirm, offer, tail, migration: _ } = hop;
        let envelope = offer.seal(&OfferSecrets {
            data_key: data_key.clone(),
            link: keys.chain.link(&label),
            page_hash_key: keys.page_hash.clone(),
            stream,
            pages: held.content.pages(),
            blind,
        });
        outbound.hop = Some(OfferedHop {
            offer: Digest::ZERO,
            envelope,
            sealer: PageSealer::new(route, data_key),
            tail: Some(tail),
            stream: None,
        });
        outbound.submitted_at = Some(Instant::now());
        Ok(Some(Event::MigrationOffered(MigrationOffered {
            wallet: self.wallet,
            head,
            epoch,
            receiver,
            opening: keys.policy.open(outbound.opening.region())?,
            prekey: prekey.clone(),
            ephemeral: label.ephemeral,
            content: label.content,
            confirm_key: confirm.public_key(),
            decision: outbound.decision,
            baseline,
            deadline,
        })))
    }

    /// An offer of this wallet is final.
    pub(crate) fn offer_is_final(&mut self, fact: &FinalFact, receiver: NodeId) {
        if receiver == self.context.me {
            return self.offer_is_for_us(fact);
        }
        if fact.fact.author != self.context.me {
            return;
        }
        let Event::MigrationOffered(offer) = &fact.entry.body.event else { return };
        let ours = |out: &Outbound| out.to == receiver && out.prekey.as_ref() == Some(&offer.prekey);
        match self.outbound.as_mut().filter(|out| ours(out) && out.given_up.is_none()) {
            Some(outbound) => {
                let now = Instant::now();
                outbound.offer_final_at = Some(now);
                outbound.figures.offer_final_ms = ms(outbound.submitted_at, Some(now)).unwrap_or_default();
                if let Some(hop) = &mut outbound.hop {
                    hop.offer = fact.id();
                }
            }
            // An offer of an earlier boot, or of a move that was given up.
            None => {
                let _ = self.input(Input::Abort);
            }
        }
    }

    /// The acceptance of the open offer is final.
    pub(crate) fn acceptance_is_final(&mut self) {
        if let Some(outbound) = &mut self.outbound {
            outbound.is_accepted = true;
            outbound.figures.accept_final_ms = ms(outbound.offer_final_at, Some(Instant::now())).unwrap_or_default();
        }
    }

    /// The destination's figures.
    pub(crate) fn on_report(&mut self, from: NodeId, report: MoveReport) -> Result<SessionReply, Refusal> {
        let ours = |out: &&mut Outbound| out.to == from && out.report.epoch == report.epoch;
        if let Some(outbound) = self.outbound.as_mut().filter(ours) {
            let rule = Some(outbound.rule.clone());
            outbound.report = MoveReport { rule, from: self.context.me, to: from, wallet: self.wallet, ..report };
            self.answer_if_moved();
        }
        Ok(SessionReply::Noted)
    }

    /// The confirm of the receiver is final.
    pub(super) fn outbound_is_confirmed(&mut self) {
        let Some(outbound) = &mut self.outbound else { return };
        let now = Instant::now();
        outbound.confirmed_at = Some(now);
        let report = &mut outbound.report;
        if !report.completed {
            report.completed = true;
            report.offer_final_ms = Some(outbound.figures.offer_final_ms);
            report.accept_final_ms = Some(outbound.figures.accept_final_ms);
            report.freeze_to_confirm_final_ms = ms(outbound.frozen_at, Some(now));
            report.source_last_step_end_ns = Some(outbound.figures.last_step_end_ns).filter(|ns| *ns > 0);
            report.median_step_us = Some(outbound.figures.median_step_us);
        }
        self.answer_if_moved();
    }

    /// Answers the command once the confirm is final and the destination's figures are here.
    fn answer_if_moved(&mut self) {
        let is_whole = |out: &Outbound| out.report.destination_first_step_start_ns.is_some();
        let ready = |out: &Outbound| out.confirmed_at.is_some_and(|at| is_whole(out) || at.elapsed() > REPORT_WITHIN);
        if self.outbound.as_ref().is_some_and(ready)
            && let Some(mut outbound) = self.outbound.take()
        {
            self.sessions.note_move(outbound.report.clone());
            if let Some(reply) = outbound.reply.take() {
                // An error means that nobody waits any more.
                let _ = reply.send(Ok(CommandReply::Moved(Box::new(outbound.report))));
            }
        }
    }

    /// The move did not come about.
    pub(crate) fn move_failed(&mut self, refusal: Refusal) {
        let Some(mut outbound) = self.outbound.take() else { return };
        let refusal = outbound.given_up.take().unwrap_or(refusal);
        tracing::info!(wallet = %self.wallet.0, to = %outbound.to, code = refusal.code(), %refusal, "not moved");
        let reason = Some(refusal.to_peer().to_string());
        self.sessions.note_move(MoveReport { reason, ..outbound.report });
        if let Some(reply) = outbound.reply.take() {
            // An error means that nobody waits any more.
            let _ = reply.send(Err(refusal));
        }
    }

    /// Gives a move up that takes too long. A frozen session serves again only when the abort is final.
    pub(crate) fn watch_outbound(&mut self) {
        self.watch_asked();
        self.answer_if_moved();
        let patience = self.context.patience;
        let Some(outbound) = &mut self.outbound else { return };
        if outbound.confirmed_at.is_some() || outbound.given_up.is_some() {
            return;
        }
        let (since, after) = match outbound.frozen_at {
            Some(frozen) => (frozen, patience.frozen),
            None => (outbound.begun_at, patience.pre_copy),
        };
        if since.elapsed() < after {
            return;
        }
        let refusal = MoveRefusal::TimedOut { after }.into();
        if outbound.offer_final_at.is_none() {
            return self.move_failed(refusal);
        }
        outbound.given_up = Some(refusal);
        if let Some(hop) = &mut outbound.hop {
            hop.stream = None;
        }
        if let Err(refusal) = self.input(Input::Abort) {
            self.move_failed(refusal.into());
        }
    }
}

/// Whether the ledger says that `from` may ask a holder for a wallet's move.
pub(super) fn is_holder(context: &NodeContext, reserve: &Reserve, from: NodeId) -> bool {
    let state = context.replica.state();
    state.state.wallet(reserve.wallet).is_some_and(|record| {
        record.holder == from && record.phase == Phase::Active && record.epoch.next() == Some(reserve.epoch)
    })
}

pub(super) fn ms(from: Option<Instant>, to: Option<Instant>) -> Option<u64> {
    u64::try_from(to?.duration_since(from?).as_millis()).ok()
}
