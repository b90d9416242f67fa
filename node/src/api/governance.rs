//! `/ledger/v1/governance`: who takes part, with which keys and parameters, what is being decided, and what operators say
//! to it.
//!
//! Auditors read it, and so does whoever may open the admin socket. What an operator signed anybody may bring: its signature
//! is the credential. So a consortium can decide who reads, also where nobody does.

use axum::{
    Json, Router,
    extract::{Query, State},
    response::Response,
    routing::get,
};
use ledger::{event::Event, execute::Executed, governance::quorum};
use serde_json::{Value, json};
use wallet::digest::Digest;

use super::{
    Api,
    auth::ByAuditor,
    final_log::FinalLog,
    ledger::{Answer, Wait, submitted},
    limits::SignedBody,
    paging::{Page, page as paged},
    problem::Problem,
    proofs::blocking,
    refusal::Refusal,
};
use crate::governance;

/// Its paths.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/ledger/v1/governance", get(show_auditor).post(submit))
        .route("/ledger/v1/governance/proposals", get(proposals))
}

/// The operator's own.
pub(super) fn admin_router() -> Router<Api> {
    Router::new().route("/admin/v1/governance", get(show_operator).post(submit))
}

/// All that were ever made, in the order of the log, as they stand now.
async fn proposals(State(api): State<Api>, ByAuditor(auditor): ByAuditor, Query(page): Query<Page>) -> Answer {
    let final_log = FinalLog::of(&api);
    let scan = move || {
        let (made, next) = final_log.find(page, |event| match event {
            Event::ProposalMade(made) => Some(made.terms.digest()),
            _ => None,
        })?;
        let proposal = |(index, digest): (u64, Digest)| json!({"index": index, "digest": digest, "record": final_log.executed.state.proposal(digest)});
        let proposals = made.into_iter().map(proposal).collect();
        Ok(Json(paged("proposals", proposals, next, final_log.executed.log.size())))
    };
    api.asking.scan(auditor, scan).await
}

async fn show_auditor(State(api): State<Api>, ByAuditor(auditor): ByAuditor) -> Answer {
    let executed = api.replica().state();
    api.asking.scan(auditor, move || Ok(Json(shown(&executed)))).await
}

/// For the operator, who waits for no auditor.
async fn show_operator(State(api): State<Api>) -> Answer {
    let executed = api.replica().state();
    blocking(move || Ok(Json(shown(&executed)))).await
}

/// As the last final block leaves it. A proposal's stage says what its ballots made of it; that it expired or was
/// superseded follows from its times and its electorate.
///
/// The rules let no more take part, and be granted a key, than one answer can hold (`MEMBERS_EVER_MAX`).
fn shown(executed: &Executed) -> Value {
    let state = &executed.state;
    let operators: Vec<_> = state.operators().collect();
    let listed = operators.iter().flat_map(|record| &record.proposals);
    let proposals: Vec<Value> = listed
        .filter_map(|digest| state.proposal(*digest).map(|record| json!({"digest": digest, "record": record})))
        .collect();
    let nodes: Vec<Value> = state.nodes().map(|(id, record)| json!({"id": id, "record": record})).collect();
    let record = state.governance();
    let granted = record.iter().flat_map(|record| &record.auditors);
    let auditors: Vec<_> = granted.filter_map(|key_hash| state.auditor(*key_hash)).collect();
    json!({
        "height": executed.height,
        "time": executed.time,
        "epoch": state.epoch(),
        "validators": state.validators(),
        "electorate": record.map(|record| record.electorate),
        "quorum": quorum(state.electorate().len()),
        "operators": operators,
        "nodes": nodes,
        "auditors": auditors,
        "parameters": state.parameters(),
        "proposals": proposals,
    })
}

/// Puts what an operator signed on the ledger, or enacts what passed, with an entry of this node. Its rules say whether it
/// counts, before the node signs anything.
async fn submit(
    State(api): State<Api>,
    Query(wait): Query<Wait>,
    SignedBody(bytes): SignedBody,
) -> Result<Response, Problem> {
    let event = governance::decode(&bytes).map_err(|error| Refusal::NotGovernance { reason: error.reason })?;
    let submission = governance::submit(api.sessions.context(), event)?;
    submitted(&api, submission, wait).await
}
