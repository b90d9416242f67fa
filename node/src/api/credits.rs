//! `/ledger/v1/credits`: what the nodes have, and what each hop earned.

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use ledger::{
    credits::{Account, Award},
    event::Event,
};
use serde_json::{Value, json};
use wallet::units::{BlockHeight, NodeId};

use super::{
    Api,
    auth::ByAuditor,
    final_log::FinalLog,
    ledger::Answer,
    paging::{Page, page as paged},
};

/// The auditors' paths.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/credits", get(accounts)).route("/ledger/v1/credits/awards", get(awards))
}

/// What counts now: a record of the state for each node, which stays small.
async fn accounts(State(api): State<Api>, ByAuditor(auditor): ByAuditor) -> Answer {
    let final_log = FinalLog::of(&api);
    let scan = move || {
        let (state, height) = (&final_log.executed.state, final_log.executed.height);
        let shown = |(id, _): (NodeId, _)| account(&final_log.members.name(id), &state.account(id), height);
        let accounts: Vec<Value> = final_log.members.nodes().map(shown).collect();
        Ok(Json(json!({"accounts": accounts, "height": height})))
    };
    api.asking.scan(auditor, scan).await
}

fn account(node: &str, account: &Account, height: BlockHeight) -> Value {
    let lots: Vec<_> = account.lots.iter().filter(|lot| lot.expires_at > height).collect();
    json!({"node": node, "balance": account.balance(height), "lots": lots})
}

/// What all hops ever earned, or why nothing, each where the entry stands that settled it.
async fn awards(State(api): State<Api>, ByAuditor(auditor): ByAuditor, Query(page): Query<Page>) -> Answer {
    let final_log = FinalLog::of(&api);
    let scan = move || {
        let (hops, next) = final_log.find(page, |event| match event {
            Event::KeyConfirmed(event) => Some((event.ticket.ticket.wallet, event.ticket.ticket.epoch)),
            Event::LatencyDelta(event) => Some((event.wallet, event.epoch)),
            _ => None,
        })?;
        let state = &final_log.executed.state;
        // A hop with a baseline is settled by its latency and not by its confirm.
        let settled_there =
            |index: u64, award: &Award| state.entry(award.entry).is_some_and(|record| record.log_index.get() == index);
        let awards = hops.into_iter().filter_map(|(index, (wallet, epoch))| {
            let award = state.award(wallet, epoch).filter(|award| settled_there(index, award))?;
            Some(json!({"index": index, "award": award}))
        });
        Ok(Json(paged("awards", awards.collect(), next, final_log.executed.log.size())))
    };
    api.asking.scan(auditor, scan).await
}

#[cfg(test)]
mod tests {
    use ledger::credits::Lot;

    use super::*;

    #[test]
    fn an_account_shows_the_lots_that_count_and_no_others() {
        let lot = |amount, expires_at| Lot { amount, expires_at: BlockHeight::new(expires_at) };
        let of = Account { lots: vec![lot(3, 10), lot(4, 11)] };
        let shown = account("eu-1", &of, BlockHeight::new(10));
        assert_eq!(shown, json!({"node": "eu-1", "balance": 4, "lots": [{"amount": 4, "expires_at": 11}]}));
    }
}
