//! The leader dies. The others go on without it, and it comes back to the same chain.

use crate::consortium::{Chain, EU, Running, ask, leader, until, until_height};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_become_final_again_after_the_leader_was_killed_and_it_catches_up() {
    let mut cluster = Running::start("warn,node=info").await;
    until("a leader", async || leader(&cluster, "us-1").await.is_some()).await;
    let killed = leader(&cluster, "us-1").await.expect("there is one");
    let witness = cluster.nodes().find(|node| *node != killed).expect("three others");
    let before = Chain::read(&cluster.auditor(witness)).await.expect("the chain");
    cluster.kill(killed).await.expect("it ran");

    // A session brings at least its own wallet to the ledger.
    let front = EU.into_iter().find(|node| *node != killed).expect("two others");
    let mut stream = cluster.tenant(front).ask(&ask("Who leads now?", 16, 1, 0)).await.expect("a session");
    stream.read_to_end().await.expect("the first token waits for no ledger");
    let path = format!("wallets/{}", stream.wallet);
    until("the session's wallet is final", async || cluster.auditor(witness).get(&path).await.is_ok()).await;
    until("another leader", async || leader(&cluster, witness).await.is_some_and(|leader| leader != killed)).await;

    cluster.restart(killed).await.expect("it starts on its own files");
    let height = cluster.auditor(witness).final_height().await.expect("a height");
    until_height(&cluster, killed, height).await;
    let (here, there) = (
        Chain::read(&cluster.auditor(killed)).await.expect("the chain"),
        Chain::read(&cluster.auditor(witness)).await.expect("the chain"),
    );
    assert!(before.is_kept_in(&here), "the restarted node lost final entries");
    assert!(here.is_kept_in(&there) || there.is_kept_in(&here), "{killed} and {witness} disagree");
}
