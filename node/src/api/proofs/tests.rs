//! Bundles that a running consortium gives, before and after its validators changed.

use std::time::Duration;

use ledger::{
    bundle::{Check, verify},
    governance::{Action, Member},
};
use scheduler::{action::Action as Chosen, refusal::Refusal as Reason};
use wallet::units::NodeId;

use super::*;
use crate::{
    node::Seams,
    schedule::refusal::Refusal,
    testbed::{AUDITOR, Client, PATIENCE, Testbed, control},
    tls::client::plain,
};

/// Slow enough that it is there for two moves.
const PACE_MS: u32 = 100;

/// The bundle of a move as `node` gives it, once the decision behind it is anchored there.
async fn bundle(testbed: &Testbed, node: u32, client: &Client, epoch: u32) -> Vec<u8> {
    let running = testbed.node(node);
    let context = running.sessions().context();
    let proofs = Proofs::new(context.replica.clone(), context.consortium.clone(), Asking::default());
    let mut tips = context.replica.watch_state();
    let proven = async {
        loop {
            tips.borrow_and_update();
            let built = proofs
                .bundle(running.schedule(), Digest::ZERO, client.reply.wallet, Some(KeyEpoch::new(epoch)), None)
                .await;
            if let Ok(bundle) = built {
                return bundle.to_bytes();
            }
            tips.changed().await.expect("the replica runs");
        }
    };
    tokio::time::timeout(PATIENCE, proven).await.expect("the move is proven")
}

/// Of `nodes` nodes the first `running`, the hash of their genesis document, and a session at the first of them.
async fn with_session(nodes: usize, running: u32) -> (Testbed, Digest, Client) {
    let mut testbed = Testbed::prepare(&vec!["eu"; nodes]);
    for node in 0..nodes as u32 {
        testbed.config(node).tick = Duration::from_millis(200);
    }
    for node in 0..running {
        testbed.start_node(node, Seams::default()).await;
    }
    testbed.until_final().await;
    let genesis = testbed.node(0).sessions().context().consortium.id();
    let client = testbed.create(0, &["eu"], &control(200).0, PACE_MS).await;
    testbed.until_created(0, &client).await;
    (testbed, genesis, client)
}

/// Moves the session, once the scheduler at `from` knows how much room there is at `to`.
async fn moved(testbed: &Testbed, from: u32, client: &Client, to: u32) {
    let (schedule, chosen) = (testbed.node(from).schedule(), Chosen::Migrate { to: NodeId::new(to) });
    let moved = async {
        while let Err(refusal) = schedule.command(client.reply.wallet, chosen).await {
            assert!(matches!(refusal, Refusal::Rule(Reason::LoadStale)), "{refusal:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, moved).await.expect("it moves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_proves_a_move_before_and_one_after_the_validators_changed() {
    let (testbed, genesis, client) = with_session(4, 4).await;
    moved(&testbed, 0, &client, 1).await;
    let first = verify(&bundle(&testbed, 2, &client, 1).await, &genesis, &[], None).expect("it is proven");
    assert_eq!((first.attested.epoch, first.attested.assurance.validators), (0, 4));

    let last = Member::Node(NodeId::new(3));
    testbed.decide(0, vec![Action::Suspend(last)]).await;
    for node in 0..4 {
        testbed.until(node, |members| members.validators().epoch == 1).await;
    }
    moved(&testbed, 1, &client, 2).await;
    // The suspended node knows the ledger, too.
    for (node, epoch, source) in [(0, 2, 1), (2, 1, 0), (3, 2, 1)] {
        let proven = verify(&bundle(&testbed, node, &client, epoch).await, &genesis, &[], None).expect("it is proven");
        assert_eq!((proven.moved.source.0, proven.moved.epoch.get()), (NodeId::new(source), epoch));
        if epoch == 2 {
            assert_eq!(
                (proven.attested.epoch, proven.attested.assurance.validators, proven.attested.assurance.quorum),
                (1, 3, 3)
            );
        }
    }
}

/// What `node` answers its auditor.
async fn asked(testbed: &Testbed, node: u32, path: &str) -> reqwest::Response {
    let url = format!("http://{}{path}", testbed.node(node).api_address());
    let http = plain().build().expect("a client");
    http.get(url).bearer_auth(AUDITOR).send().await.expect("the node answers")
}

/// The body of that, once there is one.
async fn told(testbed: &Testbed, node: u32, path: &str) -> Vec<u8> {
    let told = async {
        loop {
            let answer = asked(testbed, node, path).await;
            if answer.status() == 200 {
                return answer.bytes().await.expect("a body").to_vec();
            }
            let problem: serde_json::Value = answer.json().await.expect("a problem");
            // Not anchored, or not cosigned yet.
            assert!(problem["code"] == "N-514" || problem["code"] == "N-523", "{path}: {problem}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("it is anchored and cosigned")
}

/// The newest checkpoint of the first node, once the log has an entry under it, and the log's size there.
async fn kept_checkpoint(testbed: &Testbed) -> (Vec<u8>, u64) {
    let covering = async {
        loop {
            let note = told(testbed, 0, "/ledger/v1/log/checkpoint").await;
            let size = String::from_utf8_lossy(&note).lines().nth(1).expect("a size").parse().expect("a number");
            if size > 0 {
                return (note, size);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, covering).await.expect("it is cosigned")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_over_http_goes_on_from_the_checkpoint_that_its_reader_kept() {
    let (testbed, genesis, client) = with_session(2, 2).await;
    let (kept, size) = kept_checkpoint(&testbed).await;
    moved(&testbed, 0, &client, 1).await;
    bundle(&testbed, 1, &client, 1).await;

    let path = format!("/ledger/v1/wallets/{}/bundle", client.reply.wallet.0);
    let later = told(&testbed, 1, &format!("{path}?since={size}")).await;
    let report = verify(&later, &genesis, &[], Some(&kept)).expect("the log only grew");
    assert_eq!((report.pinned, report.moved.epoch.get()), (Some(size), 1));
    let without = told(&testbed, 1, &path).await;
    let failure = verify(&without, &genesis, &[], Some(&kept)).expect_err("it shows nothing of that");
    assert_eq!(failure.check, Check::Consistency);
    // The log never had so many entries, or it is no number of entries.
    for (since, status, code) in
        [("0", 400, "N-505"), ("18446744073709551615", 404, "N-522"), ("-1", 400, "N-509"), ("many", 400, "N-509")]
    {
        let refused = asked(&testbed, 1, &format!("{path}?since={since}")).await;
        assert_eq!(refused.status(), status, "{since}");
        let problem: serde_json::Value = refused.json().await.expect("a problem");
        assert_eq!(problem["code"], code, "{since}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_stays_provable_when_its_source_is_gone() {
    let (mut testbed, genesis, client) = with_session(4, 3).await;
    moved(&testbed, 0, &client, 1).await;
    let decided = testbed.node(0).schedule().decisions(Some(client.reply.wallet), 1).await.expect("it can be read");
    let decision = decided.first().expect("it was moved").hash;
    until_kept(&testbed, 2, decision).await;
    testbed.stop_node(0).await;

    // The last node never met the source: it has the decision from the others.
    testbed.start_node(3, Seams::default()).await;
    for node in [2, 3] {
        let proven = verify(&bundle(&testbed, node, &client, 1).await, &genesis, &[], None).expect("it is proven");
        assert_eq!((proven.moved.source.0, proven.moved.epoch.get()), (NodeId::ZERO, 1));
    }
    until_kept(&testbed, 3, decision).await;
}

/// Waits until `node` has kept the decision of another one.
async fn until_kept(testbed: &Testbed, node: u32, decision: Digest) {
    let store = testbed.node(node).sessions().context().replica.store().clone();
    let kept = async {
        while store.grounds(NodeId::ZERO, decision).expect("it can be read").is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, kept).await.expect("it is asked for");
}
