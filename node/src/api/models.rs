//! `/ledger/v1/models`: where the batches of a model are and what became of them, for its owner and for auditors.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    routing::get,
};
use genesis::Model;
use ledger::event::{Event, WalletCreated};
use scheduler::decision::{Decision, Logged};
use serde_json::{Value, json};
use wallet::{digest::Digest, grant::WalletAddress, units::NodeId};

use super::{
    Api, admin,
    auth::ByOwner,
    final_log::FinalLog,
    ledger::Answer,
    paging::{Page, page as paged},
    path::WalletPath,
    problem::Problem,
    refusal::Refusal,
};
use crate::schedule::Schedule;

/// The paths of models' owners.
pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/ledger/v1/models", get(models))
        .route("/ledger/v1/models/{model}/batches", get(batches))
        .route("/ledger/v1/models/{model}/batches/{wallet}", get(batch))
}

async fn models(State(api): State<Api>, reader: ByOwner) -> Json<Value> {
    let models = api.sessions.context().consortium.models().iter().filter(|model| reader.reads(model));
    let model = |Model { hash, name, operator, owner }: &Model| {
        let owner = owner.as_ref().map(|owner| &owner.name);
        json!({"hash": hash, "name": name, "operator": operator, "owner": owner})
    };
    Json(models.map(model).collect())
}

async fn batches(
    State(api): State<Api>,
    reader: ByOwner,
    Path(model): Path<Digest>,
    Query(page): Query<Page>,
) -> Answer {
    may_read(&api, reader, model)?;
    let final_log = FinalLog::of(&api);
    let scan = move || {
        let is_of = |created: &WalletCreated| created.grant.terms.model == model;
        let (batches, next) = final_log.batches(page, is_of)?;
        Ok(Json(paged("batches", batches, next, final_log.executed.log.size())))
    };
    api.asking.scan(reader.key(), scan).await
}

async fn batch(
    State(api): State<Api>,
    reader: ByOwner,
    Path((model, WalletPath(wallet))): Path<(Digest, WalletPath)>,
) -> Answer {
    may_read(&api, reader, model)?;
    let final_log = FinalLog::of(&api);
    // A batch of another model is none for this owner.
    let record = final_log.executed.state.wallet(wallet).filter(|record| record.model == model);
    let record = record.ok_or(Refusal::WalletUnknown)?;
    let scan = move || {
        let mut body = final_log.shown(&record);
        body["places"] = record.rotations.iter().map(|rotation| final_log.place(rotation)).collect();
        Ok((body, Eviction::last(&final_log, wallet)?))
    };
    let (mut body, eviction) = api.asking.scan(reader.key(), scan).await?;
    body["evicted"] = match eviction {
        Some(eviction) => {
            let why = api.asking.reason(eviction.decision, wallet, eviction.why(&api.schedule, wallet)).await;
            eviction.told(why)
        }
        None => Value::Null,
    };
    Ok(Json(body))
}

/// Refuses who may not be told about the model of this hash, in the words of one who has none.
fn may_read(api: &Api, reader: ByOwner, hash: Digest) -> Result<(), Problem> {
    let model = api.sessions.context().consortium.models().iter().find(|model| model.hash == hash);
    if model.is_some_and(|model| reader.reads(model)) { Ok(()) } else { Err(Refusal::ModelForeign.into()) }
}

/// That a batch's pages were dropped, by its last `BatchEvicted`.
struct Eviction {
    said: Value,
    by: NodeId,
    decision: Digest,
}

impl Eviction {
    /// The last one of a wallet.
    fn last(log: &FinalLog, wallet: WalletAddress) -> Result<Option<Self>, Problem> {
        let Some(index) = log.store.last_eviction(wallet, &log.executed)? else { return Ok(None) };
        let Some(entry) = log.store.entry(index)? else { return Ok(None) };
        let Event::BatchEvicted(evicted) = &entry.body.event else { return Ok(None) };
        let (by, decision) = (entry.body.author, evicted.decision);
        let place = log.executed.state.entry(entry.id());
        let said = json!({
            "index": index,
            "height": place.map(|place| place.height),
            "time_ms": place.map(|place| place.time),
            "node": log.members.name(by),
            "decision": decision,
        });
        Ok(Some(Self { said, by, decision }))
    }

    /// The reason, which stands in the decision; none if nobody hands that out now.
    async fn why(&self, schedule: &Schedule, wallet: WalletAddress) -> Option<Value> {
        let grounds = schedule.grounds(self.by, self.decision).await.ok()?;
        let decision = Decision::decode(&grounds.decision).ok()?;
        let logged = Logged { hash: decision.hash(), decision };
        reason(self.decision, wallet, &logged)
    }

    fn told(self, why: Option<Value>) -> Value {
        let mut said = self.said;
        said["why"] = json!(why);
        said
    }
}

/// What an owner is told of `logged`, if it is the decision that the ledger names, and about this wallet. Of the inputs,
/// those about the batch, the node where it was, and the limits: the loads of other nodes are made by batches of others.
fn reason(named: Digest, wallet: WalletAddress, logged: &Logged) -> Option<Value> {
    if logged.hash != named || logged.decision.wallet != wallet {
        return None;
    }
    let mut why = admin::decision(logged);
    if let Some(inputs) = why["inputs"].as_object_mut() {
        inputs.retain(|name, _| ["batch.", "source.", "limit."].iter().any(|scope| name.starts_with(scope)));
    }
    Some(why)
}

#[cfg(test)]
mod tests;
