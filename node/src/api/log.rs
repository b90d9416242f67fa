//! `/ledger/v1/log/...`: the final log in C2SP's forms, and RFC 9162 proofs from it.
//!
//! What stands under this prefix is a log as C2SP's tlog-tiles describes it, for clients that know nothing of this ledger.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use ledger::{
    shell::final_store::FinalStore,
    tlog::{
        ConsistencyProof, LogProof, TilePath,
        tile::{TileKind, entry_bundle},
    },
    tree::tiles::{self, Tiles as _},
};
use serde::Deserialize;
use serde_json::json;
use wallet::{digest::Digest, units::LogIndex};

use super::{
    Api,
    auth::ByAuditor,
    problem::Problem,
    proofs::blocking,
    refusal::Refusal,
    tags::{Tag, unless_known},
};
use crate::checkpoint::Shown;

/// The checkpoint changes at most once a second. Answers are for whoever has the key.
const FRESH: HeaderValue = HeaderValue::from_static("private, max-age=1");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The log's paths.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/ledger/v1/log/checkpoint", get(checkpoint))
        .route("/ledger/v1/log/tile/{*path}", get(tile))
        .route("/ledger/v1/log/inclusion", get(inclusion))
        .route("/ledger/v1/log/consistency", get(consistency))
        .route("/ledger/v1/log/consistency-proof", get(consistency_proof))
        .route("/ledger/v1/entries/{id}/leaf", get(leaf))
        .route("/ledger/v1/entries/{id}/tlog-proof", get(tlog_proof))
}

async fn checkpoint(State(api): State<Api>, _: ByAuditor) -> Result<Response, Problem> {
    let newest = api.checkpoints.newest().ok_or(Refusal::NoCheckpoint)?;
    let note = newest.note().to_string();
    Ok(([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, FRESH)], note).into_response())
}

async fn tile(
    State(api): State<Api>,
    _: ByAuditor,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let malformed = |error: ledger::tlog::Malformed| Refusal::PlaceInvalid { name: "tile", reason: error.to_string() };
    let tile: TilePath = path.parse().map_err(malformed)?;
    let executed = api.replica().state();
    let size = executed.log.size();
    let range = tile.range_within(size).ok_or(Refusal::BeyondLog { size })?;
    let kept = Tag::in_lineage(&executed.name, &tile.to_string());
    if let Some(known) = kept.known(&headers) {
        return Ok(known);
    }
    let store = api.replica().store().clone();
    let bytes = blocking(move || {
        Ok(match tile.kind {
            TileKind::Entries => entry_bundle(store.entry_bytes(range)?.iter().map(Vec::as_slice)),
            TileKind::Hashes(level) => store.hashes(level, range)?.iter().flat_map(|hash| hash.0).collect(),
        })
    });
    Ok(kept.answer(([(header::CONTENT_TYPE, BYTES)], bytes.await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inclusion {
    index: u64,
    size: Option<u64>,
}

async fn inclusion(
    State(api): State<Api>,
    _: ByAuditor,
    Query(Inclusion { index, size }): Query<Inclusion>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = size_of(&api, size, index.saturating_add(1))?;
    let store = api.replica().store().clone();
    let proof = blocking(move || {
        let path = inclusion_path(&store, LogIndex::new(index), size)?;
        let (root, leaf) = (tiles::root(&store, size)?, store.hashes(0, index..index + 1)?);
        Ok(json!({"index": index, "size": size, "leaf_hash": leaf[0], "root": root, "path": path}))
    });
    Ok(unless_known(&headers, proof.await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consistency {
    old: u64,
    size: Option<u64>,
}

async fn consistency(
    State(api): State<Api>,
    _: ByAuditor,
    Query(Consistency { old, size }): Query<Consistency>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let size = size_of(&api, size, old)?;
    let store = api.replica().store().clone();
    let proof = blocking(move || {
        let path = consistency_path(&store, old, size)?;
        let (old_root, root) = (tiles::root(&store, old)?, tiles::root(&store, size)?);
        Ok(json!({"old": old, "size": size, "old_root": old_root, "root": root, "path": path}))
    });
    Ok(unless_known(&headers, proof.await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Since {
    old: u64,
}

/// The file that proves that the log only grew to the newest checkpoint. Of no entries it is the beginning that a witness
/// takes who knows nothing of the log.
async fn consistency_proof(
    State(api): State<Api>,
    _: ByAuditor,
    Query(Since { old }): Query<Since>,
) -> Result<Response, Problem> {
    let newest = newest_over(&api, old)?;
    let store = api.replica().store().clone();
    let proof = blocking(move || {
        let path = if old == 0 { Vec::new() } else { consistency_path(&store, old, newest.size())? };
        let hand_overs = store.hand_overs(newest.validators.epoch)?;
        let proof = ConsistencyProof::new(old, path, newest.note(), &hand_overs);
        Ok(proof.map_err(|large| Refusal::NotProvable { reason: large.to_string() })?.to_string())
    });
    let proof = proof.await?;
    Ok(([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, FRESH)], proof).into_response())
}

/// The bytes of one entry as they are hashed.
async fn leaf(
    State(api): State<Api>,
    _: ByAuditor,
    Path(id): Path<Digest>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let index = index_of(&api, id)?.get();
    let kept = Tag::in_lineage(&api.replica().state().name, &format!("leaf/{id}"));
    if let Some(known) = kept.known(&headers) {
        return Ok(known);
    }
    let store = api.replica().store().clone();
    let bytes = blocking(move || Ok(store.entry_bytes(index..index + 1)?.concat())).await?;
    Ok(kept.answer(([(header::CONTENT_TYPE, BYTES)], bytes)))
}

/// The file that proves one entry under the newest checkpoint.
async fn tlog_proof(State(api): State<Api>, _: ByAuditor, Path(id): Path<Digest>) -> Result<Response, Problem> {
    let index = index_of(&api, id)?;
    let newest = newest_over(&api, index.get() + 1)?;
    let store = api.replica().store().clone();
    let proof = blocking(move || {
        let path = inclusion_path(&store, index, newest.size())?;
        let hand_overs = store.hand_overs(newest.validators.epoch)?;
        let proof = LogProof::new(index, path, newest.note(), &hand_overs);
        Ok(proof.map_err(|large| Refusal::NotProvable { reason: large.to_string() })?.to_string())
    });
    let proof = proof.await?;
    Ok(([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, FRESH)], proof).into_response())
}

/// Where a final entry stands.
fn index_of(api: &Api, id: Digest) -> Result<LogIndex, Refusal> {
    let record = api.replica().state().state.entry(id);
    Ok(record.ok_or(Refusal::NotProvable { reason: format!("no entry {id} is final") })?.log_index)
}

fn inclusion_path(store: &FinalStore, index: LogIndex, size: u64) -> Result<Vec<Digest>, Problem> {
    let path = tiles::inclusion_proof(store, index, size)?;
    Ok(path.ok_or_else(|| Refusal::ParameterInvalid {
        name: "index",
        reason: format!("{index} is not below {size}, the size of the tree"),
    })?)
}

fn consistency_path(store: &FinalStore, old: u64, size: u64) -> Result<Vec<Digest>, Problem> {
    let path = tiles::consistency_proof(store, old, size)?;
    Ok(path.ok_or_else(|| Refusal::ParameterInvalid {
        name: "old",
        reason: format!("{old} is not in 1 to {size}, the size of the later tree"),
    })?)
}

/// The size of the tree to prove in: the asked one if it is final, else that of the newest checkpoint, which has to cover
/// `needed` entries.
fn size_of(api: &Api, asked: Option<u64>, needed: u64) -> Result<u64, Refusal> {
    match asked {
        Some(asked) => within_log(api, asked),
        None => Ok(newest_over(api, needed)?.size()),
    }
}

/// The newest checkpoint, if it covers so many entries. Another node may have shown a later one: then it comes here, too.
fn newest_over(api: &Api, needed: u64) -> Result<Arc<Shown>, Refusal> {
    within_log(api, needed)?;
    api.checkpoints.newest().filter(|newest| needed <= newest.size()).ok_or(Refusal::NoCheckpoint)
}

fn within_log(api: &Api, size: u64) -> Result<u64, Refusal> {
    let last = api.replica().state().log.size();
    if size <= last { Ok(size) } else { Err(Refusal::BeyondLog { size: last }) }
}
