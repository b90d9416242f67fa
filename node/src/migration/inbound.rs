//! The receiver's side of a move.
//!
//! It pulls: pages from the final offer on, through the hop stream, the envelope from the final acceptance on, and at last
//! the hand-over. After a cut it goes on with the first page that it lacks.

use std::{sync::Arc, time::Duration};

use gpu::{
    continuation::{Beside, Bound, Entry},
    stream::Accumulator,
};
use ledger::{
    event::{Event, KeyConfirmed, MigrationOffered},
    state::WalletRecord,
};
use tokio::time::Instant;
use wallet::{
    chain::{ChainKey, PageHashKey},
    content::ContentChain,
    digest::Digest,
    handoff::{Input, Mode, Phase},
    identity::PublicKey,
    page::Page,
    policy::PolicyCommitment,
    prekey::{ExchangeKey, ExchangeSecret},
    schedule::{HopKeys, HopLabel},
    seal::{
        envelope::{OfferSecrets, TailContents},
        pages::{PageOpener, PageRoute},
    },
    ticket::SignedTicket,
    units::{NodeId, TokenPosition},
};

use super::{
    hop::HopReader,
    intake,
    messages::{Freeze, Handover, OfferRef, Reserve, Reserved, SourceFigures},
    outbound::{GATES, is_holder},
    refusal::Refusal as MoveRefusal,
};
use crate::{
    engine::Arrival,
    ledger_feed::FinalFact,
    peer::{PeerFault, SessionReply, SessionRequest},
    session::{
        Message,
        actor::Actor,
        context::{NodeContext, fill_random, random},
        continuation::{Received, Source, engine_tail, receive, tail_of, unverified},
        disk::{HolderKeys, HolderSeed, HopSecrets, PrekeySeed},
        held::Held,
        line::Room,
        refusal::Refusal,
        request::PrefixSalt,
        view::HopView,
    },
};

/// The wait before the source is asked again that did not answer, or has nothing new.
const AGAIN_AFTER: Duration = Duration::from_millis(20);
/// A move to this node.
pub(crate) struct Inbound {
    pub(super) source: NodeId,
    pub(super) blocks: u32,
    /// Kept for it until the engine has it.
    room: Option<Room>,
    pub(super) prekey: ExchangeSecret,
    pub(super) reserved_at: Instant,
    pub(super) offer: Option<(Digest, Box<MigrationOffered>)>,
    /// The pages' way onto the disk, from the final offer on.
    pub(super) hop: Option<HopReader>,
    /// Those that were opened.
    pub(super) pages: Vec<Page>,
    pub(super) opened: Option<Opened>,
    pub(super) handover: Option<Box<Handover>>,
    /// Made for the confirm.
    pub(super) exchange_key: Option<ExchangeKey>,
    pub(super) is_asking: bool,
    pub(super) ask_at: Instant,
    pub(super) bytes: u64,
    pub(super) pages_moved: u32,
    pub(super) tail_verified: bool,
    pub(super) first_step_start_ns: Option<u64>,
    pub(super) confirm_submitted_at: Option<Instant>,
    pub(super) figures: SourceFigures,
    pub(super) next_token: TokenPosition,
}

/// What the envelope opened.
pub(super) struct Opened {
    hop: HopKeys,
    secrets: OfferSecrets,
    pub(super) opener: PageOpener,
}

/// Keeps room for a wallet, if this node takes it in.
pub(crate) async fn keep_room(context: &NodeContext, from: NodeId, reserve: &Reserve) -> Result<Room, MoveRefusal> {
    let served = context.engine.served();
    if (reserve.model, reserve.numerics) != (served.model, served.numerics) {
        return Err(MoveRefusal::ModelDiffers);
    }
    if !is_holder(context, reserve, from) {
        return Err(MoveRefusal::NotHolder { from });
    }
    let (blocks, line) = (reserve.blocks, &context.line);
    let kept = line.keep(reserve.wallet, blocks, &context.engine).await;
    kept.map_err(|free| MoveRefusal::NoRoom { free, needed: blocks })
}

impl Inbound {
    fn new(source: NodeId, blocks: u32, prekey: ExchangeSecret, room: Room) -> Self {
        let now = Instant::now();
        Self {
            source,
            blocks,
            room: Some(room),
            prekey,
            reserved_at: now,
            offer: None,
            hop: None,
            pages: Vec::new(),
            opened: None,
            handover: None,
            exchange_key: None,
            is_asking: false,
            ask_at: now,
            bytes: 0,
            pages_moved: 0,
            tail_verified: false,
            first_step_start_ns: None,
            confirm_submitted_at: None,
            figures: SourceFigures::default(),
            next_token: TokenPosition::ZERO,
        }
    }

    /// A move that was under way when the node stopped.
    pub(crate) fn restored(hop: &HopSecrets, handover: Option<Handover>, room: Room) -> Self {
        let prekey = ExchangeSecret::from_bytes(&hop.prekey.0);
        Self { handover: handover.map(Box::new), ..Self::new(hop.source, hop.blocks, prekey, room) }
    }

    /// As others see it.
    pub(crate) fn view(&self) -> HopView {
        HopView { peer: self.source, inbound: true, blocks: self.blocks }
    }

    /// What to ask for next.
    fn next_request(&self, wallet: wallet::grant::WalletAddress, accepted: bool) -> Option<SessionRequest> {
        let offer = OfferRef { wallet, offer: self.offer.as_ref()?.0 };
        if accepted && self.opened.is_none() {
            return Some(SessionRequest::Envelope(offer));
        }
        let freezes = accepted && self.handover.is_none() && self.has_caught_up();
        let have = u32::try_from(self.hop.as_ref()?.have()).unwrap_or(u32::MAX);
        freezes.then_some(SessionRequest::Freeze(Freeze { offer, have }))
    }
}

impl Actor {
    /// Keeps room and draws a prekey, which is on the disk before it is told.
    pub(crate) fn on_reserve(&mut self, from: NodeId, reserve: &Reserve, room: Room) -> Result<SessionReply, Refusal> {
        if self.handoff.mode() != Mode::Idle || self.keys.is_some() {
            return Err(Refusal::NotServing { mode: self.handoff.mode() });
        }
        if self.inbound.as_ref().is_some_and(|inbound| inbound.offer.is_some()) {
            return Err(Refusal::Busy);
        }
        let prekey = ExchangeSecret::draw(&mut fill_random);
        self.dir.drop_incoming()?;
        let secrets = HopSecrets { source: from, blocks: reserve.blocks, prekey: PrekeySeed(*prekey.to_bytes()) };
        self.dir.save_hop(&secrets)?;
        let signed = prekey.offer(self.context.me, self.context.key());
        self.inbound = Some(Inbound::new(from, reserve.blocks, prekey, room));
        Ok(SessionReply::Reserved(Reserved { prekey: signed }))
    }

    /// An offer to this node is final: the room and the prekey are there, so it is taken up.
    pub(super) fn offer_is_for_us(&mut self, fact: &FinalFact) {
        let Event::MigrationOffered(offer) = &fact.entry.body.event else { return };
        let ours = |inbound: &&mut Inbound| inbound.prekey.public_key() == offer.prekey.key;
        let Some(inbound) = self.inbound.as_mut().filter(ours) else { return };
        inbound.offer = Some((fact.id(), Box::new(offer.clone())));
        if let Err(refusal) = self.open_hop_stream() {
            tracing::error!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "the pages cannot be read");
        }
        if self.handoff.mode() != Mode::Restarted
            && let Err(refusal) = self.input(Input::Accept)
        {
            tracing::warn!(wallet = %self.wallet.0, %refusal, "the offer is not taken up");
        }
    }

    /// After a restart: the move goes on if its offer is open.
    pub(crate) fn hop_is_restored(&mut self) {
        match self.handoff.view().phase {
            Phase::Offered(offer) if offer.receiver == self.context.me => {
                // An error means that the offer is not open any more.
                let _ = self.input(Input::Accept);
            }
            Phase::Accepted(offer) if offer.receiver == self.context.me => {}
            // The offer may still be on its way to the ledger.
            Phase::Active if self.inbound.as_ref().is_some_and(|inbound| inbound.offer.is_none()) => {}
            _ => self.drop_inbound(),
        }
    }

    /// Asks for what is next, and gives up what nobody offers.
    pub(crate) async fn watch_inbound(&mut self) {
        self.report_landing();
        let Some(inbound) = &mut self.inbound else { return };
        if inbound.offer.is_none() && inbound.reserved_at.elapsed() > self.context.patience.reservation {
            return self.drop_inbound();
        }
        if self.handoff.mode() != Mode::Idle || inbound.is_asking || inbound.ask_at > Instant::now() {
            return;
        }
        let accepted = matches!(self.handoff.view().phase, Phase::Accepted(_));
        if let Some(request) = inbound.next_request(self.wallet, accepted) {
            inbound.is_asking = true;
            return self.ask_source(request);
        }
        match inbound.is_whole() {
            Ok(true) if inbound.opened.is_some() => self.take_over().await,
            Ok(_) => {}
            Err(refusal) => self.refuse_hop(&refusal),
        }
    }

    fn ask_source(&self, request: SessionRequest) {
        let Some(source) = self.inbound.as_ref().map(|inbound| inbound.source) else { return };
        let (link, inbox, patience) = (self.context.link.clone(), self.session.inbox(), self.context.patience.answer);
        tokio::spawn(async move {
            let answer = link.ask(source, request, patience).await;
            // An error means that the session is over.
            let _ = inbox.send(Message::Answer(answer));
        });
    }

    /// The source's answer.
    pub(crate) async fn on_answer(&mut self, answer: Result<SessionReply, PeerFault>) {
        let Some(inbound) = &mut self.inbound else { return };
        inbound.is_asking = false;
        inbound.ask_at = Instant::now();
        let taken = match answer {
            Ok(SessionReply::Envelope(envelope)) => {
                inbound.bytes += envelope.0.len() as u64;
                self.open_envelope(&envelope)
            }
            Ok(SessionReply::Handover(handover)) => self.take_handover(handover),
            Ok(_) => Err(Refusal::of_peer(inbound.source, PeerFault::unexpected(inbound.source))),
            Err(fault) => {
                inbound.ask_at += AGAIN_AFTER;
                let over = matches!(&fault, PeerFault::Refused(refused) if !refused.retry);
                if over { Err(Refusal::of_peer(inbound.source, fault)) } else { Ok(()) }
            }
        };
        match taken {
            Ok(()) => self.watch_inbound().await,
            Err(refusal) => self.refuse_hop(&refusal),
        }
    }

    fn open_envelope(&mut self, envelope: &wallet::seal::envelope::Envelope) -> Result<(), Refusal> {
        let policy = self.policy_of_record()?;
        let stream = self.context.engine.stream();
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        let (_, offer) = inbound.offer.as_ref().ok_or(MoveRefusal::OfferUnknown)?;
        let opening = offer.opening.verify(&policy)?;
        let label = HopLabel {
            consortium: self.context.consortium.id(),
            wallet: self.wallet,
            epoch: offer.epoch,
            head: offer.head,
            source: inbound.source,
            receiver: self.context.me,
            region: opening.region().clone(),
            opening: *opening.hash(),
            policy,
            prekey: offer.prekey.key,
            ephemeral: offer.ephemeral,
            content: offer.content,
            numerics: stream.numerics,
        };
        let hop = HopKeys::derive(&label, &opening, inbound.prekey.agree(&offer.ephemeral)?, GATES)?;
        hop.check_confirm_key(&offer.confirm_key)?;
        let secrets = hop.offer.open(envelope)?;
        if secrets.stream != stream {
            return Err(MoveRefusal::ModelDiffers.into());
        }
        let route = PageRoute { wallet: self.wallet, epoch: offer.epoch, stream };
        let opener = PageOpener::new(route, secrets.data_key.clone(), secrets.page_hash_key.clone());
        inbound.opened = Some(Opened { hop, secrets, opener });
        self.open_pages(&[])
    }

    fn take_handover(&mut self, handover: Box<Handover>) -> Result<(), Refusal> {
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        intake::fits(&handover, inbound.blocks)?;
        inbound.bytes += handover.tail.0.len() as u64;
        inbound.handover = Some(handover);
        Ok(())
    }

    /// Everything is here: verify, make it durable, decode ahead, confirm.
    async fn take_over(&mut self) {
        if let Err(refusal) = self.try_take_over().await {
            self.refuse_hop(&refusal);
            if !self.is_holder() && self.handoff.mode() == Mode::Idle {
                self.forget_keys();
            }
        }
    }

    async fn try_take_over(&mut self) -> Result<(), Refusal> {
        let Some(inbound) = &mut self.inbound else { return Ok(()) };
        let (Some(handover), Some(opened)) = (&inbound.handover, &inbound.opened) else { return Ok(()) };
        let handover = Arc::new(handover.as_ref().clone());
        let ticket = handover.ticket.clone();
        inbound.figures = handover.figures;
        inbound.next_token = ticket.ticket.next_token;
        let tail = opened.hop.tail.open(&handover.tail)?;
        verify(&inbound.pages, &tail, opened, &inbound.offer_content()?, &ticket)?;
        let kv = bound(&inbound.pages);
        let record = self.context.replica.state().state.wallet(self.wallet).ok_or(MoveRefusal::OfferUnknown)?;
        let Arrived { received, journal, tokens } =
            Arrived::read(&tail, &ticket, &record, (kv, &opened.secrets.page_hash_key))?;
        let start = &received.start;
        if !self.session.tokens().may_begin_at(TokenPosition::new(start.prompt_tokens.get())) {
            return Err(unverified("its prompt is another than that of what was shown here"));
        }
        let chain = ChainKey::next(&opened.secrets.link, &opened.hop.migration, &random());
        let keys = HolderKeys {
            epoch: ticket.ticket.epoch,
            chain,
            holder: HolderSeed(random()),
            page_hash: opened.secrets.page_hash_key.clone(),
            tenant_key: tail.tenant_key.clone(),
            policy: tail.policy.clone(),
            resume_secret_hash: tail.resume_secret_hash,
            // Of its own: the sender's honesty is nothing that other sessions should rely on.
            prefix_salt: PrefixSalt(random()),
            rest_salt: random(),
            creation: None,
        };
        inbound.tail_verified = !tail.page.is_empty();
        let payload = |page: &Page| page.payload().to_vec();
        let served = self.context.engine.served();
        if (start.model, start.numerics) != (served.model, served.numerics) {
            return Err(MoveRefusal::ModelDiffers.into());
        }
        let arrival = Arrival {
            tokens,
            prompt_tokens: start.prompt_tokens,
            sampling: start.sampling.clone(),
            pages: inbound.pages.iter().map(payload).collect(),
            tail: engine_tail(&tail.page),
            salt: keys.prefix_salt.clone(),
            pace: Duration::from_millis(u64::from(start.terms.pace_ms)),
        };
        self.input(Input::Ticket(ticket))?;
        let model = self.context.engine.model().clone();
        let (kept_keys, kept_handover) = (keys.clone(), handover.clone());
        let durable = self.dir.apart(move |dir| {
            dir.save_handover(&kept_handover)?;
            let held = Held::take_over(dir, &kept_keys, received, journal, &model)?;
            held.may_begin()?;
            dir.save_keys(&kept_keys)?;
            Ok::<_, Refusal>(held)
        });
        let engine = self.context.engine.clone();
        // It decodes while the disk works. Its tokens wait in its channel until everything is durable, and are then held
        // back until the confirm is final.
        let arrived = async { Ok::<_, Refusal>(engine.start(arrival, false).await?) };
        let (durable, arrived) = tokio::join!(durable, arrived);
        let (held, (sequence, started)) = match (durable.map_err(Refusal::from).flatten(), arrived) {
            (Ok(held), Ok(arrived)) => (held, arrived),
            (Err(refusal), Ok(_)) | (_, Err(refusal)) => return Err(refusal),
        };
        let holder_key = keys.holder.key().public_key();
        if let Some(inbound) = &mut self.inbound {
            // The tenant seals to it once that is built; until then its secret half has no use and is dropped.
            inbound.exchange_key = Some(ExchangeSecret::draw(&mut fill_random).public_key());
            inbound.confirm_submitted_at = Some(Instant::now());
            self.room = inbound.room.take().map(Room::entered);
        }
        self.sequence = Some(sequence);
        self.note_recomputed(held.next().get(), &started);
        self.held = Some(held);
        self.hold(keys);
        self.input(Input::Verified { holder_key })?;
        Ok(())
    }

    /// The confirm.
    pub(crate) fn confirm_event(&mut self, ticket: &SignedTicket, holder_key: PublicKey) -> Option<Event> {
        let inbound = self.inbound.as_ref()?;
        let (opened, exchange_key) = (inbound.opened.as_ref()?, inbound.exchange_key?);
        let signature = ticket.sign_opened(&opened.hop.confirm, &holder_key, &exchange_key);
        Some(Event::KeyConfirmed(KeyConfirmed { ticket: ticket.clone(), holder_key, exchange_key, opened: signature }))
    }

    /// Forgets a move to this node, prekey first.
    pub(crate) fn drop_inbound(&mut self) {
        if self.inbound.take().is_some() {
            self.erase_hop();
        }
    }

    pub(super) fn refuse_hop(&mut self, refusal: &Refusal) {
        tracing::warn!(wallet = %self.wallet.0, code = refusal.code(), %refusal, "the move to this node is given up");
        // An error means that the offer is closed already.
        let _ = self.input(Input::Abort);
        if self.handoff.mode() == Mode::Idle {
            self.drop_inbound();
        }
    }

    fn policy_of_record(&self) -> Result<PolicyCommitment, Refusal> {
        let state = self.context.replica.state();
        Ok(state.state.wallet(self.wallet).ok_or(MoveRefusal::OfferUnknown)?.policy)
    }
}

/// The parts of a tail, read.
struct Arrived {
    received: Received,
    /// All that stands in the source's journal.
    journal: Vec<Entry>,
    /// The tokens in it.
    tokens: Vec<u32>,
}

impl Arrived {
    /// `wallet` is what the ledger has of it, `kv` the full pages that came, hashed under `key`.
    fn read(
        tail: &TailContents,
        ticket: &SignedTicket,
        wallet: &WalletRecord,
        (kv, key): (Bound, &PageHashKey),
    ) -> Result<Self, Refusal> {
        let malformed = |reason: String| Refusal::from(MoveRefusal::Unverified { reason });
        let WalletRecord { address, epoch, holder_key, policy, .. } = *wallet;
        let source = Source { wallet: address, epoch, holder_key, policy };
        let journal = intake::journal(&tail.journal)?;
        let tokens: Vec<u32> = journal.iter().flat_map(Entry::tokens).copied().collect();
        let beside = Beside { tokens: &tokens, key, kv, tail: tail_of(&tail.page, kv) };
        let received = receive(&tail.continuation, &source, &beside)?;
        let record =
            scheduler::record::BatchRecord::decode(&tail.record).map_err(|error| malformed(error.to_string()))?;
        if record.identity.wallet != ticket.ticket.wallet {
            return Err(malformed("the record is of another wallet".to_owned()));
        }
        if ticket.ticket.next_token.get() as usize != tokens.len() {
            return Err(malformed("ticket and tokens disagree on the position".to_owned()));
        }
        Ok(Self { received, journal, tokens })
    }
}

impl Inbound {
    fn offer_content(&self) -> Result<wallet::ticket::ContentCommitment, Refusal> {
        Ok(self.offer.as_ref().ok_or(MoveRefusal::OfferUnknown)?.1.content)
    }
}

/// The stream of these full pages.
pub(crate) fn bound(pages: &[Page]) -> Bound {
    let mut roots = Accumulator::new();
    pages.iter().for_each(|page| roots.push(page.head()));
    Bound { root: roots.root(), to: roots.len() }
}

/// Checks pages and tail against what the source committed to in the offer and in the ticket.
fn verify(
    pages: &[Page],
    tail: &TailContents,
    opened: &Opened,
    offered: &wallet::ticket::ContentCommitment,
    ticket: &SignedTicket,
) -> Result<(), Refusal> {
    let secrets = &opened.secrets;
    let mut chain = ContentChain::new(secrets.page_hash_key.clone());
    let mut offer_holds = secrets.pages == 0 && chain.commit_pages(&secrets.blind) == *offered;
    for page in pages {
        chain.push(&page.head().hash);
        if chain.pages() == secrets.pages {
            offer_holds = chain.commit_pages(&secrets.blind) == *offered;
        }
    }
    if !offer_holds {
        return Err(wallet::refusal::Refusal::ContentMismatch.into());
    }
    tail.verify(&chain, &secrets.page_hash_key, &ticket.ticket.content)?;
    if !tail.page.is_empty() {
        let page = Page::parse(tail.page.clone(), &secrets.stream, Some(&secrets.page_hash_key))?;
        if page.index().get() != chain.pages() {
            return Err(MoveRefusal::Unverified { reason: "the tail page is of another index".to_owned() }.into());
        }
    }
    Ok(())
}
