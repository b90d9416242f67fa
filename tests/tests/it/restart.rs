//! All four nodes die at once in the middle of their work, again and again.
//!
//! What is checked after each round: every entry and every header that any node had shown as final is there at the same
//! place on every node; new entries become final; a session that was decoding goes on where its client's stream broke off,
//! with the tokens of a run that nothing disturbed. At the end: each header is certified and follows from the one before,
//! no node kept evidence against another, and no validator signed twice. The votes come from the vote records on the
//! disks, read every two milliseconds and again while the processes are dead, and from all nodes' certificates.

use std::fs;

use node::demo::cluster::Cluster;

use crate::{
    consortium::{Chain, EU, Running, ask, assert_gapless, assert_no_evidence, control, until, until_height},
    votes::Watch,
};

const ROUNDS: u64 = 3;
/// The kill comes when so many blocks of the load are final.
const BLOCKS_PER_ROUND: u64 = 12;
/// The session that is cut off: long enough not to end before.
const TOKENS: u32 = 280;
const PACE_MS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_all_four_loses_no_final_entry_and_makes_nobody_sign_twice() {
    let mut cluster = Running::start("warn,node=info").await;
    let consortium = genesis::parse(&fs::read_to_string(cluster.genesis_path()).expect("its genesis document"))
        .and_then(genesis::Document::verify)
        .expect("signed by all");
    let watch = Watch::start(&cluster);
    for round in 0..ROUNDS {
        let load: Vec<_> = EU.into_iter().map(|node| tokio::spawn(sessions(cluster.tenant(node), round))).collect();
        let start = cluster.auditor("us-1").final_height().await.expect("a height");
        until_height(&cluster, "us-1", start + BLOCKS_PER_ROUND).await;
        let holder = EU[round as usize % EU.len()];
        let request = ask("What survives the end of everything?", TOKENS, 70 + round, PACE_MS);
        let expected = control(&cluster, "eu-1", &request).await;
        // The chain grows while it is read; what was read is final. The session begins last, so that it cannot end before
        // the kill however long the reading took.
        let before = chains(&cluster).await;
        let reached = cluster.auditor("eu-1").final_height().await.expect("a height");
        let mut cut = cluster.tenant(holder).ask(&request).await.expect("a session");
        cut.read_until(20).await.expect("its first tokens");
        let holder = cut.served_by.clone();
        cluster.kill_all().await.expect("all four ran");
        watch.look();
        load.iter().for_each(tokio::task::JoinHandle::abort);
        cut.read_while_open().await;
        assert!(!cut.done, "the session ended before the kill; nothing was shown");

        cluster.restart_all().await.expect("all four start on their own files");
        let target = before.iter().map(|chain| chain.headers.len() as u64).max().unwrap_or(0).max(reached);
        for node in cluster.nodes() {
            until_height(&cluster, node, target).await;
        }
        let last = cut.seen.last().expect("tokens").position;
        let mut rest =
            cluster.tenant(&holder).resume(&cut.wallet, &cut.resume_secret, last).await.expect("it is there");
        rest.read_to_end().await.expect("it goes to its end");
        assert_gapless(&[&cut, &rest]);
        assert_eq!([cut.ids(), rest.ids()].concat(), expected, "round {round}: {holder} went on with other tokens");

        let mut stream = cluster.tenant("eu-2").ask(&ask("Is anybody there?", 8, round, 0)).await.expect("a session");
        stream.read_to_end().await.expect("it ends");
        let path = format!("wallets/{}", stream.wallet);
        for node in cluster.nodes() {
            until("a new entry is final", async || cluster.auditor(node).get(&path).await.is_ok()).await;
        }
        for (after, node) in chains(&cluster).await.iter().zip(cluster.nodes()) {
            for before in &before {
                assert!(before.is_kept_in(after), "round {round}: {node} lost something final");
            }
        }
    }

    let chains = chains(&cluster).await;
    for pair in chains.windows(2) {
        assert!(pair[0].is_kept_in(&pair[1]) || pair[1].is_kept_in(&pair[0]), "two nodes show two chains");
    }
    cluster.kill_all().await.expect("all four ran");
    watch.look();
    let mut votes = watch.finish();
    let seen = votes.len();
    for chain in &chains {
        chain.assert_certified(&consortium);
        chain.certificates.iter().for_each(|certificate| votes.take_certificate(certificate));
    }
    let blocks = chains[0].headers.len();
    println!("{blocks} blocks; {seen} votes seen on the disks, {} with the certificates", votes.len());
    assert!(seen > blocks, "the watch saw too little to say anything: {seen} votes for {blocks} blocks");
    for node in cluster.nodes() {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

async fn chains(cluster: &Cluster) -> Vec<Chain> {
    let mut chains = Vec::new();
    for node in cluster.nodes() {
        chains.push(Chain::read(&cluster.auditor(node)).await.expect("the chain"));
    }
    chains
}

/// One session after the other, until the node is gone.
async fn sessions(tenant: node::demo::client::Tenant, round: u64) {
    for seed in 0.. {
        let Ok(mut stream) = tenant.ask(&ask("Work for the ledger.", 4, round * 1_000 + seed, 0)).await else { return };
        if stream.read_to_end().await.is_err() {
            return;
        }
    }
}
