//! What a leader promised for an entry that was brought to this node.

use std::time::Duration;

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use ledger::evidence::{Promise, Promised};
use serde_json::{Value, json};
use tokio::time::timeout;
use wallet::{digest::Digest, units::Timestamp};

use super::{Api, auth::ByAuditor, problem::Problem, proofs::blocking, refusal::Refusal};

const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// How long a request may wait for a promise. A leader that is too busy gives none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Its path.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/entries/{id}/promise", get(receipt))
}

/// The file that the author keeps.
async fn receipt(State(api): State<Api>, _: ByAuditor, Path(id): Path<Digest>) -> Result<Response, Problem> {
    let replica = api.replica().clone();
    let receipt = blocking(move || Ok(replica.receipt(id)?.ok_or(Refusal::NotPromised { id })?.to_bytes())).await?;
    Ok(([(header::CONTENT_TYPE, BYTES)], receipt).into_response())
}

/// The leader's word for an entry, once it is there; null if none comes.
pub(super) async fn waited_for(api: &Api, id: Digest) -> Value {
    // In vain it is null, which says the same.
    let _ = timeout(PATIENCE, api.replica().wait_promised(id)).await;
    shown(api, id)
}

/// The leader's word that the entry stands in a block of its term, at the latest in the one with that number; null if this
/// node has none, or not any more.
pub(super) fn shown(api: &Api, id: Digest) -> Value {
    let Some(Promised { promise, leaves }) = api.replica().promise(id) else { return Value::Null };
    let Promise { consortium, epoch, term, through, entries } = promise.statement;
    json!({
        "leader": api.node_name(promise.validator),
        "consortium": consortium,
        "epoch": epoch,
        "term": term,
        "through": through,
        "expected_ms": expected(api, term, through),
        "entries": entries,
        "leaves": leaves,
        "signature": promise.signature,
    })
}

/// About when that block comes, if blocks are full from here on and the leader stays; none if its term is over.
fn expected(api: &Api, term: u64, through: u64) -> Option<Timestamp> {
    let tip = api.replica().state();
    let blocks = match term.checked_sub(tip.view.term)? {
        0 => through.saturating_sub(tip.view.number),
        _ => through,
    };
    let wait_ms = blocks.saturating_mul(tip.state.parameters().block_interval_ms);
    Some(Timestamp::new(tip.time.get().saturating_add(wait_ms)))
}

#[cfg(test)]
mod tests;
