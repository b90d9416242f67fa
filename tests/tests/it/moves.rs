//! A live session moves from node to node while its client reads, and the client cannot tell.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use node::demo::cluster::Cluster;
use serde_json::Value;

use crate::{
    consortium::{EU, PATIENCE, Running, ask, assert_gapless, control, until},
    deciding::text,
};

/// Moves of the one session.
const MOVES: usize = 6;
const TOKENS: u32 = 400;
/// Slow enough that all moves fall into the run, and the last token after them.
const PACE_MS: u64 = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_moves_again_and_again_gives_the_tokens_of_one_that_stayed() {
    let cluster = Running::start("warn,node=info").await;
    let moving = ask("Tell me how a session moves, and moves again.", TOKENS, 4711, PACE_MS);
    let expected = control(&cluster, "eu-3", &moving).await;

    let mut stream = cluster.tenant("eu-1").ask(&moving).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let (mut holder, wallet) = (stream.served_by.clone(), stream.wallet.clone());
    let reader = tokio::spawn(async move {
        stream.read_to_end().await.expect("the stream goes to its end");
        stream
    });
    let mut path = vec![holder.clone()];
    for turn in 0..MOVES {
        let others: Vec<&str> = EU.into_iter().filter(|node| *node != holder).collect();
        let to = others[turn % others.len()];
        let report = migrate(&cluster, &holder, &wallet, to).await;
        assert_eq!(report["completed"], true, "{report}");
        println!("{report}");
        holder = to.to_owned();
        path.push(holder.clone());
    }
    let stream = reader.await.expect("the reader does not panic");
    assert_gapless(&[&stream]);
    assert_eq!(stream.ids(), expected, "over {path:?}");
    assert_eq!(stream.seen.len(), TOKENS as usize);

    let record = cluster.auditor("us-1").get(&format!("wallets/{wallet}")).await.expect("us-1 validates it, too");
    assert_eq!(record["record"]["epoch"], MOVES as u64, "one key epoch for each move: {record}");
}

/// Finality reaches one node before another: who has not heard of the last move yet may refuse the next one, for a moment;
/// and so may who has not heard of a node that is back.
pub async fn migrate(cluster: &Cluster, holder: &str, wallet: &str, to: &str) -> Value {
    let (begun, mut refusals) = (Instant::now(), Vec::new());
    while begun.elapsed() < PATIENCE {
        match cluster.admin(holder).expect("its socket").migrate(wallet, to).await.expect("an answer") {
            Ok(report) => return report,
            Err(problem) => refusals.push(format!("{} {}", problem.code, problem.title)),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{holder} does not move it to {to}: {refusals:?}")
}

/// The file of the bundle of a wallet's last move, from the node `at`.
pub async fn proven(cluster: &Cluster, at: &str, wallet: &str, name: &str) -> String {
    let auditor = cluster.auditor(at);
    let mut bundle = Vec::new();
    until("the move is proven", async || match auditor.bundle(wallet).await {
        Ok(proof) => {
            bundle = proof;
            true
        }
        Err(_) => false,
    })
    .await;
    let file = cluster.folder().join(name);
    fs::write(&file, bundle).expect("our own folder");
    text(&file)
}

/// The check at which the verifier in Python refuses a bundle; none if it takes it.
pub fn second(file: &str, genesis: &str, named: &[&str]) -> Option<String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("auditor/verify_bundle.py");
    let mut python = Command::new("python3");
    let output = python.arg("-B").arg(program).args([file, "--genesis", genesis]).args(named).stdin(Stdio::null());
    let output = output.output().expect("python3 is installed: scripts/setup does it");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.success() {
        true => None,
        false => said.split_whitespace().skip_while(|word| *word != "check").nth(1).map(str::to_owned),
    }
}
