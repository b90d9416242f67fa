//! `/ledger/v1/...`: what auditors and operators read from the final ledger, and the entries that they submit.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use genesis::{Node, Operator, OperatorId};
use ledger::{
    event::Entry,
    shell::replica::{EntryStatus, FinalEntry, Submission},
    state::{NodeRecord, OperatorRecord},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use wallet::{
    codec,
    digest::Digest,
    units::{BlockHeight, KeyEpoch},
};

use super::{
    Api,
    auth::ByAuditor,
    final_log::FinalLog,
    limits::Body,
    paging::{Page, page as paged},
    path::WalletPath,
    problem::Problem,
    promises,
    proofs::blocking,
    refusal::Refusal,
    tags,
};

/// How long a request may wait for its entry to be final.
const FINAL_PATIENCE: Duration = Duration::from_secs(30);

/// JSON, or why not.
pub(super) type Answer = Result<Json<Value>, Problem>;

/// The auditors' paths.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/ledger/v1/status", get(status))
        .route("/ledger/v1/checkpoint", get(checkpoint))
        .route("/ledger/v1/entries", get(entries).post(submit))
        .route("/ledger/v1/entries/{id}", get(entry_status))
        .route("/ledger/v1/blocks/{height}", get(block))
        .route("/ledger/v1/wallets", get(wallets))
        .route("/ledger/v1/wallets/{address}", get(wallet))
        .route("/ledger/v1/wallets/{address}/bundle", get(bundle))
        .route("/ledger/v1/operators", get(operators))
        .route("/ledger/v1/decisions", get(super::admin::decisions_for_auditors))
}

async fn status(State(api): State<Api>, _: ByAuditor) -> Json<Value> {
    Json(api.ledger_status())
}

async fn checkpoint(State(api): State<Api>, _: ByAuditor) -> Answer {
    let (store, height) = (api.replica().store().clone(), api.replica().state().height);
    blocking(move || {
        let header = store.header(height)?;
        let proof = header.as_ref().map_or(Ok(None), |header| store.proof(header))?;
        let (certificate, carriers) = proof.map(|proof| (proof.certificate, proof.carriers)).unzip();
        Ok(Json(json!({"header": header, "certificate": certificate, "carriers": carriers.unwrap_or_default()})))
    })
    .await
}

async fn entries(
    State(api): State<Api>,
    _: ByAuditor,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let FinalLog { store, executed, .. } = FinalLog::of(&api);
    let (entries, next, size) = blocking(move || {
        let size = executed.log.size();
        let range = page.range(size);
        let until = range.end.min(range.start.saturating_add(page.count() as u64));
        let line = |(entry, index): (Entry, u64)| {
            let id = entry.id();
            let height = executed.state.entry(id).map(|record| record.height);
            json!({"index": index, "height": height, "id": id, "entry": entry})
        };
        let entries = store.entries(range.start..until)?.into_iter().zip(range.start..).map(line);
        Ok((entries.collect::<Vec<_>>(), until, size))
    })
    .await?;
    // A page that is followed by others stays what it is, however many they are.
    let said = json!([entries, next, next == size]);
    Ok(tags::unless_said(&headers, &said, paged("entries", entries, next, size)))
}

async fn entry_status(State(api): State<Api>, _: ByAuditor, Path(id): Path<Digest>) -> Answer {
    let promised = |status: &str| json!({"id": id, "status": status, "promise": promises::shown(&api, id)});
    Ok(Json(match api.replica().status(id) {
        EntryStatus::Submitted => promised("submitted"),
        EntryStatus::Ordered => promised("ordered"),
        EntryStatus::Final(place) => with_place(promised("final"), place),
        EntryStatus::Refused(refusal) => {
            json!({"id": id, "status": "refused", "code": refusal.code(), "title": refusal.to_string()})
        }
        EntryStatus::Unknown => json!({"id": id, "status": "unknown"}),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<Until>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Until {
    Final,
    Promise,
}

async fn submit(
    State(api): State<Api>,
    _: ByAuditor,
    Query(wait): Query<Wait>,
    Body(bytes): Body,
) -> Result<Response, Problem> {
    let entry: Entry = codec::decode(&bytes).map_err(|error| Refusal::EntryInvalid { reason: error.to_string() })?;
    submitted(&api, api.replica().submit(entry)?, wait).await
}

/// Waits for what was asked for, once an entry is on its way.
pub(super) async fn submitted(api: &Api, submission: Submission, Wait { wait }: Wait) -> Result<Response, Problem> {
    let Submission { id, .. } = submission;
    let body = match wait {
        None => json!({"id": id}),
        Some(Until::Promise) => json!({"id": id, "promise": promises::waited_for(api, id).await}),
        Some(Until::Final) => {
            let place = timeout(FINAL_PATIENCE, api.replica().wait_final(id)).await;
            let place = place.map_err(|_| Refusal::NotFinalYet { id })??;
            return Ok(Json(with_place(json!({"id": id}), place)).into_response());
        }
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

async fn block(
    State(api): State<Api>,
    _: ByAuditor,
    Path(height): Path<u64>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let store = api.replica().store().clone();
    let body = blocking(move || {
        let found = store.block(BlockHeight::new(height))?;
        let found = found.ok_or(Refusal::NotProvable { reason: format!("no block of height {height} is final") })?;
        let (header, entries) = (&found.block.header, &found.block.entries);
        let (certificate, carriers) = (found.certificate, found.carriers);
        Ok(json!({"header": header, "certificate": certificate, "carriers": carriers, "entries": entries}))
    });
    Ok(tags::unless_known(&headers, body.await?))
}

/// All wallets, in the order of their beginnings.
async fn wallets(State(api): State<Api>, ByAuditor(auditor): ByAuditor, Query(page): Query<Page>) -> Answer {
    let final_log = FinalLog::of(&api);
    let scan = move || {
        let (wallets, next) = final_log.batches(page, |_| true)?;
        Ok(Json(paged("wallets", wallets, next, final_log.executed.log.size())))
    };
    api.asking.scan(auditor, scan).await
}

/// A wallet, and the entries about it in the page.
async fn wallet(
    State(api): State<Api>,
    ByAuditor(auditor): ByAuditor,
    Path(WalletPath(address)): Path<WalletPath>,
    Query(page): Query<Page>,
) -> Answer {
    let final_log = FinalLog::of(&api);
    let record = final_log.executed.state.wallet(address).ok_or(Refusal::WalletUnknown)?;
    let scan = move || {
        let (store, executed) = (&final_log.store, &final_log.executed);
        let size = executed.log.size();
        // The one after them is where the next page begins.
        let indices = store.wallet_entries(address, page.range(size), page.count() + 1, executed)?;
        let next = indices.get(page.count()).map_or(size, |index| index.get());
        let mut history = Vec::new();
        for index in indices.into_iter().take(page.count()) {
            let Some(entry) = store.entry(index)? else { continue };
            let place = executed.state.entry(entry.id());
            history.push(json!({
                "index": index,
                "height": place.map(|place| place.height),
                "time_ms": place.map(|place| place.time),
                "author": final_log.members.name(entry.body.author),
                "kind": entry.body.event.name(),
            }));
        }
        let mut body = paged("history", history, next, size);
        body["holder"] = json!(final_log.members.name(record.holder));
        body["record"] = json!(record);
        Ok(Json(body))
    };
    api.asking.scan(auditor, scan).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    epoch: Option<u32>,
    since: Option<u64>,
}

async fn bundle(
    State(api): State<Api>,
    ByAuditor(auditor): ByAuditor,
    Path(WalletPath(address)): Path<WalletPath>,
    Query(Which { epoch, since }): Query<Which>,
) -> Result<Response, Problem> {
    let bundle = api.proofs.bundle(&api.schedule, auditor, address, epoch.map(KeyEpoch::new), since).await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], bundle.to_bytes()).into_response())
}

/// All that are or were: the rules of the ledger let no more be than one answer can hold (`MEMBERS_EVER_MAX`).
async fn operators(State(api): State<Api>, ByAuditor(auditor): ByAuditor) -> Answer {
    let members = api.sessions.context().members();
    let scan = move || {
        let (validators, mut nodes) = (members.validators(), BTreeMap::<OperatorId, Vec<Value>>::new());
        for (id, NodeRecord { node, standing, .. }) in members.nodes() {
            let Node { name, operator, region, key, .. } = node;
            let votes = validators.key(id).is_some();
            nodes.entry(operator).or_default().push(
                json!({"id": id, "name": name, "region": region, "key": key, "validator": votes, "standing": standing}),
            );
        }
        let operator = |OperatorRecord { operator, standing, .. }: OperatorRecord| {
            let Operator { id, name, key } = operator;
            let nodes = nodes.remove(&id).unwrap_or_default();
            json!({"id": id, "name": name, "key": key, "standing": standing, "nodes": nodes})
        };
        Ok(Json(members.operators().map(operator).collect()))
    };
    api.asking.scan(auditor, scan).await
}

fn with_place(mut body: Value, FinalEntry { height, index }: FinalEntry) -> Value {
    body["index"] = json!(index);
    body["height"] = json!(height);
    body
}
