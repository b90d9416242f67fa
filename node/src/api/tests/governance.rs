//! What operators hand over, signed.

use ::ledger::{
    event::DecisionAnchored,
    governance::{Action, ProposalEnacted},
    state::Stage,
};
use wallet::{digest::to_hex, identity::Signature};

use super::*;
use crate::cli;

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_signed_counts_at_any_node_and_is_enacted_without_anybody_asking() {
    let alone = Alone::start().await;
    let post =
        async |event: &Event| alone.post("/ledger/v1/governance?wait=final", None, wallet::codec::encode(event)).await;
    let (from, to) = (Parameters::default().credit_per_ms, Parameters::default().credit_per_ms + 1);
    let change = Action::SetParameter { name: "credit_per_ms".into(), from, to };
    let made = alone.proposal(vec![change]);
    let proposal = made.terms.digest();
    let forged = Event::ProposalMade(Box::new(ProposalMade { signature: Signature([0; 64]), ..made.clone() }));
    assert_eq!(problem(post(&forged).await).await, (403, "L-240".to_owned()));
    let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: 1, log_head: Digest::ZERO });
    assert_eq!(problem(post(&anchored).await).await, (400, "N-524".to_owned()));
    let made = Event::ProposalMade(Box::new(made));
    let answer: Value = post(&made).await.json().await.expect("JSON");
    let again: Value = post(&made).await.json().await.expect("JSON");
    assert_eq!(answer["id"], again["id"], "sent again, it is the same entry");
    let mut state = alone.node.sessions().context().replica.watch_state();
    let enacted = state.wait_for(|tip| tip.state.parameters().credit_per_ms == to);
    tokio::time::timeout(Duration::from_secs(60), enacted).await.expect("the node enacts it").expect("it runs");
    let record = alone.node.sessions().context().replica.state().state.proposal(proposal).expect("it was made");
    assert!(matches!(record.stage, Stage::Enacted { .. }), "{:?}", record.stage);
    let enact = Event::ProposalEnacted(ProposalEnacted { proposal });
    let done = post(&enact).await;
    // The node's own entry is the same one.
    assert_eq!(done.status(), 200);
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_signs_nothing_that_the_rules_do_not_take_now_whoever_brings_it() {
    let alone = Alone::start().await;
    let context = alone.node.sessions().context().clone();
    let refused = async |event: Event| {
        let signed = crate::governance::submit(&context, event.clone());
        assert!(signed.is_err(), "the node signs a {}", event.name());
        problem(alone.post("/ledger/v1/governance", None, wallet::codec::encode(&event)).await).await
    };
    let lock = Action::SetParameter { name: "proposal_lock_ms".into(), from: 0, to: 3_600_000 };
    let made = alone.proposal(vec![lock]);
    let enact = |made: &ProposalMade| Event::ProposalEnacted(ProposalEnacted { proposal: made.terms.digest() });
    assert_eq!(refused(enact(&made)).await, (403, "L-245".to_owned()));
    alone.order(Event::ProposalMade(Box::new(made.clone()))).await;
    let enacted =
        context.replica.watch_state().wait_for(|tip| tip.state.parameters().proposal_lock_ms > 0).await.is_ok();
    assert!(enacted);
    let (from, to) = (Parameters::default().credit_per_ms, Parameters::default().credit_per_ms + 1);
    let locked = alone.proposal(vec![Action::SetParameter { name: "credit_per_ms".into(), from, to }]);
    alone.order(Event::ProposalMade(Box::new(locked.clone()))).await;
    // What may be taken later is kept for no stranger.
    assert_eq!(refused(enact(&locked)).await, (409, "L-254".to_owned()));
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consortium_without_auditors_changes_a_parameter_and_grants_one() {
    let alone = Alone::founded("", &[]).await;
    let path = |name: &str| alone.folder.path().join(name).to_string_lossy().into_owned();
    let run = async |line: &str| {
        let words = line.split_whitespace().map(|word| match fs::exists(path(word)).unwrap_or(false) {
            true => path(word),
            false => word.to_owned(),
        });
        cli::run(words).await
    };
    let propose = "governance propose --genesis genesis.toml --operator eu-1 --key eu-1.key";
    assert_eq!(problem(alone.get("/ledger/v1/governance", None).await).await, (401, "N-501".to_owned()));
    let shown = run("governance show --data-dir data").await.expect("whoever may open the socket reads it");
    let (electorate, was) = (&shown.json()["electorate"], shown.json()["parameters"]["credit_per_ms"].as_u64());
    let was = was.expect("a number");
    // Over HTTP, where the operator says to which electorate; and at the socket, which knows it.
    let changed = format!(
        "{propose} --action set-parameter,name=credit_per_ms,from={was},to={} --electorate {electorate} --url {}",
        was + 1,
        alone.url
    );
    run(&changed).await.expect("its signature is what counts");
    let hash = to_hex(&Sha256::digest(AUDITOR));
    let granted = format!("{propose} --action grant-auditor,name=First,key-hash={hash} --data-dir data");
    run(&granted).await.expect("its signature is what counts");
    let mut state = alone.node.sessions().context().replica.watch_state();
    let enacted = state.wait_for(|tip| {
        let key_hash = Digest(Sha256::digest(AUDITOR).into());
        tip.state.parameters().credit_per_ms == was + 1 && tip.state.auditor(key_hash).is_some()
    });
    tokio::time::timeout(Duration::from_secs(60), enacted).await.expect("the node enacts both").expect("it runs");
    assert_eq!(alone.get("/ledger/v1/governance", Some(AUDITOR)).await.status(), 200);
    alone.node.stop().await;
}
