//! One operator's time of day is wrong: an hour ahead, an hour behind, and jumping. Only the time of day: what measures
//! time in a node does not jump with it.

use super::{HOUR_MS, SOME, Storm};
use crate::consortium::{Chain, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_wrong_clock_holds_up_nobody_and_votes_again_when_it_is_right() {
    let mut storm = Storm::start().await;
    for offset in [HOUR_MS, -HOUR_MS] {
        let wrong = storm.follower().await;
        storm.switch(wrong).clock_offset_ms(offset);
        storm.load.until_more(SOME, &format!("with the clock of {wrong} {offset} ms off")).await;
        assert!(storm.switch(wrong).times_moved() > 0, "{wrong} never looked at its clock");
        // What is final elsewhere is final there as well, whatever its clock says.
        storm.until_even().await;
        // A restart does not change that.
        storm.kill(wrong).await.expect("it ran");
        storm.restart(wrong).await.expect("it starts with a wrong clock");
        storm.until_even().await;
        storm.switch(wrong).clock_offset_ms(0);

        // Three of four are needed: with another one dead, finality goes on only if it votes.
        let leader = storm.leader().await;
        let dead = storm.nodes().find(|node| ![wrong, leader].contains(node)).expect("two others");
        storm.kill(dead).await.expect("it ran");
        storm.load.until_more(SOME, &format!("with the clock of {wrong} right again")).await;
        storm.restart(dead).await.expect("it starts on its own files");
        storm.until_even().await;
    }
    assert_times(&storm).await;
    storm.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_jumps_ahead_or_behind_is_replaced_and_follows() {
    let mut storm = Storm::start().await;
    for offset in [HOUR_MS, -HOUR_MS] {
        let wrong = storm.leader().await;
        storm.switch(wrong).clock_offset_ms(offset);
        storm.load.until_more(SOME, &format!("with the clock of leader {wrong} {offset} ms off")).await;
        let others = storm.others(wrong);
        until("another leads", async || {
            let named = crate::consortium::leader(&storm, others[0]).await;
            named.is_some_and(|leader| leader != wrong)
        })
        .await;
        storm.load.until_more(SOME, &format!("after {wrong} was replaced")).await;
        storm.until_even().await;

        // Nor is it of any use to it that all begin anew.
        storm.kill_all().await.expect("all four ran");
        storm.restart_all().await.expect("all four start on their own files");
        storm.load.until_more(SOME, &format!("after a restart of all, {wrong} with a wrong clock")).await;
        storm.until_even().await;
        assert_times(&storm).await;
        storm.switch(wrong).clock_offset_ms(0);
    }
    storm.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_to_and_fro_holds_up_nobody() {
    let storm = Storm::start().await;
    let jumping = storm.follower().await;
    for offset in [HOUR_MS, -HOUR_MS, 1_500, -1_500, 10_000, -10_000, 24 * HOUR_MS, 0, -24 * HOUR_MS] {
        storm.switch(jumping).clock_offset_ms(offset);
        storm.load.until_more(SOME / 2, &format!("with the clock of {jumping} {offset} ms off")).await;
        storm.until_even().await;
    }
    assert_times(&storm).await;
    storm.switch(jumping).clock_offset_ms(0);
    storm.end().await;
}

/// Times rise, and the last final block is not from a future that only one operator's clock knows.
async fn assert_times(storm: &Storm) {
    let right = storm.leader().await;
    let chain = Chain::read(&storm.auditor(right)).await.expect("the chain");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    for pair in chain.headers.windows(2) {
        assert!(pair[0].time < pair[1].time, "time stands still at height {}", pair[1].height);
    }
    let last = chain.headers.last().expect("some blocks");
    let ahead = storm.document().draft().parameters.clock_ahead_ms;
    assert!(u128::from(last.time.get()) <= now + u128::from(ahead), "a final block is from the future");
}
