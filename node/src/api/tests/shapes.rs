//! Answers against `/openapi.json`.

use ::ledger::event::DecisionAnchored;

use super::*;
use crate::{
    api::openapi::shape::assert_described,
    node::Seams,
    testbed::{self, Testbed},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_shape_that_the_openapi_document_gives_it() {
    let (alone, wallet, _) = with_checkpoint().await;
    let made = alone.proposal(vec![Action::SetParameter { name: "credit_per_ms".into(), from: 1, to: 2 }]);
    let proposal = made.terms.digest();
    alone.order(Event::ProposalMade(Box::new(made))).await;
    let described: Value = alone.get("/openapi.json", None).await.json().await.expect("JSON");
    let document = serde_json::from_value(described).expect("an OpenAPI document");
    let entries: Value = alone.get("/ledger/v1/entries", Some(AUDITOR)).await.json().await.expect("JSON");
    let id = entries["entries"][0]["id"].as_str().expect("an id").to_owned();
    let evidence = alone.folder.path().join("data/ledger/evidence");
    fs::create_dir_all(&evidence).expect("our own folder");
    fs::write(evidence.join("fork-9"), b"no file of ours").expect("our own folder");
    for (path, asked, key) in [
        ("/v1/models", String::new(), TENANT),
        ("/ledger/v1/status", String::new(), AUDITOR),
        ("/ledger/v1/checkpoint", String::new(), AUDITOR),
        ("/ledger/v1/entries", "?from=1&count=2".to_owned(), AUDITOR),
        ("/ledger/v1/entries/{id}", id.clone(), AUDITOR),
        ("/ledger/v1/blocks/{height}", "1".to_owned(), AUDITOR),
        ("/ledger/v1/wallets", "?from=0&count=3".to_owned(), AUDITOR),
        ("/ledger/v1/wallets/{address}", wallet.clone(), AUDITOR),
        ("/ledger/v1/credits", String::new(), AUDITOR),
        ("/ledger/v1/credits/awards", "?from=0&count=2".to_owned(), AUDITOR),
        ("/ledger/v1/re-geneses", String::new(), AUDITOR),
        ("/ledger/v1/operators", String::new(), AUDITOR),
        ("/ledger/v1/decisions", String::new(), AUDITOR),
        ("/ledger/v1/evidence", String::new(), AUDITOR),
        ("/ledger/v1/governance", String::new(), AUDITOR),
        ("/ledger/v1/governance/proposals", String::new(), AUDITOR),
        ("/ledger/v1/log/inclusion", "?index=0".to_owned(), AUDITOR),
        ("/ledger/v1/log/consistency", "?old=1".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", format!("wallet/{wallet}"), AUDITOR),
        ("/ledger/v1/state/{key}", format!("entry/{id}"), AUDITOR),
        ("/ledger/v1/state/{key}", format!("proposal/{proposal}"), AUDITOR),
        ("/ledger/v1/state/{key}", "governance".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", "parameters".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", "operator/eu-1".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", "node/0".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", "validators/0".to_owned(), AUDITOR),
        ("/ledger/v1/state/{key}", "lineage".to_owned(), AUDITOR),
    ] {
        let place = path.split('{').next().expect("a beginning");
        let answer = alone.get(&format!("{place}{asked}"), Some(key)).await;
        assert_eq!(answer.status(), 200, "{path}");
        let answer: Value = answer.json().await.expect("JSON");
        assert_described(&document, path, &answer);
    }
    alone.node.stop().await;
}

/// One of two nodes alone makes nothing final.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_final_yet_has_the_shape_that_the_openapi_document_gives_it() {
    let mut testbed = Testbed::prepare(&["eu", "eu"]);
    testbed.start_node(0, Seams::default()).await;
    let (url, http) = (format!("http://{}", testbed.node(0).api_address()), plain().build().expect("a client"));
    let get = async |path: &str| -> Value {
        let answer = http.get(format!("{url}{path}")).bearer_auth(testbed::AUDITOR).send().await;
        let answer = answer.expect("the node answers");
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.expect("JSON")
    };
    let context = testbed.node(0).sessions().context();
    let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: 1, log_head: Digest([7; 32]) });
    let id = context.replica.submit(context.sign(anchored, None)).expect("the rules allow it").id;
    let (checkpoint, submitted) = (get("/ledger/v1/checkpoint").await, get(&format!("/ledger/v1/entries/{id}")).await);
    assert_eq!(checkpoint, json!({"header": null, "certificate": null, "carriers": []}));
    assert_eq!(submitted, json!({"id": id, "status": "submitted", "promise": null}));
    let document = serde_json::from_value(get("/openapi.json").await).expect("an OpenAPI document");
    assert_described(&document, "/ledger/v1/checkpoint", &checkpoint);
    assert_described(&document, "/ledger/v1/entries/{id}", &submitted);
    for path in ["/ledger/v1/status", "/ledger/v1/credits", "/ledger/v1/operators", "/ledger/v1/governance"] {
        assert_described(&document, path, &get(path).await);
    }
    testbed.stop_node(0).await;
}
