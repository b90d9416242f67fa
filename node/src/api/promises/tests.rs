//! Promises that clients of running nodes get.

use ledger::{
    event::{DecisionAnchored, Event},
    evidence::{Receipt, receipt::ReceiptInvalid},
};
use reqwest::{Client, Response};

use super::*;
use crate::{
    api::openapi::shape::{assert_described, parsed},
    testbed::{AUDITOR, PATIENCE, Testbed},
    tls::client::plain,
};

/// A client of one node, and entries by that node.
struct Author<'a> {
    testbed: &'a Testbed,
    node: u32,
    http: Client,
}

impl Author<'_> {
    fn url(&self, path: &str) -> String {
        format!("http://{}/ledger/v1/entries{path}", self.testbed.node(self.node).api_address())
    }

    async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).bearer_auth(AUDITOR).send().await.expect("the node answers")
    }

    /// Brings an entry to the node, and gives it with the answer.
    async fn submit(&self, decisions: u64) -> (ledger::event::Entry, Value) {
        let context = self.testbed.node(self.node).sessions().context();
        let anchored = Event::DecisionAnchored(DecisionAnchored { decisions, log_head: Digest([7; 32]) });
        let entry = context.sign(anchored, None);
        let request = self.http.post(self.url("?wait=promise")).bearer_auth(AUDITOR);
        let answer = request.body(wallet::codec::encode(&entry)).send().await.expect("the node answers");
        assert_eq!(answer.status(), 202);
        (entry, answer.json().await.expect("JSON"))
    }
}

/// That who brings an entry to that node gets a promise of the leader which can be kept and checked.
async fn is_promised(testbed: &Testbed, node: u32) {
    let author = Author { testbed, node, http: plain().build().expect("a client") };
    let (entry, answer) = author.submit(u64::from(node) + 1).await;
    let (promise, id) = (&answer["promise"], entry.id());
    assert_eq!(answer["id"], json!(id));
    assert!(promise["leaves"].as_array().expect("a list").contains(&json!(entry.leaf_hash())), "{answer}");
    let context = testbed.node(node).sessions().context();
    let genesis = context.consortium.id();
    assert_eq!((&promise["consortium"], &promise["epoch"]), (&json!(genesis), &0.into()));
    assert!(promise["expected_ms"].as_u64().expect("a time") >= context.consortium.created().get());

    let told: Value = author.get(&format!("/{id}")).await.json().await.expect("JSON");
    assert_described(&parsed(), "/ledger/v1/entries/{id}", &told);

    let file = author.get(&format!("/{id}/promise")).await;
    assert_eq!((file.status().as_u16(), &file.headers()["content-type"]), (200, &BYTES));
    let receipt = Receipt::from_bytes(&file.bytes().await.expect("a body")).expect("a receipt");
    let told = receipt.verify(&genesis, &[], Some(&entry.leaf_hash())).expect("the leader signed it");
    assert_eq!((json!(told.term), json!(told.through)), (promise["term"].clone(), promise["through"].clone()));
    assert_eq!(promise["leader"], json!(context.consortium.node(told.leader).expect("it is listed").name));
    assert_eq!(receipt.verify(&genesis, &[], Some(&Digest::ZERO)), Err(ReceiptInvalid::OtherEntry));

    // The leader kept it, and who asks later is told the same.
    let is_final = tokio::time::timeout(PATIENCE, context.replica.wait_final(id)).await.expect("it becomes final");
    let place = is_final.expect("it is not refused");
    let header = context.replica.store().header(place.height).expect("readable").expect("final");
    assert!(header.view.term > told.term || header.view.number <= told.through, "{:?} and {told:?}", header.view);
    let later: Value = author.get(&format!("/{id}")).await.json().await.expect("JSON");
    assert_eq!(later["status"], "final");
    // Unless another leader promised it anew.
    if later["promise"]["term"] == promise["term"] {
        assert_eq!(later["promise"]["signature"], promise["signature"]);
    }
    assert_described(&parsed(), "/ledger/v1/entries/{id}", &later);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_brings_an_entry_to_any_node_gets_the_leaders_promise_as_a_receipt() {
    let testbed = Testbed::start(&["eu"; 4]).await;
    // One of them leads.
    for node in 0..4 {
        is_promised(&testbed, node).await;
    }
    let author = Author { testbed: &testbed, node: 0, http: plain().build().expect("a client") };
    let unknown = author.get(&format!("/{}/promise", Digest::ZERO)).await;
    let code: Value = unknown.json().await.expect("a problem");
    assert_eq!(code["code"], "N-553");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consortium_of_one_promises_too() {
    let testbed = Testbed::start(&["eu"]).await;
    is_promised(&testbed, 0).await;
}
