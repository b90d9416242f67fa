//! `/ledger/v1/models`: where the batches of a model are and what became of them, for its owner and for auditors.

mod asking;

use std::{ops::Range, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    routing::get,
};
use genesis::Model;
use ledger::{
    event::Event,
    execute::Executed,
    shell::{fault::Fault, final_store::FinalStore},
    state::{KeyRotated, Phase, WalletRecord},
};
use scheduler::decision::{Decision, Logged};
use serde::Deserialize;
use serde_json::{Value, json};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    units::{LogIndex, NodeId},
};

use super::{
    Api, admin, auth::ByOwner, ledger::Answer, path::WalletPath, problem::Problem, proofs::Proofs, refusal::Refusal,
};
use crate::{members::Members, schedule::Schedule};
pub(super) use asking::Asking;

/// Batches in one answer at most.
const BATCHES_MAX: usize = 256;

/// Entries that one request looks through at most. Most are no beginnings of a batch.
const SCAN_ENTRIES: u64 = 2_048;

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    from: u64,
    #[serde(default = "batches_max")]
    count: usize,
}

const fn batches_max() -> usize {
    BATCHES_MAX
}

async fn batches(
    State(api): State<Api>,
    reader: ByOwner,
    Path(model): Path<Digest>,
    Query(Page { from, count }): Query<Page>,
) -> Answer {
    may_read(&api, reader, model)?;
    let final_log = FinalLog::of(&api);
    let scan = move || {
        let size = final_log.executed.log.size();
        // Who asked for none would go on from the same place for ever.
        let (begun, next) = final_log.begun(model, from.min(size)..size, count.clamp(1, BATCHES_MAX))?;
        let batches: Vec<Value> = begun.into_iter().filter_map(|wallet| final_log.batch(wallet)).collect();
        Ok(Json(json!({"batches": batches, "next": next, "size": size})))
    };
    api.asking.scan(scan).await
}

async fn batch(
    State(api): State<Api>,
    reader: ByOwner,
    Path((model, WalletPath(wallet))): Path<(Digest, WalletPath)>,
) -> Answer {
    may_read(&api, reader, model)?;
    let (final_log, proofs) = (FinalLog::of(&api), api.proofs.clone());
    // A batch of another model is none for this owner.
    let record = final_log.executed.state.wallet(wallet).filter(|record| record.model == model);
    let record = record.ok_or(Refusal::WalletUnknown)?;
    let scan = move || {
        let mut body = final_log.shown(&record);
        body["places"] = record.rotations.iter().map(|rotation| final_log.place(rotation)).collect();
        Ok((body, final_log.last_eviction(&proofs, wallet)?))
    };
    let (mut body, eviction) = api.asking.scan(scan).await?;
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

/// The final log up to one height, and the state there.
struct FinalLog {
    store: FinalStore,
    executed: Arc<Executed>,
    members: Members,
}

/// That a batch's pages were dropped, by its last `BatchEvicted`.
struct Eviction {
    said: Value,
    by: NodeId,
    decision: Digest,
}

impl FinalLog {
    fn of(api: &Api) -> Self {
        let executed = api.replica().state();
        Self { store: api.replica().store().clone(), members: Members::from(executed.clone()), executed }
    }

    /// The first `count` wallets of `model` that were created in `range`, as far as one request looks, and the index
    /// from which the next one has to look on.
    fn begun(&self, model: Digest, range: Range<u64>, count: usize) -> Result<(Vec<WalletAddress>, u64), Fault> {
        let mut begun = Vec::new();
        let until = range.end.min(range.start.saturating_add(SCAN_ENTRIES));
        for index in range.start..until {
            if begun.len() == count {
                return Ok((begun, index));
            }
            let entry = self.store.entry(LogIndex::new(index))?;
            if let Some(Event::WalletCreated(created)) = entry.as_ref().map(|entry| &entry.body.event)
                && created.grant.terms.model == model
            {
                begun.push(created.grant.terms.address());
            }
        }
        Ok((begun, until))
    }

    fn batch(&self, wallet: WalletAddress) -> Option<Value> {
        self.executed.state.wallet(wallet).map(|record| self.shown(&record))
    }

    fn shown(&self, record: &WalletRecord) -> Value {
        let begun = record.rotations.first().and_then(|first| self.executed.state.entry(first.entry));
        let (phase, closed) = match &record.phase {
            Phase::Active => ("active", None),
            Phase::Offered(_) => ("offered", None),
            Phase::Accepted(_) => ("accepted", None),
            Phase::Closed { reason, at } => ("closed", Some(json!({"reason": reason, "height": at}))),
        };
        json!({
            "index": begun.map(|begun| begun.log_index),
            "wallet": record.address,
            "phase": phase,
            "closed": closed,
            "place": record.rotations.last().map(|rotation| self.place(rotation)),
        })
    }

    /// Where a batch was from an epoch on.
    fn place(&self, rotation: &KeyRotated) -> Value {
        let (node, since) = (self.members.node(rotation.holder), self.executed.state.entry(rotation.entry));
        json!({
            "epoch": rotation.epoch,
            "node": self.members.name(rotation.holder),
            "operator": node.as_ref().map(|node| &node.operator),
            "region": node.as_ref().map(|node| &node.region),
            "since": {"height": rotation.at, "time_ms": since.map(|since| since.time)},
        })
    }

    fn last_eviction(&self, proofs: &Proofs, wallet: WalletAddress) -> Result<Option<Eviction>, Problem> {
        for index in proofs.wallet_entries(wallet)?.into_iter().rev() {
            let Some(entry) = self.store.entry(index)? else { continue };
            if let Event::BatchEvicted(evicted) = &entry.body.event {
                let (by, decision) = (entry.body.author, evicted.decision);
                let place = self.executed.state.entry(entry.id());
                let said = json!({
                    "index": index,
                    "height": place.map(|place| place.height),
                    "time_ms": place.map(|place| place.time),
                    "node": self.members.name(by),
                    "decision": decision,
                });
                return Ok(Some(Eviction { said, by, decision }));
            }
        }
        Ok(None)
    }
}

impl Eviction {
    /// The reason, which stands in the decision; none if nobody hands that out now.
    async fn why(&self, schedule: &Schedule, wallet: WalletAddress) -> Option<Value> {
        let cause = schedule.cause(self.by, self.decision).await.ok()?;
        let decision = Decision::decode(&cause.decision).ok()?;
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
