//! The HTTP interfaces: OpenAI for tenants, the ledger for auditors, metrics and health for everybody, and, over a Unix
//! socket, the operator's own.
//!
//! The exact interface is in `docs/api.md`.

mod admin;
mod archive;
mod asking;
pub(crate) mod auth;
mod connection;
mod credits;
mod evidence;
mod final_log;
mod governance;
mod ledger;
mod ledger_metrics;
mod limits;
mod listener;
mod log;
mod metrics;
mod models;
mod openai;
mod openapi;
mod paging;
mod path;
mod places;
pub mod problem;
mod promises;
mod proofs;
mod rate;
mod re_geneses;
pub mod refusal;
pub(crate) mod snapshot;
mod stall;
mod state;
mod tags;
mod turns;

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, sync::Arc};

use ::ledger::shell::{cause::Cause, lineage::Lineage, replica::Replica};
use axum::{
    Router,
    extract::{FromRef, MatchedPath, Request, State},
    http::header,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};
use wallet::units::{NodeId, Timestamp};

use crate::{
    checkpoint::Checkpoints,
    config::Limits,
    routing::{Routing, front_door::FrontDoor, tenants::Tenants},
    schedule::{Collection, Schedule},
    session::{
        Sessions,
        context::{NodeContext, now},
        view::SessionMode,
    },
    tls::server::{TlsFault, TlsFiles},
};
use asking::Asking;
use auth::Keys;
use connection::PlainListener;
use listener::TlsListener;
use metrics::{Gauges, Metrics};
use places::Places;
use problem::Problem;
use proofs::Proofs;
use rate::Shares;
use refusal::Refusal;
use turns::Turns;

/// The admin socket in the node's folder.
pub(crate) const SOCKET: &str = "admin.sock";

/// How long finality may be late before the node is not ready.
const LATE_MS: u64 = 5_000;

/// What the interfaces need.
pub struct Parts {
    /// The node's sessions.
    pub sessions: Sessions,
    /// Where requests are placed.
    pub routing: Routing,
    /// The tick, for commands and decisions.
    pub schedule: Schedule,
    /// The final log's checkpoints.
    pub checkpoints: Checkpoints,
    /// Who may ask for text.
    pub tenants: Tenants,
    /// The model's name in requests.
    pub model_name: String,
    /// Where to listen for HTTP.
    pub listen: SocketAddr,
    /// The certificate to show there; without one HTTP is in the clear.
    pub tls: Option<TlsFiles>,
    /// How much one client may ask for there.
    pub limits: Limits,
    /// The node's folder.
    pub data_dir: PathBuf,
}

/// The running interfaces.
pub struct Serving {
    address: SocketAddr,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Why the interfaces do not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The admin socket cannot be made.
    #[error("cannot make the admin socket {}: {source}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ServeFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "N-530",
            Self::Tls(fault) => fault.code(),
            Self::Socket { .. } => "N-531",
        }
    }
}

/// What handlers work with. Clones share it.
#[derive(Clone)]
struct Api {
    sessions: Sessions,
    routing: Routing,
    schedule: Schedule,
    checkpoints: Checkpoints,
    evidence: evidence::Evidence,
    front_door: FrontDoor,
    proofs: Proofs,
    keys: Keys,
    shares: Shares,
    asking: Asking,
    archives: Turns,
    metrics: Metrics,
    model_name: Arc<str>,
}

impl FromRef<Api> for Keys {
    fn from_ref(api: &Api) -> Self {
        api.keys.clone()
    }
}

/// Opens both listeners and serves. Must run inside a tokio runtime.
///
/// # Errors
/// [`ServeFault`] if one of them cannot be opened.
pub async fn serve(parts: Parts) -> Result<Serving, ServeFault> {
    let Parts { sessions, routing, schedule, checkpoints, tenants, model_name, listen, tls, limits, data_dir } = parts;
    let context = sessions.context().clone();
    let asking = Asking::default();
    let proofs = Proofs::new(context.replica.clone(), context.consortium.clone(), asking.clone());
    let api = Api {
        front_door: FrontDoor::new(sessions.clone(), routing.clone()),
        keys: Keys::new(tenants, context.replica.clone(), context.consortium.clone(), own_api(&context)),
        shares: Shares::new(&limits),
        asking,
        archives: archive::turns(),
        metrics: Metrics::default(),
        model_name: model_name.into(),
        sessions,
        routing,
        schedule,
        checkpoints,
        evidence: evidence::Evidence::in_folder(data_dir.join("ledger").join("evidence")),
        proofs,
    };
    let listener = TcpListener::bind(listen).await.map_err(|source| ServeFault::Listen { address: listen, source })?;
    let address = listener.local_addr().unwrap_or(listen);
    let socket = data_dir.join(SOCKET);
    let admin = open_socket(&socket).map_err(|source| ServeFault::Socket { path: socket.clone(), source })?;
    let stop = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    let (public, private, places) = (public(api.clone()), private(api), Places::of_process());
    let stall = limits.stall;
    match tls {
        None => {
            tasks.spawn(connection::serve(PlainListener { tcp: listener, places, stall }, public, stop.subscribe()))
        }
        Some(files) => {
            let listener = TlsListener::new(listener, files, places, stall)?;
            tasks.spawn(connection::serve(listener, public, stop.subscribe()))
        }
    };
    let stopped = stopped(stop.subscribe());
    tasks.spawn(async move { end(axum::serve(admin, private).with_graceful_shutdown(stopped).await) });
    Ok(Serving { address, socket, stop, tasks })
}

impl Serving {
    /// Where HTTP is served, with the port that port 0 became.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests and ends. Streams are cut: their clients resume them at the next holder.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let patience = std::time::Duration::from_millis(500);
        // What has not ended by itself by then is a stream.
        let _ = tokio::time::timeout(patience, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
        // It may have been removed already.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The address under which the ledger has this node.
fn own_api(context: &NodeContext) -> String {
    context.members().node(context.me).map(|node| node.api).unwrap_or_default()
}

/// The TCP listener's paths.
fn public(api: Api) -> Router {
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(openapi::document));
    let audit = [
        archive::router(),
        evidence::router(),
        governance::router(),
        log::router(),
        promises::router(),
        models::router(),
        re_geneses::router(),
        credits::router(),
        snapshot::router(),
        state::router(),
    ];
    let audit = audit.into_iter().fold(ledger::router(), Router::merge);
    let limit = middleware::from_fn_with_state(api.clone(), rate::limit);
    counted(bounded(open.merge(openai::router()).merge(audit)).layer(limit), api)
}

/// The Unix socket's paths.
fn private(api: Api) -> Router {
    counted(bounded(admin::router().merge(governance::admin_router())), api)
}

fn bounded(router: Router<Api>) -> Router<Api> {
    let as_problem = middleware::from_fn(limits::as_problem);
    router.fallback(limits::no_such_path).layer(as_problem).layer(middleware::from_fn(limits::headers))
}

fn counted(router: Router<Api>, api: Api) -> Router {
    router.layer(middleware::from_fn_with_state(api.clone(), count)).with_state(api)
}

async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    // There are many wallets, and few routes.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    api.metrics.request_answered(route.as_ref().map_or("other", MatchedPath::as_str), response.status().as_u16());
    response
}

async fn metrics(State(api): State<Api>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    let (gauges, ledger, decisions) = (api.gauges().await, api.replica().metrics(), api.schedule.collection());
    (kind, api.metrics.render(&gauges, |registry| ledger_metrics::register(registry, &ledger, &decisions)))
        .into_response()
}

/// Ready: the ledger has a leader, blocks become final at it, and the engine answers.
async fn ready(State(api): State<Api>) -> Result<&'static str, Problem> {
    let ledger = api.replica().metrics();
    let idle_block_ms = api.sessions.context().members().parameters().idle_block_ms;
    let reason = match (&ledger.fault, ledger.leader) {
        (Some(fault), _) => Some(format!("the ledger stopped: {fault}")),
        (None, None) => Some("the ledger has no leader".to_owned()),
        (None, Some(_)) if ledger.final_height.get() == 0 => Some("no block is final yet".to_owned()),
        (None, Some(_)) if stands_still(ledger.finality.since, now(), idle_block_ms) => {
            let reason = ledger.stalled.map_or_else(|| "nobody proposes a block".to_owned(), |stalled| stalled.reason);
            Some(format!("blocks do not become final: {reason}"))
        }
        (None, Some(_)) => None,
    };
    if let Some(reason) = reason {
        return Err(Refusal::NotReady { reason }.into());
    }
    if let Err(refusal) = api.sessions.context().engine.stats().await {
        return Err(Refusal::NotReady { reason: refusal.to_string() }.into());
    }
    Ok("ready\n")
}

/// Whether finality is late. A consortium that has nothing to do still makes a block each `idle_block_ms`.
fn stands_still(since: Timestamp, now: Timestamp, idle_block_ms: u64) -> bool {
    now.get().saturating_sub(since.get()) > idle_block_ms.saturating_add(LATE_MS)
}

impl Api {
    fn replica(&self) -> &Replica {
        &self.sessions.context().replica
    }

    /// A node's name.
    fn node_name(&self, node: NodeId) -> String {
        self.sessions.context().members().name(node)
    }

    fn ledger_status(&self) -> Value {
        let (context, executed, ledger) = (self.sessions.context(), self.replica().state(), self.replica().metrics());
        let stopped = match (&ledger.fault, &ledger.stalled) {
            (Some(fault), _) => json!({"since_ms": executed.time, "reason": fault.to_string(), "missing": []}),
            (None, Some(stalled)) => {
                let missing: Vec<String> = stalled.missing.iter().map(|node| self.node_name(*node)).collect();
                json!({"since_ms": stalled.since, "reason": stalled.reason, "missing": missing})
            }
            (None, None) => Value::Null,
        };
        let others = ledger.peer_lineages.iter().filter(|(_, lineage)| **lineage != ledger.lineage);
        let others = others.map(|(node, Lineage { number, re_genesis })| {
            json!({"node": self.node_name(*node), "lineage": number, "re_genesis": re_genesis})
        });
        let Collection { complete_height, missing, given_up } = self.schedule.collection();
        let counts = |of: BTreeMap<NodeId, u64>| -> Vec<Value> {
            let some = of.into_iter().filter(|(_, count)| *count > 0);
            some.map(|(node, count)| json!({"node": self.node_name(node), "count": count})).collect()
        };
        let (missing, given_up) = (counts(missing), counts(given_up));
        let decisions = json!({"complete_height": complete_height, "missing": missing, "given_up": given_up});
        json!({
            "consortium": context.consortium.id(),
            "node": self.node_name(context.me),
            "role": if ledger.leader == Some(context.me) { "leader" } else { "follower" },
            "term": ledger.term,
            "leader": ledger.leader.map(|leader| self.node_name(leader)),
            "lineage": ledger.lineage.number,
            "other_lineages": others.collect::<Vec<_>>(),
            "final_height": executed.height,
            "final_time_ms": executed.time,
            "log_size": executed.log.size(),
            "voting": ledger.votes,
            "decisions": decisions,
            "waits_for": ledger.causes().into_iter().map(Cause::name).collect::<Vec<_>>(),
            "stopped": stopped,
        })
    }

    async fn gauges(&self) -> Gauges {
        let (context, ledger) = (self.sessions.context(), self.replica().metrics());
        // Of an engine that does not answer all figures are zero.
        let stats = context.engine.stats().await.unwrap_or_default();
        let (router, moves) = (self.routing.figures(), self.sessions.moves());
        let ahead = ledger.peers.values().max().map_or(0, |peer| peer.get());
        let views: Vec<_> = self.sessions.list().iter().map(|one| one.view()).collect();
        let serving = views.iter().filter(|view| view.mode == SessionMode::Serving).count();
        let in_doubt = views.iter().filter(|view| !view.in_doubt.is_empty()).count();
        let completed = moves.iter().filter(|report| report.completed).count();
        Gauges {
            final_height: ledger.final_height.get(),
            final_lag_blocks: ahead.saturating_sub(ledger.final_height.get()),
            is_leader: ledger.leader == Some(context.me),
            sessions_serving: serving as u64,
            sessions_in_doubt: in_doubt as u64,
            sessions_waiting_for_room: context.line.len() as u64,
            blocks_total: u64::from(stats.blocks_total),
            blocks_used: u64::from(stats.blocks_used),
            blocks_cached: u64::from(stats.blocks_cached),
            moves_completed: completed as u64,
            moves_failed: (moves.len() - completed) as u64,
            router_requests_here: router.requests_here,
            router_requests_elsewhere: router.requests_elsewhere,
            router_requests_matched: router.requests_matched,
            decisions: context.decisions.borrow().length,
        }
    }
}

/// The socket, for the operator's user alone. One that an earlier run left is replaced.
fn open_socket(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Ends once the interfaces stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // An error means that the interfaces were dropped.
    let _ = stop.wait_for(|stopped| *stopped).await;
}

fn end(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::error!(%error, "an HTTP listener ended");
    }
}

#[cfg(test)]
mod tests;
