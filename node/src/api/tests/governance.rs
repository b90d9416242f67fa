//! What operators hand over, signed.

use ::ledger::{
    event::DecisionAnchored,
    governance::{Action, ProposalEnacted},
    state::Stage,
};
use wallet::identity::Signature;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_signed_counts_at_any_node_and_is_enacted_without_anybody_asking() {
    let alone = Alone::start().await;
    let post = async |event: &Event| {
        alone.post("/ledger/v1/governance?wait=final", Some(AUDITOR), wallet::codec::encode(event)).await
    };
    let (from, to) = (Parameters::default().credit_per_ms, Parameters::default().credit_per_ms + 1);
    let change = Action::SetParameter { name: "credit_per_ms".into(), from, to };
    let made = alone.proposal(vec![change]);
    let proposal = made.terms.digest();
    let forged = Event::ProposalMade(Box::new(ProposalMade { signature: Signature([0; 64]), ..made.clone() }));
    assert_eq!(problem(post(&forged).await).await, (403, "L-240".to_owned()));
    let anchored = Event::DecisionAnchored(DecisionAnchored { decisions: 1, log_head: Digest::ZERO });
    assert_eq!(problem(post(&anchored).await).await, (400, "N-524".to_owned()));
    let made = Event::ProposalMade(Box::new(made));
    let refused = alone.post("/ledger/v1/governance", Some(TENANT), wallet::codec::encode(&made)).await;
    assert_eq!(problem(refused).await, (403, "N-502".to_owned()));
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
