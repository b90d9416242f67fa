//! `/ledger/v1/re-geneses`: how the ledger began anew, if it did, for everybody who reads it.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use ledger::{
    hand_over::HandOver,
    re_genesis::{ReGenesisFile, Signatory},
    shell::fault::Fault,
};
use serde_json::{Value, json};
use wallet::digest::Digest;

use super::{Api, auth::ByAuditor, ledger::Answer, problem::Problem, proofs::blocking, refusal::Refusal};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The auditors' paths.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/re-geneses", get(list)).route("/ledger/v1/re-geneses/{digest}", get(certificate))
}

async fn list(State(api): State<Api>, _: ByAuditor) -> Answer {
    blocking(move || Ok(Json(taken(&api)?.iter().map(described).collect()))).await
}

/// The certificate as a file: what its operators signed, with all their signatures.
async fn certificate(State(api): State<Api>, _: ByAuditor, Path(digest): Path<Digest>) -> Result<Response, Problem> {
    let file = blocking(move || {
        let file = taken(&api)?.into_iter().find(|file| file.digest() == digest);
        file.ok_or_else(|| Refusal::PathUnknown.into())
    });
    Ok(([(header::CONTENT_TYPE, BYTES)], file.await?.to_bytes()).into_response())
}

/// Those that this node took, the first one first.
fn taken(api: &Api) -> Result<Vec<ReGenesisFile>, Fault> {
    let hand_overs = api.replica().store().hand_overs(api.replica().state().state.epoch())?;
    let anew = hand_overs.into_iter().filter(|hand_over: &HandOver| hand_over.re_genesis.is_some());
    let whole = |hand_over| {
        let file = ReGenesisFile::new(hand_over);
        file.inspect_err(|invalid| tracing::error!(%invalid, "a stored re-genesis does not hold")).ok()
    };
    Ok(anew.filter_map(whole).collect())
}

fn described(file: &ReGenesisFile) -> Value {
    let (header, last, decided) = (file.header(), file.last(), file.decided());
    let signed = file.signatories().iter();
    let signed =
        signed.map(|Signatory { node, operator, key }| json!({"node": node, "operator": operator, "key": key}));
    json!({
        "digest": file.digest(),
        "lineage": decided.lineage,
        "height": header.height,
        "time_ms": header.time,
        "epoch": header.epoch + 1,
        "last": last.digest(),
        "reason": decided.reason,
        "lost": decided.lost.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dropped": decided.dropped,
        "signed": signed.collect::<Vec<_>>(),
    })
}
