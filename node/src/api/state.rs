//! `/ledger/v1/state/...`: what stands in the final state under a key, or that nothing does, with the proof.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use ledger::state::StateKey;
use serde_json::{Value, json};
use wallet::{
    codec,
    digest::{Digest, to_hex},
    grant::WalletAddress,
    identity::PublicKey,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::{Api, auth::ByAuditor, ledger::Answer, proofs::blocking, refusal::Refusal};

/// The state's path.
pub(super) fn router() -> Router<Api> {
    Router::new().route("/ledger/v1/state/{*key}", get(prove))
}

/// Proofs are of the newest final state alone: it keeps no older ones.
async fn prove(State(api): State<Api>, _: ByAuditor, Path(path): Path<String>) -> Answer {
    let invalid = || Refusal::PlaceInvalid { name: "state", reason: format!("{path:?} names no record") };
    let key = read(&path).ok_or_else(invalid)?;
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

/// The key that a path names.
fn read(path: &str) -> Option<StateKey> {
    let (kind, name) = path.split_once('/').unwrap_or((path, ""));
    let digest = || name.parse::<Digest>().ok();
    let node = || name.parse::<u32>().ok().filter(|node| node.to_string() == name).map(NodeId::new);
    Some(match kind {
        "governance" if path == kind => StateKey::Governance,
        "wallet" => StateKey::Wallet(WalletAddress(digest()?)),
        "prekey" => StateKey::Prekey(ExchangeKey(digest()?.0)),
        "entry" => StateKey::Entry(digest()?),
        "baseline" => StateKey::Baseline(digest()?),
        "award" => {
            let (wallet, epoch) = name.split_once('/')?;
            let number: u32 = epoch.parse().ok().filter(|number: &u32| number.to_string() == epoch)?;
            StateKey::Award(WalletAddress(wallet.parse().ok()?), KeyEpoch::new(number))
        }
        "account" => StateKey::Account(node()?),
        "anchor" => StateKey::Anchor(node()?),
        "resumption" => StateKey::Resumption(node()?),
        "parameters" if path == kind => StateKey::Parameters,
        "operator" => StateKey::Operator(name.parse().ok()?),
        "node" => StateKey::Node(node()?),
        "key" => StateKey::Key(PublicKey(digest()?.0)),
        "auditor" => StateKey::Auditor(digest()?),
        "proposal" => StateKey::Proposal(digest()?),
        "validators" => StateKey::Validators(name.parse().ok().filter(|epoch: &u64| epoch.to_string() == name)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_record_has_a_path_and_nothing_else_has() {
        let hash = "ab".repeat(32);
        let digest = Digest([0xAB; 32]);
        for (path, key) in [
            ("governance".to_owned(), StateKey::Governance),
            (format!("wallet/{hash}"), StateKey::Wallet(WalletAddress(digest))),
            (format!("prekey/{hash}"), StateKey::Prekey(ExchangeKey(digest.0))),
            (format!("entry/{hash}"), StateKey::Entry(digest)),
            (format!("baseline/{hash}"), StateKey::Baseline(digest)),
            (format!("award/{hash}/3"), StateKey::Award(WalletAddress(digest), KeyEpoch::new(3))),
            ("account/2".to_owned(), StateKey::Account(NodeId::new(2))),
            ("anchor/0".to_owned(), StateKey::Anchor(NodeId::ZERO)),
            ("resumption/4".to_owned(), StateKey::Resumption(NodeId::new(4))),
            ("validators/1".to_owned(), StateKey::Validators(1)),
            ("parameters".to_owned(), StateKey::Parameters),
            ("node/4".to_owned(), StateKey::Node(NodeId::new(4))),
            (format!("key/{hash}"), StateKey::Key(PublicKey(digest.0))),
            (format!("auditor/{hash}"), StateKey::Auditor(digest)),
            (format!("proposal/{hash}"), StateKey::Proposal(digest)),
        ] {
            assert_eq!(read(&path), Some(key), "{path}");
            for other in [format!("{path}/"), format!("{path}0x"), path.to_uppercase(), format!("/{path}")] {
                assert_eq!(read(&other), None, "{other}");
            }
        }
        assert_eq!(read("operator/eu-1"), Some(StateKey::Operator("eu-1".parse().expect("a name"))));
        for path in [
            "",
            "operator",
            "operator/",
            "operator/EU",
            "operator/a/b",
            "wallet",
            "wallet/",
            "wallet/ab",
            "award",
            "award/3",
            "account/",
            "account/+1",
            "account/01",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
