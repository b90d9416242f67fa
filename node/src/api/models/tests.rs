//! Over HTTP, with two nodes of two operators.

use std::time::Duration;

use scheduler::action::Action;
use tokio::time::{sleep, timeout};
use wallet::units::TokenCount;

use super::*;
use crate::{
    api::openapi::shape::{assert_described, parsed},
    session::{command::SessionCommand, request::Sampling},
    testbed::{AUDITOR, Client, OWNER, PATIENCE, STRANGER, Testbed, control, served_model},
    tls::client::plain,
};

/// Slow enough that it decodes until it is parked.
const PACE_MS: u32 = 50;

/// What a node answers to a key: status, and JSON.
async fn get(testbed: &Testbed, node: u32, key: &str, path: &str) -> (u16, Value) {
    let url = format!("http://{}/{path}", testbed.node(node).api_address());
    let answer = plain().build().expect("a client").get(url).bearer_auth(key).send().await.expect("the node answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn code(testbed: &Testbed, key: &str, path: &str) -> (u16, String) {
    let (status, problem) = get(testbed, 0, key, path).await;
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

/// What the other node says of a batch, once it is so.
async fn until(testbed: &Testbed, wallet: WalletAddress, is_so: &dyn Fn(&Value) -> bool) -> Value {
    let path = format!("ledger/v1/models/{}/batches/{}", served_model(), wallet.0);
    let told = async {
        loop {
            let (status, batch) = get(testbed, 1, OWNER, &path).await;
            assert_eq!(status, 200, "{batch}");
            if is_so(&batch) {
                return batch;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("it becomes final at the other node")
}

/// Two nodes, and a session at the first that is final at both.
async fn with_session(sampling: &Sampling) -> (Testbed, Client) {
    let testbed = Testbed::start(&["eu", "us"]).await;
    let client = testbed.create(0, &["eu"], sampling, PACE_MS).await;
    for node in [0, 1] {
        testbed.until_created(node, &client).await;
    }
    (testbed, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sees_the_batches_of_its_own_models_and_nothing_else() {
    // It is still active when all have asked.
    let (testbed, client) = with_session(&control(400).0).await;
    let (served, other) = (served_model(), Digest::ZERO);
    let wallet = client.reply.wallet.0;
    for (key, expected) in [(OWNER, vec!["tiny"]), (STRANGER, vec!["other"]), (AUDITOR, vec!["other", "tiny"])] {
        let (status, models) = get(&testbed, 0, key, "ledger/v1/models").await;
        let names: Vec<&str> = models.as_array().expect("a list").iter().filter_map(|m| m["name"].as_str()).collect();
        assert_eq!((status, names), (200, expected), "{key}");
        assert_described(&parsed(), "/ledger/v1/models", &models);
    }
    let own = format!("ledger/v1/models/{served}/batches");
    for key in [OWNER, AUDITOR] {
        let (status, page) = get(&testbed, 0, key, &own).await;
        assert_eq!((status, page["batches"].as_array().expect("a list").len()), (200, 1), "{key}");
        assert_described(&parsed(), "/ledger/v1/models/{model}/batches", &page);
        let (batch, place) = (&page["batches"][0], &page["batches"][0]["place"]);
        assert_eq!((&batch["wallet"], &batch["phase"]), (&json!(wallet), &json!("active")));
        assert_eq!(
            (&place["node"], &place["operator"], &place["region"]),
            (&json!("node-0"), &json!("op-0"), &json!("eu"))
        );
        assert_eq!(get(&testbed, 0, key, &format!("{own}/{wallet}")).await.0, 200, "{key}");
    }
    // Which models there are for others is not said either.
    for path in [own.clone(), format!("{own}/{wallet}"), format!("ledger/v1/models/{}/batches", Digest([1; 32]))] {
        assert_eq!(code(&testbed, STRANGER, &path).await, (404, "N-528".to_owned()), "{path}");
    }
    let strangers = format!("ledger/v1/models/{other}/batches");
    assert_eq!(code(&testbed, STRANGER, &format!("{strangers}/{wallet}")).await, (404, "N-511".to_owned()));
    assert_eq!(get(&testbed, 0, STRANGER, &strangers).await.1["batches"], json!([]));
    for path in ["status", "entries", "decisions", "evidence", "credits", &format!("wallets/{wallet}")] {
        assert_eq!(code(&testbed, OWNER, &format!("ledger/v1/{path}")).await, (403, "N-502".to_owned()), "{path}");
    }
    assert_eq!(code(&testbed, OWNER, "v1/models").await, (403, "N-502".to_owned()));
    assert_eq!(code(&testbed, "guess", "ledger/v1/models").await, (401, "N-501".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_come_in_the_order_of_the_log_and_each_of_them_once() {
    let (sampling, _) = control(5);
    let (testbed, first) = with_session(&sampling).await;
    let second = testbed.create(0, &["eu"], &sampling, PACE_MS).await;
    testbed.until_created(0, &second).await;
    let (mut from, mut seen) = (0, Vec::new());
    let size = loop {
        let path = format!("ledger/v1/models/{}/batches?from={from}&count=1", served_model());
        let (_, page) = get(&testbed, 0, OWNER, &path).await;
        let batches = page["batches"].as_array().expect("a list");
        assert!(batches.len() <= 1);
        seen.extend(batches.iter().map(|batch| batch["wallet"].clone()));
        let (next, size) = (page["next"].as_u64().expect("an index"), page["size"].as_u64().expect("a number"));
        assert!(next > from || next == size, "it goes on");
        from = next;
        if next == size {
            break size;
        }
    };
    assert_eq!(seen, [&first, &second].map(|client| json!(client.reply.wallet.0)));
    for beyond in [size, u64::MAX] {
        let path = format!("ledger/v1/models/{}/batches?from={beyond}", served_model());
        assert_eq!(get(&testbed, 0, OWNER, &path).await.1["batches"], json!([]), "{beyond}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_at_any_node_why_a_batch_was_evicted() {
    let (mut testbed, client) = with_session(&Sampling { max_tokens: TokenCount::new(200), ..control(200).0 }).await;
    let (wallet, session) = (client.reply.wallet, testbed.session(0, &client));
    let path = format!("ledger/v1/models/{}/batches/{}", served_model(), wallet.0);
    let before = until(&testbed, wallet, &|_| true).await;
    assert_eq!((&before["evicted"], &before["closed"]), (&Value::Null, &Value::Null));
    session.command(SessionCommand::Suspend { until_read: false }).await.expect("it serves");
    let schedule = testbed.node(0).schedule();
    schedule.command(wallet, Action::Evict).await.expect("a parked session can be evicted");
    let decided = schedule.decisions(Some(wallet), 10).await.expect("the log can be read");
    let evicted = until(&testbed, wallet, &|batch| !batch["evicted"].is_null()).await;
    assert_described(&parsed(), "/ledger/v1/models/{model}/batches/{wallet}", &evicted);
    let evicted = &evicted["evicted"];
    assert_eq!((&evicted["node"], &evicted["decision"]), (&json!("node-0"), &json!(decided[0].hash)));
    let (_, decisions) = get(&testbed, 0, AUDITOR, "ledger/v1/decisions").await;
    assert_described(&parsed(), "/ledger/v1/decisions", &decisions);
    let why = reason(decided[0].hash, wallet, &decided[0]);
    assert_eq!(evicted["why"], json!(why), "the other node asked the one that decided");
    // Neither another decision nor one about another batch is a reason, and the load of other nodes is made by others.
    assert_eq!(reason(Digest([9; 32]), wallet, &decided[0]), None);
    assert_eq!(reason(decided[0].hash, WalletAddress(Digest([9; 32])), &decided[0]), None);
    let mut looked = decided[0].decision.clone();
    looked.inputs.insert("candidate.1.queue_us".to_owned(), 77);
    let looked = Logged { hash: looked.hash(), decision: looked };
    let told = reason(looked.hash, wallet, &looked).expect("it is the one that is named").to_string();
    assert!(told.contains("batch.") && !told.contains("candidate."), "{told}");
    // What is known is not asked again: the one that decided may be gone.
    testbed.stop_node(0).await;
    let (_, again) = get(&testbed, 1, OWNER, &path).await;
    assert_eq!(again["evicted"]["why"], json!(why));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_why_a_batch_was_closed() {
    let (testbed, client) = with_session(&Sampling { max_tokens: TokenCount::new(200), ..control(200).0 }).await;
    let (wallet, session) = (client.reply.wallet, testbed.session(0, &client));
    session.command(SessionCommand::Close).await.expect("it can be ended");
    let closed = until(&testbed, wallet, &|batch| batch["phase"] == "closed").await;
    assert_eq!(closed["closed"]["reason"], "Tenant");
    assert_eq!(closed["places"].as_array().expect("a list").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_batches_gets_on_nevertheless() {
    let (testbed, _) = with_session(&control(5).0).await;
    let (mut from, mut seen) = (0, 0);
    loop {
        let path = format!("ledger/v1/models/{}/batches?from={from}&count=0", served_model());
        let (_, page) = get(&testbed, 0, OWNER, &path).await;
        seen += page["batches"].as_array().expect("a list").len();
        let next = page["next"].as_u64().expect("an index");
        assert!(next > from, "it goes on");
        from = next;
        if page["next"] == page["size"] {
            break;
        }
    }
    assert_eq!(seen, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_told_why_a_batch_was_evicted_although_the_node_that_decided_is_gone() {
    let (mut testbed, client) = with_session(&control(200).0).await;
    let wallet = client.reply.wallet;
    testbed.session(0, &client).command(SessionCommand::Suspend { until_read: false }).await.expect("it serves");
    let schedule = testbed.node(0).schedule();
    schedule.command(wallet, Action::Evict).await.expect("a parked session can be evicted");
    let decided = schedule.decisions(Some(wallet), 10).await.expect("the log can be read");
    // Nobody asked for it yet. The other node keeps it for the day on which somebody does.
    let replica = testbed.node(1).sessions().context().replica.clone();
    let kept = async {
        while replica.store().grounds(NodeId::ZERO, decided[0].hash).expect("it can be read").is_none() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, kept).await.expect("it is collected");
    testbed.stop_node(0).await;
    let path = format!("ledger/v1/models/{}/batches/{}", served_model(), wallet.0);
    let (status, batch) = get(&testbed, 1, OWNER, &path).await;
    let why = json!(reason(decided[0].hash, wallet, &decided[0]));
    assert_eq!((status, &batch["evicted"]["node"], &batch["evicted"]["why"]), (200, &json!("node-0"), &why));
}
