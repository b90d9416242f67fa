//! State proofs that a running node gives as files.

use genesis::Auditor;
use ledger::{
    bundle::Check,
    event::{DecisionAnchored, Event},
    governance::Action,
    state_proof::verify,
};
use wallet::{
    digest::Digest,
    grant::WalletAddress,
    identity::PublicKey,
    prekey::ExchangeKey,
    units::{KeyEpoch, NodeId},
};

use super::*;
use crate::{
    testbed::{AUDITOR, PATIENCE, Testbed, control},
    tls::client::plain,
};

/// Slow enough that it is there for a move, and measured before and after it.
const PACE_MS: u32 = 30;

/// What stands in the final state after a session moved from node 0 to node 1: keys of all kinds but two.
async fn moved(testbed: &Testbed) -> Vec<StateKey> {
    let client = testbed.create(0, &["eu"], &control(200).0, PACE_MS).await;
    testbed.until_created(0, &client).await;
    testbed.migrate(0, &client, 1).await.expect("it moves");
    let key_hash = Digest([5; 32]);
    testbed.decide(0, vec![Action::GrantAuditor(Auditor { name: "Later".to_owned(), key_hash })]).await;
    let (context, wallet, epoch) = (testbed.node(0).sessions().context(), client.reply.wallet, KeyEpoch::new(1));
    let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: 1, log_head: Digest([7; 32]) });
    let anchored = context.replica.submit(context.sign(anchored, None)).expect("the rules allow it").id;
    context.replica.wait_final(anchored).await.expect("it is not refused");
    let mut state = context.replica.watch_state();
    let settled =
        state.wait_for(|tip| tip.state.award(wallet, epoch).is_some() && tip.state.auditor(key_hash).is_some());
    let tip = tokio::time::timeout(PATIENCE, settled).await.expect("it is settled").expect("the replica runs").clone();
    let entries = context.replica.store().entries(0..tip.log.size()).expect("final entries");
    let named = |find: &dyn Fn(&Event) -> Option<StateKey>| {
        entries.iter().find_map(|entry| find(&entry.body.event)).expect("it is on the ledger")
    };
    let mut keys = vec![
        StateKey::Governance,
        StateKey::Wallet(wallet),
        named(&|event| match event {
            Event::MigrationOffered(offer) => Some(StateKey::Prekey(offer.prekey.key)),
            _ => None,
        }),
        StateKey::Entry(anchored),
        StateKey::Award(wallet, epoch),
        StateKey::Anchor(NodeId::ZERO),
        StateKey::Validators(0),
        StateKey::Parameters,
        StateKey::Operator("op-1".parse().expect("a name")),
        StateKey::Node(NodeId::new(1)),
        StateKey::Key(context.consortium.nodes()[0].key),
        StateKey::Auditor(key_hash),
        named(&|event| match event {
            Event::ProposalMade(made) => Some(StateKey::Proposal(made.terms.digest())),
            _ => None,
        }),
    ];
    let baseline = entries.iter().find(|entry| matches!(entry.body.event, Event::BaselineCommitted(_)));
    keys.extend(baseline.map(|entry| StateKey::Baseline(entry.id())));
    keys
}

fn absent() -> Vec<StateKey> {
    let none = Digest([0x5a; 32]);
    vec![
        StateKey::Wallet(WalletAddress(none)),
        StateKey::Prekey(ExchangeKey(none.0)),
        StateKey::Entry(none),
        StateKey::Baseline(none),
        StateKey::Award(WalletAddress(none), KeyEpoch::new(1)),
        StateKey::Account(NodeId::ZERO),
        StateKey::Anchor(NodeId::new(9)),
        StateKey::Resumption(NodeId::new(9)),
        StateKey::Validators(1),
        StateKey::Operator("proof".parse().expect("a name")),
        StateKey::Node(NodeId::new(9)),
        StateKey::Key(PublicKey(none.0)),
        StateKey::Auditor(none),
        StateKey::Proposal(none),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_proves_what_a_move_left_on_the_ledger_and_what_is_not_there_in_a_file() {
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let (present, genesis) = (moved(&testbed).await, testbed.node(0).sessions().context().consortium.id());
    let http = plain().build().expect("a client");
    for node in 0..2 {
        let url = format!("http://{}/ledger/v1/state", testbed.node(node).api_address());
        let get = async |path: &str| {
            http.get(format!("{url}/{path}")).bearer_auth(AUDITOR).send().await.expect("the node answers")
        };
        for (key, there) in present.iter().map(|key| (key, true)).chain(absent().iter().map(|key| (key, false))) {
            let answer = get(&format!("{key}/proof")).await;
            assert_eq!(answer.status(), 200, "{key}");
            assert_eq!(answer.headers()["content-type"], "application/octet-stream");
            let file = answer.bytes().await.expect("a body");
            let report = verify(&file, &genesis, &[], Some(key)).expect("it is proven");
            assert_eq!(report.record.is_some(), there, "{key} at node {node}");
            let other = verify(&file, &Digest::ZERO, &[], Some(key)).expect_err("another genesis").check;
            assert_eq!(other, Check::GenesisHash);
        }
        for path in ["proof", "wallet/proof", "wallet/x/proof", "governance/proof/proof", "governance/proo"] {
            assert_eq!(get(path).await.status(), 400, "{path}");
        }
    }
}
