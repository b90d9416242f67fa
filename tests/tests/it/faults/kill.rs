//! SIGKILL, of one node after the other and of all at once.

use super::{SOME, Storm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_come_back_to_what_became_final_without_them() {
    let mut storm = Storm::start().await;
    let follower = storm.follower().await;
    storm.kill(follower).await.expect("it ran");
    storm.load.until_more(SOME, "with a follower dead").await;
    storm.restart(follower).await.expect("it starts on its own files");

    let leader = storm.leader().await;
    storm.kill(leader).await.expect("it ran");
    storm.load.until_more(SOME, "with the leader dead").await;
    storm.restart(leader).await.expect("it starts on its own files");
    storm.until_even().await;

    storm.kill_all().await.expect("all four ran");
    storm.restart_all().await.expect("all four start on their own files");
    storm.load.until_more(SOME, "after all were dead").await;

    // Two at once are more than may fail: nothing is final meanwhile, and nothing is lost.
    let leader = storm.leader().await;
    let other = storm.follower().await;
    storm.kill(leader).await.expect("it ran");
    storm.kill(other).await.expect("it ran");
    storm.restart_all().await.expect("both start on their own files");
    storm.end().await;
}
