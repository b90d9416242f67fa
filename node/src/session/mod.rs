//! The sessions of a node: live batches that it serves, that move away from it, or that are on their way to it.
//!
//! Each session is one task, the [`actor`], which owns the hand-over machine of its wallet, the keys, the journal and
//! the sequence in the engine. Everybody else holds a [`Session`]: a cheap handle that shows what was emitted and
//! passes commands on.

pub(crate) mod actor;
pub mod agent;
mod claim;
pub mod command;
pub mod context;
pub(crate) mod continuation;
pub mod disk;
mod divergence;
mod emission;
mod evidence;
#[cfg(test)]
mod golden;
pub(crate) mod held;
mod ledger;
pub mod line;
mod parking;
mod program;
mod rebuild;
mod record;
pub mod refusal;
pub mod relay;
pub mod request;
mod restart;
pub mod start;
#[cfg(test)]
mod tests;
pub mod token_stream;
pub mod tokens;
pub mod view;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use scheduler::record::{BatchRecord, RankedCandidate};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::{PublicKey, RegionId},
    units::{NodeId, TokenPosition},
};

use crate::{
    migration::{
        inbound::keep_room,
        messages::{Freeze, OfferRef, Reserve},
        refusal::Refusal as MoveRefusal,
        report::MoveReport,
    },
    peer::{SessionReply, TokensRequest},
};
use actor::Actor;
use claim::{Claim, Claims};
use command::{CommandReply, SessionCommand};
use context::NodeContext;
use line::Room;
use refusal::Refusal;
use request::{GenerateReply, GenerateRequest, ResumeSecret};
use restart::Found;
use token_stream::TokenStream;
use tokens::StreamItem;
use view::SessionView;

/// How long the sessions' tasks may take to end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Folders that are read at once when a node starts.
const READ_AT_ONCE: usize = 4;

/// Moves whose report is kept.
const MOVES_KEPT: usize = 1024;

/// All sessions of a node; clones share them.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
}

struct Shared {
    context: Arc<NodeContext>,
    sessions: Mutex<BTreeMap<WalletAddress, Arc<Session>>>,
    claims: Claims,
    moves: Mutex<VecDeque<MoveReport>>,
    /// The sessions' own, so that a node which stopped has none left.
    tasks: Mutex<JoinSet<()>>,
}

/// A handle to one session.
#[derive(Debug)]
pub struct Session {
    wallet: WalletAddress,
    view: watch::Sender<SessionView>,
    tokens: TokenStream,
    inbox: mpsc::UnboundedSender<Message>,
    terms: OnceLock<Terms>,
    candidates: Mutex<Vec<RankedCandidate>>,
}

/// What a holder knows of a session once it has its keys, and never changes.
#[derive(Debug)]
pub(crate) struct Terms {
    allowed: BTreeSet<RegionId>,
    resume_secret_hash: Digest,
    prefix_tag: Digest,
}

/// What the task of a session is told.
pub(crate) enum Message {
    /// By an operator or the scheduler.
    Command(SessionCommand, oneshot::Sender<Result<CommandReply, Refusal>>),
    /// For the tick.
    Record(oneshot::Sender<Option<Box<BatchRecord>>>),
    /// By another node.
    Peer(NodeId, PeerAsk, oneshot::Sender<SessionReply>),
    /// An entry that the session submitted is final, or will not be.
    Settled(Digest, Result<(), ::ledger::shell::replica::SubmitError>),
    /// The destination's answer to a reservation.
    Reserved(Result<crate::migration::messages::Reserved, Refusal>),
    /// The node's key was rotated.
    SealAnew,
    /// The node stops.
    Stop,
    /// There are pages in the hop stream towards this node, or it ended.
    HopPages,
    /// There is room in the hop stream from this node.
    HopRoom,
    /// The source's answer to the receiver.
    Answer(Result<SessionReply, crate::peer::PeerFault>),
}

/// What another node asks of a session.
#[derive(Debug)]
pub(crate) enum PeerAsk {
    /// With the room that is kept for it.
    Reserve(Box<Reserve>, Room),
    Envelope(OfferRef),
    Freeze(Freeze),
    Report(Box<MoveReport>),
}

impl Sessions {
    /// Seals the keys of all sessions under this key of the node, which the ledger names now.
    pub fn seal_under(&self, key: PublicKey) {
        self.shared.context.disk.seal_under(key);
        for session in self.lock().values() {
            // An error means that the session is over.
            let _ = session.inbox.send(Message::SealAnew);
        }
    }

    /// No sessions yet; [`Self::restore`] brings those of the disk back.
    pub fn new(context: Arc<NodeContext>) -> Self {
        let shared = Shared {
            context,
            sessions: Mutex::default(),
            claims: Claims::default(),
            moves: Mutex::default(),
            tasks: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// What they work with.
    pub fn context(&self) -> &Arc<NodeContext> {
        &self.shared.context
    }

    /// The session of a wallet, if it is or was here.
    pub fn get(&self, wallet: WalletAddress) -> Option<Arc<Session>> {
        self.lock().get(&wallet).cloned()
    }

    /// All of them, by address.
    pub fn list(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }

    /// The latest moves from and to this node, oldest first.
    pub fn moves(&self) -> Vec<MoveReport> {
        self.shared.moves.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Starts a session: admits its prompt and returns when it decodes. The ledger is told meanwhile.
    ///
    /// # Errors
    /// [`Refusal`] if the grant, the prompt or the engine do not allow it.
    pub async fn create(&self, request: GenerateRequest) -> Result<GenerateReply, Refusal> {
        let wallet = request.tenant.grant.verify()?;
        let claim = self.claim(wallet)?;
        let (sessions, (reply, created)) = (self.clone(), oneshot::channel());
        // Not in the task of a client that may hang up: what is written for it by then would be a session of which nobody
        // knows, and the next start would begin it.
        self.run(async move {
            let mut actor = match Actor::create(&sessions, wallet, request).await {
                Ok(actor) => actor,
                // Nobody may wait any more, here and below.
                Err(refusal) => return drop(reply.send(Err(refusal))),
            };
            sessions.lock().insert(wallet, actor.session.clone());
            drop(claim);
            let _ = reply.send(Ok(actor.generate_reply()));
            actor.run().await;
        });
        created.await.unwrap_or(Err(Refusal::Stopped))
    }

    /// Brings the sessions on the disk back. Each serves again only after a touch of this boot, or is closed.
    pub async fn restore(&self) {
        let wallets = match self.shared.context.disk.wallets() {
            Ok(wallets) => wallets,
            Err(fault) => {
                tracing::error!(%fault, "the sessions on the disk cannot be listed");
                return;
            }
        };
        let read = |wallet| {
            let (dir, model) = (self.context().disk.session(wallet), self.context().engine.model().clone());
            async move { (wallet, dir.apart(move |dir| Found::read(dir, &model)).await.flatten()) }
        };
        let mut found = stream::iter(wallets).map(read).buffered(READ_AT_ONCE);
        while let Some((wallet, found)) = found.next().await {
            match found {
                Ok(Some(found)) => {
                    let mut actor = Actor::restore(self, wallet, found);
                    self.lock().insert(wallet, actor.session.clone());
                    self.run(async move { actor.run_restored().await });
                }
                Ok(None) => {}
                Err(fault) => {
                    tracing::error!(wallet = %wallet.0, %fault, "the session's files are left as they are until the next start");
                }
            }
        }
    }

    /// The session of a wallet that `reserve` is about, made for it if this node had no part in the wallet.
    pub(crate) async fn reserve(&self, from: NodeId, reserve: Reserve) -> SessionReply {
        let context = self.context();
        let room = match keep_room(context, from, &reserve).await {
            Ok(room) => room,
            Err(refusal) => return SessionReply::Refused(Refusal::from(refusal).to_peer()),
        };
        let session = self.lock().entry(reserve.wallet).or_insert_with(|| self.observe(reserve.wallet)).clone();
        session.ask(from, PeerAsk::Reserve(Box::new(reserve), room)).await
    }

    /// Runs the session of a wallet in which this node has had no part.
    fn observe(&self, wallet: WalletAddress) -> Arc<Session> {
        let mut actor = Actor::observe(self, wallet);
        let session = actor.session.clone();
        self.run(async move { actor.run().await });
        session
    }

    /// Lets a node whose client knows the resume secret read the stream of tokens.
    pub(crate) fn tokens(&self, from: NodeId, request: &TokensRequest) -> SessionReply {
        let Some(session) = self.get(request.wallet) else {
            return SessionReply::Refused(Refusal::Unknown.to_peer());
        };
        if !session.is_resume_secret(&request.resume_secret) {
            return SessionReply::Refused(Refusal::ResumeSecretWrong.to_peer());
        }
        match session.tokens.offer(&self.context().exports, from) {
            Ok(()) => SessionReply::Tokens(session.tokens.stand()),
            Err(fault) => SessionReply::Refused(Refusal::from(MoveRefusal::of_stream(fault)).to_peer()),
        }
    }

    /// Keeps a report; a fuller one of the same move replaces it.
    pub(crate) fn note_move(&self, report: MoveReport) {
        let mut moves = self.shared.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let same =
            |known: &MoveReport| (known.wallet, known.epoch, known.from) == (report.wallet, report.epoch, report.from);
        match moves.iter_mut().find(|known| same(known)) {
            Some(known) => *known = report,
            None => moves.push_back(report),
        }
        if moves.len() > MOVES_KEPT {
            moves.pop_front();
        }
    }

    /// Ends every session's task and returns when they are over. What is on the disk stays.
    pub(crate) async fn stop(&self) {
        for session in self.list() {
            // An error means that it has ended.
            let _ = session.inbox.send(Message::Stop);
        }
        let mut tasks = std::mem::take(&mut *self.tasks());
        let ended = async { while tasks.join_next().await.is_some() {} };
        // What does not end by itself ends where it waits.
        let _ = tokio::time::timeout(STOP_WITHIN, ended).await;
        tasks.shutdown().await;
    }

    /// Runs a session's task.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.shared.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remove(&self, wallet: WalletAddress) {
        self.lock().remove(&wallet);
    }

    /// The right to create a wallet's session, held until it is among the sessions: so whoever gets it sees every session
    /// that was created before.
    fn claim(&self, wallet: WalletAddress) -> Result<Claim, Refusal> {
        let used = Refusal::GrantInvalid { reason: "it was used before" };
        let Some(claim) = self.shared.claims.take(wallet) else { return Err(used) };
        let is_on_ledger = self.context().replica.state().state.wallet(wallet).is_some();
        if is_on_ledger || self.get(wallet).is_some() { Err(used) } else { Ok(claim) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WalletAddress, Arc<Session>>> {
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Its wallet.
    pub fn wallet(&self) -> WalletAddress {
        self.wallet
    }

    /// How it stands.
    pub fn view(&self) -> SessionView {
        self.view.borrow().clone()
    }

    /// How it stands, and whenever that changes.
    pub fn watch(&self) -> watch::Receiver<SessionView> {
        self.view.subscribe()
    }

    /// The emitted tokens.
    pub fn tokens(&self) -> &TokenStream {
        &self.tokens
    }

    /// Every emitted token from `from` on, each once and in order, until the session ends here or moves on.
    pub fn stream(&self, from: TokenPosition) -> impl Stream<Item = StreamItem> + Send + use<> {
        self.tokens.stream(from)
    }

    /// Asks for something and waits until it is done.
    ///
    /// # Errors
    /// [`Refusal`] if it was not done.
    pub async fn command(&self, command: SessionCommand) -> Result<CommandReply, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Command(command, reply)).map_err(|_| Refusal::Stopped)?;
        answer.await.unwrap_or(Err(Refusal::Stopped))
    }

    /// The batch record as the tick reads it; none unless this node holds the session.
    pub async fn record(&self) -> Option<BatchRecord> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Record(reply)).ok()?;
        Some(*answer.await.ok()??)
    }

    /// Notes which nodes could take it, best first, as the tick ranked them: C4 of its record.
    pub fn set_candidates(&self, candidates: Vec<RankedCandidate>) {
        *self.candidates.lock().unwrap_or_else(PoisonError::into_inner) = candidates;
    }

    pub(crate) fn candidates(&self) -> Vec<RankedCandidate> {
        self.candidates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where the tenant lets it go; empty before this node holds it.
    pub fn allowed_regions(&self) -> BTreeSet<RegionId> {
        self.terms.get().map(|terms| terms.allowed.clone()).unwrap_or_default()
    }

    /// Names the salt of its prefix blocks; none before this node holds it.
    pub fn prefix_tag(&self) -> Option<Digest> {
        self.terms.get().map(|terms| terms.prefix_tag)
    }

    /// Whether a client that shows this secret may read the stream.
    pub fn is_resume_secret(&self, secret: &ResumeSecret) -> bool {
        self.terms.get().is_some_and(|terms| terms.resume_secret_hash == secret.hash())
    }

    /// The way to the session's task, for what is awaited beside it.
    pub(crate) fn inbox(&self) -> mpsc::UnboundedSender<Message> {
        self.inbox.clone()
    }

    pub(crate) async fn ask(&self, from: NodeId, ask: PeerAsk) -> SessionReply {
        let (reply, answer) = oneshot::channel();
        let sent = self.inbox.send(Message::Peer(from, ask, reply));
        let stopped = || SessionReply::Refused(Refusal::Stopped.to_peer());
        match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| stopped()),
            Err(_) => stopped(),
        }
    }
}
