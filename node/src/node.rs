//! A whole node: ledger, network, engine, sessions, router, tick and interfaces, composed and stopped in order.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use gpu::{EngineOptions, Model, ModelFault};
use ledger::shell::{
    clock::SystemClock,
    fault::Fault,
    replica::{Replica, ReplicaOptions},
};
use scheduler::{decision::LogHead, thresholds::Thresholds};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, watch},
    task::AbortHandle,
};
use wallet::{codec, digest::Digest, units::NodeId};

use crate::{
    api,
    checkpoint::Checkpoints,
    config::{EnginePlace, ValidConfig},
    engine::{
        EngineHandle, Placement,
        elsewhere::{Elsewhere, EngineHost, OpenEngine},
    },
    governance::Enactor,
    keys::KeyFault,
    ledger_feed::LedgerFeed,
    members::{self, Members},
    network::{
        Handler, NetworkFault, Options, Peer, PeerNetwork,
        ledger_transport::LedgerHandler,
        message::{Dispatch, SessionPeers},
        stream::{StreamExports, StreamLink, StreamPeers},
    },
    peer::{SessionLink, SessionReply, SessionRequest},
    routing::{self, Routing, links::Links, tenants::Tenants},
    schedule::{self, Schedule},
    session::{
        PeerAsk, Sessions,
        context::{COUNTS_AT_ONCE, NodeContext, Patience, random},
        disk::{DiskFault, SessionsDir},
        line::Line,
        refusal::Refusal,
    },
};

/// Prompt tokens that one step computes at most.
const PREFILL_CHUNK_TOKENS: usize = 64;

/// A running node.
pub struct RunningNode {
    sessions: Sessions,
    network: PeerNetwork,
    routing: Routing,
    schedule: Schedule,
    checkpoints: Checkpoints,
    enactor: Enactor,
    following: AbortHandle,
    api: api::Serving,
}

/// Puts something around the way to the peers.
pub type WrapLink = Box<dyn FnOnce(Arc<dyn SessionLink>) -> Arc<dyn SessionLink> + Send>;

/// Puts something around the way to the peers' streams.
pub type WrapStreams = Box<dyn FnOnce(Arc<dyn StreamLink>) -> Arc<dyn StreamLink> + Send>;

/// What a test may replace.
pub struct Seams {
    /// Stands between the node and its peers.
    pub link: WrapLink,
    /// Stands between the node's moves and its peers' streams.
    pub streams: WrapStreams,
    /// How long things may take.
    pub patience: Patience,
    /// The numbers in the scheduler's rules.
    pub thresholds: Thresholds,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartFault {
    /// The model's files.
    #[error(transparent)]
    Model(#[from] ModelFault),
    /// The peer network.
    #[error(transparent)]
    Network(#[from] NetworkFault),
    /// The ledger's files.
    #[error(transparent)]
    Ledger(#[from] Fault),
    /// The sessions' folder.
    #[error(transparent)]
    Disk(#[from] DiskFault),
    /// A tenant's master key.
    #[error(transparent)]
    Tenant(#[from] KeyFault),
    /// The decision log.
    #[error(transparent)]
    Decisions(#[from] schedule::log::LogFault),
    /// The HTTP listener or the admin socket.
    #[error(transparent)]
    Api(#[from] api::ServeFault),
    /// The system gives no thread or no file.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Default for Seams {
    fn default() -> Self {
        Self {
            link: Box::new(|link| link),
            streams: Box::new(|link| link),
            patience: Patience::default(),
            thresholds: Thresholds::default(),
        }
    }
}

impl RunningNode {
    /// Starts a node on the files of its data folder, and brings its sessions back.
    ///
    /// # Errors
    /// [`StartFault`].
    pub async fn start(config: ValidConfig) -> Result<Self, StartFault> {
        Self::start_with(config, Seams::default()).await
    }

    /// See [`Self::start`].
    ///
    /// # Errors
    /// [`StartFault`].
    pub async fn start_with(config: ValidConfig, seams: Seams) -> Result<Self, StartFault> {
        std::fs::create_dir_all(&config.data_dir)?;
        let tenants = Tenants::load(&config.tenants)?;
        let consortium = Arc::new(config.consortium.clone());
        let model = load_model(&config).await?;

        let parts = Arc::new(OnceLock::new());
        let streams = StreamExports::default();
        let session = SessionHandler(parts.clone());
        let handler = Dispatch { ledger: LedgerHandler::default(), session, stream: streams.clone() };
        let ledger = handler.ledger.clone();
        let network = PeerNetwork::start(network_options(&config), handler).await?;
        let options = ReplicaOptions {
            dir: config.data_dir.join("ledger").into(),
            consortium: consortium.clone(),
            me: config.me,
            node_key: config.keys.key().clone(),
            next_key: config.keys.next().cloned(),
            clock: Arc::new(SystemClock),
        };
        let replica = Replica::open(options, Arc::new(network.clone())).await?;
        // Nobody was answered until here.
        network.set_peers(Members::from(replica.state()).peers(config.me)).await;
        ledger.attach(replica.clone());

        let region = Members::from(replica.state()).node(config.me).map(|node| node.region);
        let links = Links::default();
        let link: Arc<dyn SessionLink> = Arc::new(SessionPeers::new(network.clone()));
        let stream_link: Arc<dyn StreamLink> = Arc::new(StreamPeers::new(network.clone()));
        let options = engine_options(&config);
        let place = placement(&config, &model, &link, &streams, &stream_link)?;
        let engine = EngineHandle::open(model.clone(), options, place)?;
        let guests = config.engine.serves.iter().copied();
        let context = Arc::new(NodeContext {
            me: config.me,
            region: region.ok_or(NetworkFault::NotAPeer { to: config.me })?,
            consortium,
            feed: LedgerFeed::start(&replica),
            replica,
            engine,
            link: (seams.link)(link),
            streams: (seams.streams)(stream_link.clone()),
            token_streams: Arc::new(StreamPeers::new(network.clone())),
            exports: streams.clone(),
            line: Line::default(),
            counts: Semaphore::new(COUNTS_AT_ONCE),
            links: links.clone(),
            disk: SessionsDir::open(&config.data_dir, &config.keys)?,
            keys: config.keys,
            boot_nonce: random(),
            decisions: watch::Sender::new(LogHead::default()),
            governing: Default::default(),
            patience: seams.patience,
        });
        let engines = EngineHost::new(model, options, guests, streams, stream_link);
        let sessions = Sessions::new(context);
        let routing = Routing::start(routing::Parts { sessions: sessions.clone(), links, tick: config.tick });
        let schedule = Schedule::start(schedule::Parts {
            sessions: sessions.clone(),
            routing: routing.clone(),
            data_dir: config.data_dir.clone(),
            tick: config.tick,
            thresholds: seams.thresholds,
        })
        .await?;
        let checkpoints = Checkpoints::start(sessions.context().clone());
        let following = {
            let (tips, rotating) = (sessions.context().replica.watch_state(), sessions.clone());
            let seal = move |key| rotating.seal_under(key);
            members::follow(network.clone(), tips, config.me, sessions.context().keys.clone(), seal)
        };
        let following = tokio::spawn(following).abort_handle();
        let enactor = Enactor::start(sessions.context().clone());
        let services = Services {
            sessions: sessions.clone(),
            routing: routing.clone(),
            schedule: schedule.clone(),
            checkpoints: checkpoints.clone(),
            engines,
        };
        // Set here and nowhere else.
        let _ = parts.set(services);
        sessions.restore().await;
        let model_name = config.model_dir.file_name().map(|name| name.to_string_lossy().into_owned());
        let api = api::serve(api::Parts {
            sessions: sessions.clone(),
            routing: routing.clone(),
            schedule: schedule.clone(),
            checkpoints: checkpoints.clone(),
            tenants,
            model_name: model_name.unwrap_or_default(),
            listen: config.api_listen,
            tls: config.tls,
            limits: config.limits,
            data_dir: config.data_dir,
        })
        .await?;
        Ok(Self { sessions, network, routing, schedule, checkpoints, enactor, following, api })
    }

    /// Its way to the peers.
    pub const fn network(&self) -> &PeerNetwork {
        &self.network
    }

    /// Its sessions.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Where HTTP is answered, with the port that port 0 became.
    pub fn api_address(&self) -> std::net::SocketAddr {
        self.api.address()
    }

    /// The checkpoints that it shows.
    pub const fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// The scheduler's service.
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Runs until SIGTERM or SIGINT comes or a part fails, then stops in order. The reason is set if a part failed.
    pub async fn run(self) -> Option<String> {
        let reason = tokio::select! {
            () = terminated() => None,
            reason = failed(self.sessions.context().replica.fault()) => Some(reason),
            reason = failed(self.schedule.fault()) => Some(reason),
        };
        self.stop().await;
        reason
    }

    /// Stops the interfaces first and the ledger last. Sessions stay on the disk; the next start brings them back.
    pub async fn stop(self) {
        self.api.stop().await;
        self.enactor.stop().await;
        self.checkpoints.stop().await;
        self.schedule.stop().await;
        self.routing.stop().await;
        self.sessions.stop().await;
        self.sessions.context().feed.stop();
        self.following.abort();
        self.network.stop().await;
        self.sessions.context().replica.shutdown().await;
    }
}

async fn load_model(config: &ValidConfig) -> Result<Arc<Model>, StartFault> {
    let folder = config.model_dir.clone();
    let model = tokio::task::spawn_blocking(move || Model::load(&folder))
        .await
        .map_err(|error| io::Error::other(error.to_string()))??;
    Ok(Arc::new(model))
}

fn engine_options(config: &ValidConfig) -> EngineOptions {
    let blocks = config.engine.block_count as usize;
    EngineOptions { block_count: blocks, prefill_chunk_tokens: PREFILL_CHUNK_TOKENS, idle_blocks_max: blocks }
}

fn placement(
    config: &ValidConfig,
    model: &Model,
    link: &Arc<dyn SessionLink>,
    exports: &StreamExports,
    streams: &Arc<dyn StreamLink>,
) -> io::Result<Placement> {
    Ok(match config.engine.place {
        EnginePlace::Inside => Placement::InProcess,
        EnginePlace::Worker => {
            // What runs here, and not what lies at its path by the time the worker is started again: a later release, say.
            Placement::Worker { program: "/proc/self/exe".into(), model_dir: config.model_dir.clone() }
        }
        EnginePlace::Node(host) => Placement::Elsewhere(Arc::new(Elsewhere {
            host,
            engine: OpenEngine {
                queue: Digest::ZERO,
                model: model.hash(),
                numerics: gpu::numerics_id(),
                blocks: config.engine.block_count,
            },
            link: link.clone(),
            exports: exports.clone(),
            streams: streams.clone(),
            runtime: tokio::runtime::Handle::current(),
        })),
    })
}

fn network_options(config: &ValidConfig) -> Options {
    let others = config.nodes.iter().filter(|(id, _)| *id != config.me);
    let peers = others.map(|(id, node)| Peer { node: *id, key: node.key, address: node.peer }).collect();
    Options { me: config.me, key: config.keys.key().clone(), listen: config.peer_listen, peers }
}

async fn terminated() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the system ends the process by itself.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Returns when a part says why it stopped.
async fn failed<T: ToString>(mut fault: watch::Receiver<Option<T>>) -> String {
    loop {
        if let Some(reason) = fault.borrow_and_update().as_ref() {
            return reason.to_string();
        }
        if fault.changed().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    }
}

/// What answers the session protocol.
struct Services {
    sessions: Sessions,
    routing: Routing,
    schedule: Schedule,
    checkpoints: Checkpoints,
    engines: EngineHost,
}

/// Answers the sessions' requests once everything runs.
#[derive(Clone)]
struct SessionHandler(Arc<OnceLock<Services>>);

impl Handler for SessionHandler {
    async fn handle(&self, from: NodeId, body: Vec<u8>) -> Vec<u8> {
        let reply = match (self.0.get(), codec::decode::<SessionRequest>(&body)) {
            (None, _) => SessionReply::Refused(Refusal::Starting.to_peer()),
            (Some(services), Ok(request)) => services.answer(from, request).await,
            (Some(_), Err(error)) => {
                tracing::warn!(node = %from, %error, "malformed session request");
                SessionReply::Refused(Refusal::from(wallet::refusal::Refusal::from(error)).to_peer())
            }
        };
        codec::encode(&reply)
    }
}

impl Services {
    async fn answer(&self, from: NodeId, request: SessionRequest) -> SessionReply {
        let (wallet, ask) = match request {
            SessionRequest::Gossip(gossip) => return SessionReply::Gossip(self.routing.on_gossip(from, gossip)),
            SessionRequest::Grounds(request) => {
                return SessionReply::Grounds(self.schedule.on_grounds(from, request).await);
            }
            SessionRequest::Cosign(request) => return SessionReply::Cosign(self.checkpoints.on_cosign(request)),
            SessionRequest::Generate(request) => {
                return match self.sessions.create(*request).await {
                    Ok(reply) => SessionReply::Generate(reply),
                    Err(refusal) => SessionReply::Refused(refusal.to_peer()),
                };
            }
            SessionRequest::Engine(engine) => {
                return match self.engines.open(from, engine) {
                    Ok(()) => SessionReply::Noted,
                    Err(refusal) => SessionReply::Refused(Refusal::from(refusal).to_peer()),
                };
            }
            SessionRequest::Tokens(request) => return self.sessions.tokens(from, &request),
            SessionRequest::Reserve(reserve) => return self.sessions.reserve(from, *reserve).await,
            SessionRequest::Envelope(offer) => (offer.wallet, PeerAsk::Envelope(offer)),
            SessionRequest::Freeze(freeze) => (freeze.offer.wallet, PeerAsk::Freeze(freeze)),
            SessionRequest::Report(report) => (report.wallet, PeerAsk::Report(report)),
        };
        match self.sessions.get(wallet) {
            Some(session) => session.ask(from, ask).await,
            None => SessionReply::Refused(Refusal::Unknown.to_peer()),
        }
    }
}
