use wallet::handoff::Intent;

use super::{super::tests::request, *};
use crate::{
    session::{context::random, request::ResumeSecret},
    testbed::{Testbed, control},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_wait_for_a_session_that_another_boot_served_if_this_one_touches_it_next() {
    let testbed = Testbed::start(&["eu"]).await;
    let request = request(&testbed, control(48).0, 100, &ResumeSecret(random()));
    let wallet = request.tenant.grant.verify().expect("the tenant's");
    let mut actor = Actor::create(testbed.node(0).sessions(), wallet, request).await.expect("it begins");
    let stop = Effect::Stop { why: Stopped::OtherBoot };
    let touch = Effect::Submit { head: actor.handoff.view().head, intent: Intent::Touch { boot_nonce: random() } };
    actor.effects.extend([stop.clone(), touch]);
    actor.carry_out().await;
    assert_eq!((actor.session.tokens.ended(), actor.sequence.is_none()), (None, true));
    actor.serve().await;
    assert!(actor.sequence.is_some(), "it goes on");
    // A process that is not this one keeps it.
    actor.effects.push_back(stop);
    actor.carry_out().await;
    assert!(matches!(actor.session.tokens.ended(), Some(End::Broken(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_a_session_whose_move_to_this_node_comes_to_nothing_are_sent_to_its_holder() {
    let testbed = Testbed::start(&["eu", "eu"]).await;
    let client = testbed.create(0, &["eu"], &control(8).0, 1000).await;
    testbed.until_created(1, &client).await;
    let mut actor = Actor::observe(testbed.node(1).sessions(), client.reply.wallet);
    actor.learn_what_is_final().await;
    actor.publish();
    assert_eq!(actor.session.tokens.ended(), Some(End::Moved(wallet::units::NodeId::ZERO)));
}
