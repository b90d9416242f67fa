//! `/admin/v1/...` over the Unix socket in the node's folder: the operator's own hand.
//!
//! Whoever may open the socket is the operator; its mode lets nobody else.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::Response,
    routing::{get, post},
};
use gpu::continuation::{self, EffectId, Resolution};
use scheduler::{action::Action, decision::Logged};
use serde::Deserialize;
use serde_json::{Value, json};
use wallet::grant::WalletAddress;

use super::{Api, auth::ByAuditor, limits::Body, path::WalletPath, problem::Problem, refusal::Refusal, tags};
use crate::session::{
    command::{CommandReply, SessionCommand},
    view::SessionView,
};

/// Decisions in one answer at most.
const DECISIONS_MAX: usize = 1000;

type Answer = Result<Json<Value>, Problem>;

/// The operator's paths.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/admin/v1/status", get(status))
        .route("/admin/v1/sessions", get(sessions))
        .route("/admin/v1/sessions/{wallet}", get(session))
        .route("/admin/v1/sessions/{wallet}/migrate", post(migrate))
        .route("/admin/v1/sessions/{wallet}/suspend", post(suspend))
        .route("/admin/v1/sessions/{wallet}/resume", post(resume))
        .route("/admin/v1/sessions/{wallet}/resolve", post(resolve))
        .route("/admin/v1/sessions/{wallet}/close", post(close))
        .route("/admin/v1/moves", get(moves))
        .route("/admin/v1/decisions", get(decisions))
        .route("/admin/v1/decisions/verify", get(verify_decisions))
        .route("/admin/v1/engine", get(engine))
        .route("/admin/v1/router", get(router_figures))
}

async fn status(State(api): State<Api>) -> Json<Value> {
    let mut status = api.ledger_status();
    status["sessions"] = json!(api.sessions.list().len());
    Json(status)
}

async fn sessions(State(api): State<Api>) -> Json<Vec<SessionView>> {
    Json(api.sessions.list().iter().map(|session| session.view()).collect())
}

async fn session(
    State(api): State<Api>,
    Path(WalletPath(wallet)): Path<WalletPath>,
) -> Result<Json<SessionView>, Problem> {
    let session = api.sessions.get(wallet).ok_or(Refusal::WalletUnknown)?;
    Ok(Json(session.view()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Destination {
    to: String,
}

async fn migrate(State(api): State<Api>, Path(WalletPath(wallet)): Path<WalletPath>, Body(body): Body) -> Answer {
    let Destination { to } =
        serde_json::from_slice(&body).map_err(|error| Refusal::BodyInvalid { reason: error.to_string() })?;
    let members = api.sessions.context().members();
    let unknown = || Refusal::ParameterInvalid { name: "to", reason: format!("there is no node {to:?}") };
    let to = to.parse().ok().and_then(|name| members.by_name(&name)).ok_or_else(unknown)?;
    match api.schedule.command(wallet, Action::Migrate { to }).await? {
        CommandReply::Moved(report) => Ok(Json(report.to_json(&members))),
        CommandReply::Done => Ok(Json(json!({"wallet": wallet}))),
    }
}

async fn suspend(State(api): State<Api>, Path(WalletPath(wallet)): Path<WalletPath>) -> Answer {
    api.schedule.command(wallet, Action::Suspend).await?;
    view_of(&api, wallet)
}

async fn resume(State(api): State<Api>, Path(WalletPath(wallet)): Path<WalletPath>) -> Answer {
    // An engine that does not run has no room for it either, but that is not why.
    api.sessions.context().engine.stats().await?;
    api.schedule.command(wallet, Action::Promote).await?;
    view_of(&api, wallet)
}

/// What an operator found out about an effect in doubt.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    effect: EffectId,
    how: How,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum How {
    Done,
    Retry,
    Abort,
}

async fn resolve(State(api): State<Api>, Path(WalletPath(wallet)): Path<WalletPath>, Body(body): Body) -> Answer {
    let Found { effect, how } =
        serde_json::from_slice(&body).map_err(|error| Refusal::BodyInvalid { reason: error.to_string() })?;
    let how = match how {
        // What a tool would have said is not known to an operator.
        How::Done => Resolution::AssumeDone(continuation::Value::Nil),
        How::Retry => Resolution::Retry,
        How::Abort => Resolution::Abort,
    };
    let session = api.sessions.get(wallet).ok_or(Refusal::WalletUnknown)?;
    session.command(SessionCommand::Resolve { effect, how }).await?;
    Ok(Json(json!(session.view())))
}

async fn close(State(api): State<Api>, Path(WalletPath(wallet)): Path<WalletPath>) -> Answer {
    let session = api.sessions.get(wallet).ok_or(Refusal::WalletUnknown)?;
    session.command(SessionCommand::Close).await?;
    Ok(Json(json!(session.view())))
}

fn view_of(api: &Api, wallet: WalletAddress) -> Answer {
    let session = api.sessions.get(wallet).ok_or(Refusal::WalletUnknown)?;
    Ok(Json(json!(session.view())))
}

async fn moves(State(api): State<Api>) -> Json<Value> {
    let members = api.sessions.context().members();
    Json(api.sessions.moves().iter().map(|report| report.to_json(&members)).collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    wallet: Option<WalletPath>,
    /// A position in the log; without it the last decisions are meant.
    from: Option<u64>,
    #[serde(default = "decisions_max")]
    count: usize,
}

const fn decisions_max() -> usize {
    DECISIONS_MAX
}

async fn decisions(State(api): State<Api>, Query(which): Query<Which>) -> Answer {
    Ok(Json(decided(&api, which).await?))
}

/// The same, for who reads with an auditor's key.
pub(super) async fn decisions_for_auditors(
    State(api): State<Api>,
    _: ByAuditor,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(tags::unless_known(&headers, decided(&api, which).await?))
}

async fn decided(api: &Api, Which { wallet, from, count }: Which) -> Result<Value, Problem> {
    let (wallet, count) = (wallet.map(|WalletPath(wallet)| wallet), count.min(DECISIONS_MAX));
    let decisions = match from {
        Some(from) => api.schedule.decisions_from(wallet, from, count).await?,
        None => api.schedule.decisions(wallet, count).await?,
    };
    Ok(decisions.iter().map(decision).collect())
}

/// A decision with its hash, and with the words of each refusal beside its code.
pub(super) fn decision(Logged { decision, hash }: &Logged) -> Value {
    let refused = |(action, refusal): &(Action, scheduler::refusal::Refusal)| json!({"action": action, "code": refusal.code(), "title": refusal.to_string()});
    let mut body = json!(decision);
    body["hash"] = json!(hash);
    body["rule"] = json!(decision.rule.to_string());
    body["refused"] = decision.refused.iter().map(refused).collect();
    body
}

async fn verify_decisions(State(api): State<Api>) -> Answer {
    Ok(Json(json!(api.schedule.verify().await?)))
}

async fn engine(State(api): State<Api>) -> Answer {
    let context = api.sessions.context();
    let stats = context.engine.stats().await?;
    Ok(Json(json!({
        "blocks_total": stats.blocks_total,
        "blocks_used": stats.blocks_used,
        "blocks_cached": stats.blocks_cached,
        "running": stats.running,
        "waiting": stats.waiting,
        "sessions_waiting_for_room": context.line.len(),
        "prefill_tokens_per_s": stats.prefill_tokens_per_s,
        "median_step_us": stats.median_step,
    })))
}

async fn router_figures(State(api): State<Api>) -> Json<Value> {
    let figures = api.routing.figures();
    let loads = api.routing.peer_loads();
    let peers: serde_json::Map<String, Value> =
        loads.iter().map(|(node, load)| (api.node_name(*node), json!(load))).collect();
    Json(json!({"records": figures.blocks_held, "figures": figures, "peers": peers}))
}
