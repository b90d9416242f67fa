//! `/ledger/v1/state/...`: what stands in the final state under a key, or that nothing does, with the proof.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use ledger::state::StateKey;
use serde_json::{Value, json};
use wallet::{codec, digest::to_hex, units::NodeId};

use super::{
    Api,
    auth::{ByAuditor, ByNode},
    ledger::Answer,
    problem::Problem,
    proofs::blocking,
    refusal::Refusal,
};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The state's paths. What a key is called has slashes in it, so the file has the first part of its path for itself.
/// Who joins asks with its signature who else can be asked.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/state/{*key}", get(answer)).route("/ledger/v1/snapshot/nodes/{id}", get(node))
}

async fn node(State(api): State<Api>, ByNode(key): ByNode, Path(id): Path<u32>) -> Result<Response, Problem> {
    let turn = api.asking.turn_of_node(key).await?;
    let file = api.proofs.state(turn, StateKey::Node(NodeId::new(id))).await?;
    Ok(([(header::CONTENT_TYPE, BYTES)], file.to_bytes()).into_response())
}

/// The JSON for a key, or its file where the path goes on with `/proof`. No key is called as another and `/proof`.
async fn answer(
    State(api): State<Api>,
    ByAuditor(auditor): ByAuditor,
    Path(path): Path<String>,
) -> Result<Response, Problem> {
    let invalid = || Refusal::PlaceInvalid { name: "state", reason: format!("{path:?} names no record") };
    if let Ok(key) = path.parse() {
        return Ok(prove(api, key).await.into_response());
    }
    let key = path.strip_suffix("/proof").and_then(|path| path.parse().ok()).ok_or_else(invalid)?;
    let file = api.proofs.state(api.asking.turn(auditor).await?, key).await?;
    Ok(([(header::CONTENT_TYPE, BYTES)], file.to_bytes()).into_response())
}

/// Proofs are of the newest final state alone: it keeps no older ones.
async fn prove(api: Api, key: StateKey) -> Answer {
    let (store, executed) = (api.replica().store().clone(), api.replica().state());
    blocking(move || {
        let height = executed.height;
        let header = store.header(height)?.ok_or(Refusal::NotReady { reason: "no block is final yet".to_owned() })?;
        let (certificate, carriers) = store.proof(&header)?.map(|proof| (proof.certificate, proof.carriers)).unzip();
        let (record, proof) = (executed.state.record(key.clone()), executed.state.prove(key.clone()));
        let value = record.as_ref().map(|record| to_hex(&codec::encode(record)));
        let terminal = proof.terminal.map_or(Value::Null, |(key, value)| json!({"key": key, "value_hash": value}));
        Ok(Json(json!({
            "header": header,
            "certificate": certificate,
            "carriers": carriers.unwrap_or_default(),
            "key": key.digest(),
            "value": value,
            "record": record,
            "proof": {"siblings": proof.siblings, "terminal": terminal},
        })))
    })
    .await
}

#[cfg(test)]
mod tests;
