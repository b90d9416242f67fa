//! Proofs of what the final state holds, and of what it does not.

use ::ledger::{
    block::Header,
    certificate::Certificate,
    state::{Record, StateKey},
    tree::state::StateProof,
};
use wallet::{
    digest::to_hex,
    grant::WalletAddress,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn each_record_of_the_state_is_proven_and_so_is_each_absence() {
    let (alone, wallet, _) = with_checkpoint().await;
    let consortium = alone.consortium();
    let state = async |path: &str| -> (Value, Header, StateProof) {
        let answer = alone.get(&format!("/ledger/v1/state/{path}"), Some(AUDITOR)).await;
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = answer.json().await.expect("JSON");
        let header: Header = serde_json::from_value(answer["header"].clone()).expect("a header");
        let certificate: Certificate = serde_json::from_value(answer["certificate"].clone()).expect("a certificate");
        assert_eq!(certificate.block, header.digest());
        certificate.verify(consortium.validators(), &consortium.id()).expect("it is certified");
        let (siblings, terminal) = (hashes(&answer["proof"]["siblings"]), &answer["proof"]["terminal"]);
        let digest = |value: &Value| serde_json::from_value::<Digest>(value.clone()).expect("a hash");
        let terminal = (!terminal.is_null()).then(|| (digest(&terminal["key"]), digest(&terminal["value_hash"])));
        (answer, header, StateProof { siblings, terminal })
    };
    let entries: Value = alone.get("/ledger/v1/entries", Some(AUDITOR)).await.json().await.expect("JSON");
    let entry = entries["entries"][0]["id"].as_str().expect("an id").to_owned();
    let of = |hex: &str| hex.parse::<Digest>().expect("a hash");
    let wallet_key = StateKey::Wallet(WalletAddress(of(&wallet)));
    for (path, key) in [
        ("governance".to_owned(), StateKey::Governance),
        (format!("wallet/{wallet}"), wallet_key.clone()),
        ("parameters".to_owned(), StateKey::Parameters),
        ("node/0".to_owned(), StateKey::Node(NodeId::ZERO)),
        ("validators/0".to_owned(), StateKey::Validators(0)),
        (format!("entry/{entry}"), StateKey::Entry(of(&entry))),
    ] {
        let (answer, header, proof) = state(&path).await;
        assert_eq!(answer["key"], json!(key.digest()));
        let record: Record = serde_json::from_value(answer["record"].clone()).expect("a record");
        let value = wallet::codec::encode(&record);
        assert_eq!(answer["value"], to_hex(&value));
        proof.verify_present(&header.state_root, &key.digest(), &value).expect("it is there");
    }
    let none = "00".repeat(32);
    for (path, key) in [
        (format!("wallet/{none}"), StateKey::Wallet(WalletAddress(Digest::ZERO))),
        (format!("prekey/{none}"), StateKey::Prekey(ExchangeKey([0; 32]))),
        (format!("entry/{none}"), StateKey::Entry(Digest::ZERO)),
        (format!("baseline/{none}"), StateKey::Baseline(Digest::ZERO)),
        (format!("award/{wallet}/7"), StateKey::Award(WalletAddress(of(&wallet)), KeyEpoch::new(7))),
        ("account/9".to_owned(), StateKey::Account(NodeId::new(9))),
        ("anchor/9".to_owned(), StateKey::Anchor(NodeId::new(9))),
        ("resumption/9".to_owned(), StateKey::Resumption(NodeId::new(9))),
    ] {
        let (answer, header, proof) = state(&path).await;
        assert_eq!(
            (&answer["key"], &answer["value"], &answer["record"]),
            (&json!(key.digest()), &Value::Null, &Value::Null)
        );
        proof.verify_absent(&header.state_root, &key.digest()).expect("nothing is there");
        assert!(proof.verify_absent(&header.state_root, &wallet_key.digest()).is_err());
    }
    let answer = alone.get("/ledger/v1/state/wallet/x", Some(AUDITOR)).await;
    assert_eq!(problem(answer).await, (400, "N-509".to_owned()));
    alone.node.stop().await;
}
