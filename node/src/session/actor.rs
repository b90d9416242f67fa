//! The task of one session: it takes in what happens, asks the hand-over machine, and carries its effects out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use gpu::{Started, continuation::Divergence};
use ledger::event::{CloseReason, Event, WalletCreated};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use wallet::{
    chain::ChainKey,
    grant::WalletAddress,
    handoff::{Change, Effect, Handoff, Input, Intent, Mode, Phase, Stopped},
    units::{BlockHeight, KeyEpoch, TokenCount, TokenPosition},
};

use super::{
    Message, PeerAsk, Session, SessionCommand, Sessions, Terms,
    context::{NodeContext, now, random},
    disk::{HolderKeys, HolderSeed, SessionDir},
    evidence::Evidence,
    held::Held,
    ledger::Submissions,
    line::{Place, Room},
    rebuild::Again,
    refusal::Refusal,
    request::{GenerateReply, GenerateRequest},
    start::{SessionStart, SessionTerms},
    token_stream::TokenStream,
    tokens::End,
    view::{DivergedView, DoubtView, HopView, SessionMode, SessionView},
};
use crate::{
    engine::{Arrival, EngineEvent, EngineRefusal, Sequence},
    ledger_feed::FinalFact,
    migration::{
        inbound::Inbound,
        landing::Landed,
        outbound::{AskedMove, Outbound},
    },
    peer::SessionReply,
};

/// How often a session looks at its deadlines.
const TICK: Duration = Duration::from_millis(20);

/// See the module.
pub(crate) struct Actor {
    pub(crate) sessions: Sessions,
    pub(crate) context: Arc<NodeContext>,
    pub(crate) session: Arc<Session>,
    pub(crate) wallet: WalletAddress,
    pub(crate) dir: SessionDir,
    pub(crate) handoff: Handoff,
    pub(crate) keys: Option<HolderKeys>,
    pub(crate) held: Option<Held>,
    pub(crate) sequence: Option<Sequence>,
    /// Tokens decoded ahead of a confirm.
    pub(crate) held_back: Vec<EngineEvent>,
    /// A move that waits for the wallet's creation.
    pub(crate) asked: Option<AskedMove>,
    pub(crate) outbound: Option<Outbound>,
    pub(crate) inbound: Option<Inbound>,
    /// A confirmed move to this node whose figures are not whole yet.
    pub(crate) landed: Option<Landed>,
    /// The last offer that became final.
    pub(crate) offer: Option<Arc<FinalFact>>,
    pub(crate) submissions: Submissions,
    pub(crate) evidence: Evidence,
    /// The wallet is to be closed as soon as it can be.
    pub(crate) close: Option<CloseReason>,
    pub(crate) suspended: bool,
    /// See the view.
    pub(crate) recomputed: Option<TokenCount>,
    pub(crate) failed: Option<String>,
    /// Evidence that was met here: what the file beside the session has.
    pub(super) divergences: Vec<Divergence>,
    /// Its room in the engine, as long as it has a sequence there.
    pub(crate) room: Option<Room>,
    /// Its place in the line of those that wait for room in the engine.
    pub(super) place: Option<Place>,
    /// When it is brought back into the engine.
    pub(super) again: Again,
    effects: VecDeque<Effect>,
    facts: mpsc::UnboundedReceiver<Arc<FinalFact>>,
    height: BlockHeight,
    over_at: Option<Instant>,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
}

impl Actor {
    /// The first holder's: keys and files made, the prompt admitted, the creation submitted. The caller has verified the
    /// grant and claimed its wallet.
    pub(crate) async fn create(
        sessions: &Sessions,
        wallet: WalletAddress,
        request: GenerateRequest,
    ) -> Result<Self, Refusal> {
        let context = sessions.context();
        let GenerateRequest { tenant, prompt, sampling, pace_ms, resume_secret_hash, request_id } = request;
        let terms = &tenant.grant.terms;
        let served = context.engine.served();
        for (fits, reason) in [
            (terms.consortium == context.consortium.id(), "it is for another consortium"),
            (terms.holder == context.me, "it names another holder"),
            (terms.model == served.model && terms.numerics == served.numerics, "it is for another model"),
            (terms.policy == tenant.policy.commitment(), "the policy is not the one that it commits to"),
            (terms.tenant_key == tenant.key.public_key(), "the tenant's key is not the one that it names"),
        ] {
            if !fits {
                return Err(Refusal::GrantInvalid { reason });
            }
        }
        let opening = tenant.policy.open(&context.region)?;
        opening.verify(&terms.policy)?;

        let chain = ChainKey::first(&wallet, &tenant.secret);
        let holder = HolderSeed(random());
        let (holder_key, model, numerics) = (holder.key(), terms.model, terms.numerics);
        let created = WalletCreated { grant: tenant.grant, holder_key: holder_key.public_key(), opening };
        let creation = context.sign(Event::WalletCreated(created), Some(&holder_key));
        let keys = HolderKeys {
            epoch: KeyEpoch::ZERO,
            page_hash: chain.page_hash_key(&wallet),
            chain,
            holder,
            tenant_key: tenant.key,
            policy: tenant.policy,
            resume_secret_hash,
            prefix_salt: tenant.prefix_salt,
            rest_salt: random(),
            creation: Some(Box::new(creation)),
        };
        let prompt_tokens = TokenCount::new(u32::try_from(prompt.len()).unwrap_or(u32::MAX));
        let sampling = sampling.to_engine().map_err(EngineRefusal::from)?;
        let cached_tokens = TokenCount::ZERO;
        let mut terms = SessionTerms { cached_tokens, pace_ms, origin: context.region.clone(), request_id };
        // Before the engine has it.
        terms.encode()?;
        let arrival = Arrival {
            tokens: prompt.clone(),
            prompt_tokens,
            sampling: sampling.clone(),
            pages: Vec::new(),
            tail: None,
            pace: Duration::from_millis(u64::from(pace_ms)),
            salt: keys.prefix_salt.clone(),
        };
        let blocks = context.engine.blocks_needed(prompt_tokens, &sampling);
        let room = context.line.enter(wallet, blocks, &context.engine).await?;
        let (sequence, started) = context.engine.start(arrival, false).await?;
        terms.cached_tokens = started.cached;
        let start = SessionStart { prompt_tokens, sampling, model, numerics, terms };
        let handoff = Handoff::create(context.me, wallet, context.boot_nonce, now());
        let mut actor = Self::new(sessions, wallet, handoff);
        actor.sequence = Some(sequence);
        actor.room = Some(room.entered());
        let (model, kept_keys) = (context.engine.model().clone(), keys.clone());
        let begun = actor.dir.apart(move |dir| {
            dir.save_keys(&kept_keys)?;
            Held::begin(dir, &kept_keys, start, &prompt, &model)
        });
        match begun.await.map_err(Refusal::from).flatten() {
            Ok(held) => actor.held = Some(held),
            Err(refusal) => {
                actor.release();
                // The keys may be on the disk by now, and the next start would begin the session with them.
                if let Err(fault) = actor.dir.apart(|dir| dir.erase_keys()).await.flatten() {
                    tracing::warn!(wallet = %wallet.0, %fault, "what was written of a session that did not begin stays");
                }
                return Err(refusal);
            }
        }
        actor.hold(keys);
        actor.submit_creation();
        Ok(actor)
    }

    /// For a wallet in which this node has had no part.
    pub(crate) fn observe(sessions: &Sessions, wallet: WalletAddress) -> Self {
        let context = sessions.context();
        Self::new(sessions, wallet, Handoff::observe(context.me, wallet, context.boot_nonce, now()))
    }

    pub(super) fn new(sessions: &Sessions, wallet: WalletAddress, handoff: Handoff) -> Self {
        let context = sessions.context().clone();
        let (sender, inbox) = mpsc::unbounded_channel();
        let view = SessionView {
            wallet,
            mode: SessionMode::Over,
            holder: None,
            epoch: KeyEpoch::ZERO,
            head: Default::default(),
            emitted: TokenPosition::ZERO,
            prompt_tokens: TokenCount::ZERO,
            cached_tokens: TokenCount::ZERO,
            recomputed_tokens: None,
            finished: None,
            moved_to: None,
            median_step: None,
            pace_ms: 0,
            hop: None,
            waits_for_room: None,
            failed: None,
            in_doubt: Vec::new(),
            diverged: None,
        };
        let session = Session {
            wallet,
            view: watch::Sender::new(view),
            tokens: TokenStream::new(wallet, TokenPosition::ZERO),
            inbox: sender,
            terms: Default::default(),
            candidates: Default::default(),
        };
        Self {
            sessions: sessions.clone(),
            session: Arc::new(session),
            wallet,
            dir: context.disk.session(wallet),
            handoff,
            keys: None,
            held: None,
            sequence: None,
            held_back: Vec::new(),
            asked: None,
            outbound: None,
            inbound: None,
            landed: None,
            offer: None,
            submissions: Submissions::default(),
            evidence: Evidence::default(),
            close: None,
            suspended: false,
            recomputed: None,
            failed: None,
            divergences: Vec::new(),
            room: None,
            place: None,
            again: Again::default(),
            effects: VecDeque::new(),
            facts: context.feed.subscribe(wallet),
            height: BlockHeight::ZERO,
            over_at: None,
            inbox,
            context,
        }
    }

    /// What the creation is answered with.
    pub(crate) fn generate_reply(&self) -> GenerateReply {
        let start = self.held.as_ref().map(|held| &held.start);
        GenerateReply {
            wallet: self.wallet,
            served_by: self.context.me,
            prompt_tokens: start.map_or(TokenCount::ZERO, |start| start.prompt_tokens),
            cached_tokens: start.map_or(TokenCount::ZERO, |start| start.terms.cached_tokens),
        }
    }

    /// Works until the session is over and its tokens have lingered.
    pub(crate) async fn run(&mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish();
        loop {
            tokio::select! {
                Some(fact) = self.facts.recv() => self.learn(&fact).await,
                event = next_event(&mut self.sequence) => match event {
                    Some(event) => self.on_engine(event).await,
                    None => self.sequence = None,
                },
                message = self.inbox.recv() => match message {
                    Some(Message::Stop) | None => return,
                    Some(message) => self.on_message(message).await,
                },
                _ = tick.tick() => self.on_tick().await,
            }
            self.carry_out().await;
            self.publish();
            if self.has_lingered() {
                break;
            }
        }
        self.sessions.remove(self.wallet);
    }

    /// Learns everything that was final when the node started, then works.
    pub(crate) async fn run_restored(&mut self) {
        self.count_parked_pages().await;
        let Some(was_behind) = self.until_recovered().await else { return };
        self.learn_what_is_final().await;
        self.caught_up(was_behind);
        self.carry_out().await;
        self.run().await;
    }

    /// Learns all that this node knows to be final.
    async fn learn_what_is_final(&mut self) {
        let known = self.context.replica.state().height;
        self.context.feed.told(self.wallet, known).await;
        while let Ok(fact) = self.facts.try_recv() {
            self.learn(&fact).await;
        }
    }

    /// Gives the machine an input; its effects are carried out when the present event is done.
    pub(crate) fn input(&mut self, input: Input) -> Result<(), wallet::refusal::Refusal> {
        let mut effects = Vec::new();
        self.handoff.step(now(), input, &mut effects)?;
        self.effects.extend(effects);
        Ok(())
    }

    /// Puts the keys in place, with what others may ask about them.
    pub(crate) fn hold(&mut self, keys: HolderKeys) {
        let terms = Terms {
            allowed: keys.policy.allowed().cloned().collect(),
            resume_secret_hash: keys.resume_secret_hash,
            prefix_tag: keys.prefix_salt.tag(),
        };
        // They never change, so that a second hold brings the same.
        let _ = self.session.terms.set(terms);
        if let Some(held) = &self.held {
            self.session.tokens.begin_at(TokenPosition::new(held.start.prompt_tokens.get()));
        }
        self.keys = Some(keys);
    }

    pub(crate) async fn carry_out(&mut self) {
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::Submit { head, intent } => self.submit(head, &intent),
                Effect::PreCopy { receiver } => self.begin_hop(receiver).await,
                // The sequence stands already: the freeze follows from the step boundary.
                Effect::Freeze => {}
                Effect::CutTicket { head, epoch, receiver, next_token } => {
                    self.cut_ticket(head, epoch, receiver, next_token).await;
                }
                Effect::DecodeAhead { .. } => self.go_on().await,
                Effect::Emit { .. } => self.serve().await,
                Effect::Stop { why } => self.stop(why).await,
                Effect::EraseKeys { epoch } => self.erase(epoch),
            }
        }
    }

    async fn learn(&mut self, fact: &Arc<FinalFact>) {
        if let Err(refusal) = self.input(Input::Final(fact.fact.clone())) {
            // The feed is in order and starts with the creation.
            tracing::error!(wallet = %self.wallet.0, %refusal, "a final entry does not fit");
            return;
        }
        self.submissions.retain_head(self.handoff.view().head);
        match &fact.fact.change {
            Change::Created { .. } => self.creation_is_final(),
            Change::Offered { receiver, .. } => {
                self.offer = Some(fact.clone());
                self.offer_is_final(fact, *receiver);
            }
            Change::Accepted => self.acceptance_is_final(),
            Change::Confirmed { .. } => self.confirm_is_final(fact).await,
            Change::Aborted | Change::Touched { .. } => self.offer_is_closed(),
            Change::Closed => self.wallet_is_closed(),
        }
    }

    fn creation_is_final(&mut self) {
        if let Some(keys) = &mut self.keys
            && keys.creation.take().is_some()
            && let Err(fault) = self.dir.save_keys(keys)
        {
            tracing::error!(%fault, "session files");
        }
    }

    async fn on_message(&mut self, message: Message) {
        match message {
            Message::Command(command, reply) => self.on_command(command, reply).await,
            Message::Record(reply) => {
                let record = self.record().await.map(Box::new);
                // An error means that the tick gave up waiting.
                let _ = reply.send(record);
            }
            Message::Peer(from, ask, reply) => {
                let answer = match ask {
                    PeerAsk::Reserve(reserve, room) => {
                        // Else the end of an earlier hop would look like the end of this one.
                        self.learn_what_is_final().await;
                        self.on_reserve(from, &reserve, room)
                    }
                    PeerAsk::Envelope(offer) => self.on_envelope(from, offer),
                    PeerAsk::Freeze(freeze) => self.on_freeze(from, freeze).await,
                    PeerAsk::Report(report) => self.on_report(from, *report),
                };
                // An error means that the connection broke; the peer asks again.
                let _ = reply.send(answer.unwrap_or_else(|refusal| SessionReply::Refused(refusal.to_peer())));
            }
            Message::Settled(id, outcome) => self.on_settled(id, outcome),
            Message::Reserved(reserved) => self.on_reserved(reserved),
            Message::Answer(answer) => self.on_answer(answer).await,
            Message::HopPages => self.on_hop_pages().await,
            Message::HopRoom => self.fill_hop().await,
            Message::SealAnew => {
                if let Err(fault) = self.dir.seal_anew() {
                    tracing::error!(wallet = %self.wallet.0, %fault, "still sealed under the node's key of before");
                }
            }
            // Taken up by the loop.
            Message::Stop => {}
        }
    }

    pub(super) async fn on_command(&mut self, command: SessionCommand, reply: oneshot::Sender<CommandOutcome>) {
        let outcome = match command {
            SessionCommand::Migrate { to, decision, rule } => return self.migrate(to, decision, rule, reply),
            SessionCommand::Suspend { until_read } => self.suspend(until_read).await,
            SessionCommand::Resume => self.resume().await,
            SessionCommand::Resolve { effect, how } => self.resolve(effect, how).await,
            SessionCommand::Close => self.end(CloseReason::Tenant).await,
            SessionCommand::Evict { decision } => self.evict(decision).await,
        };
        // Whoever asked may look at once.
        self.publish();
        // An error means that nobody waits any more.
        let _ = reply.send(outcome.map(|()| super::CommandReply::Done));
    }

    async fn on_tick(&mut self) {
        let height = *self.context.feed.height().borrow();
        if height != self.height {
            self.height = height;
            // The machine takes heights in any mode.
            let _ = self.input(Input::Height(height));
        }
        self.retry_submissions();
        self.watch_outbound();
        self.watch_inbound().await;
        self.watch_engine().await;
        self.give_evidence();
        self.close_if_due();
    }

    /// Notes what the engine had to compute again of `known` tokens. The last is computed in any case: it chooses the
    /// next.
    pub(crate) fn note_recomputed(&mut self, known: u32, started: &Started) {
        let again = known.saturating_sub(1).saturating_sub(started.computed.get());
        self.recomputed = Some(TokenCount::new(again));
    }

    async fn stop(&mut self, why: Stopped) {
        self.release();
        self.suspended = false;
        self.held_back.clear();
        let end = match why {
            Stopped::HandedOver => self.handoff.view().holder.map(|(holder, _)| End::Moved(holder)),
            Stopped::Closed => None,
            Stopped::OfferClosed => {
                self.drop_inbound();
                self.forget_keys();
                self.session.tokens.end(self.handoff.view().holder.map(|(holder, _)| End::Moved(holder)));
                return;
            }
            // It touches next, and goes on. If it turns out to be elsewhere, readers are told then.
            Stopped::OtherBoot if self.touches_next() => return,
            Stopped::OtherBoot => Some(End::Broken("another process with this node's key serves it".to_owned())),
        };
        match (&end, &self.held) {
            // A finished session keeps its end.
            (_, Some(held)) if held.finished.is_some() => {}
            (None, _) => self.session.tokens.end(Some(End::Broken("the session was closed".to_owned()))),
            _ => self.session.tokens.end(end),
        }
    }

    fn touches_next(&self) -> bool {
        let touches = |effect: &Effect| matches!(effect, Effect::Submit { intent: Intent::Touch { .. }, .. });
        self.effects.iter().any(touches)
    }

    fn erase(&mut self, epoch: KeyEpoch) {
        if self.keys.as_ref().is_some_and(|keys| keys.epoch <= epoch) {
            self.forget_keys();
        }
    }

    /// Erases the holder's keys and files. What was emitted stays readable for a while.
    pub(crate) fn forget_keys(&mut self) {
        self.keys = None;
        self.held = None;
        if let Err(fault) = self.dir.erase_keys() {
            tracing::error!(%fault, "keys could not be erased");
        }
    }

    pub(super) fn publish(&mut self) {
        self.leave_line_if_settled();
        let handoff = self.handoff.view();
        let mode = match self.handoff.mode() {
            _ if self.inbound.is_some() && self.handoff.mode() == Mode::Idle => SessionMode::Receiving,
            Mode::Idle => SessionMode::Over,
            Mode::Serving if self.suspended => SessionMode::Suspended,
            Mode::Serving => SessionMode::Serving,
            Mode::Frozen => SessionMode::Frozen,
            Mode::Restarted => SessionMode::Restarted,
            Mode::Ahead => SessionMode::Ahead,
        };
        let holder = handoff.holder.map(|(holder, _)| holder);
        let is_elsewhere = mode == SessionMode::Over && holder.is_some_and(|holder| holder != self.context.me);
        let is_over = mode == SessionMode::Over && !self.awaits_creation();
        if is_over && self.session.tokens.ended().is_none() {
            // Learnt after a restart, or a move to this node came to nothing: nothing stopped that had begun, and readers
            // wait all the same.
            let was_here = self.session.terms.get().is_some();
            let closed = was_here.then(|| End::Broken("the session was closed".to_owned()));
            let end = holder.filter(|_| is_elsewhere).map(End::Moved).or(closed);
            if end.is_some() {
                self.session.tokens.end(end);
            }
        }
        let hop = self.outbound.as_ref().map(|out| HopView { peer: out.to, inbound: false, blocks: out.blocks });
        let hop = hop.or(self.inbound.as_ref().map(|inbound| inbound.view()));
        let before = self.session.view.borrow().clone();
        let mut view = SessionView {
            mode,
            holder,
            epoch: handoff.epoch,
            head: handoff.head,
            emitted: self.session.tokens.next(),
            moved_to: holder.filter(|_| is_elsewhere),
            median_step: self.context.engine.median_step(),
            hop,
            recomputed_tokens: self.recomputed,
            waits_for_room: self.place.as_ref().map(Place::view),
            failed: self.failed.clone(),
            diverged: (!self.divergences.is_empty())
                .then(|| DivergedView { count: self.divergences.len(), file: self.dir.divergences_file() }),
            ..before.clone()
        };
        if let Some(held) = &self.held {
            view.prompt_tokens = held.start.prompt_tokens;
            view.cached_tokens = held.start.terms.cached_tokens;
            view.pace_ms = held.start.terms.pace_ms;
            view.finished = held.finished;
            view.in_doubt = held.journal().in_doubt().iter().map(DoubtView::of).collect();
        }
        if view != before {
            self.session.view.send_replace(view);
        }
    }

    /// Until its creation is final a session that was restarted is nobody's, and goes on once it is.
    fn awaits_creation(&self) -> bool {
        let is_absent = self.handoff.view().phase == Phase::Absent;
        is_absent && self.session.terms.get().is_some() && self.failed.is_none()
    }

    /// Whether nothing will happen here any more and readers had their time.
    fn has_lingered(&mut self) -> bool {
        let idle = self.handoff.mode() == Mode::Idle && self.inbound.is_none() && self.outbound.is_none();
        if !idle || self.awaits_creation() {
            self.over_at = None;
            return false;
        }
        // One that was made for a reservation waits for it.
        let patience = &self.context.patience;
        let linger = if self.session.terms.get().is_some() { patience.linger } else { patience.reservation };
        self.over_at.get_or_insert_with(Instant::now).elapsed() >= linger
    }
}

pub(crate) type CommandOutcome = Result<super::CommandReply, Refusal>;

/// The next token; none if the engine is lost.
async fn next_event(sequence: &mut Option<Sequence>) -> Option<EngineEvent> {
    match sequence {
        Some(sequence) => sequence.events.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
