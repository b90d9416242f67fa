//! An operator parks a live session from the command line and lets it go on, and the client's tokens are those of one that
//! was never parked.

use node::demo::cluster::Cluster;
use serde_json::Value;

use crate::{
    consortium::{Running, ask, assert_gapless, control, until, until_height},
    program,
};

const TOKENS: u32 = 120;
/// Slow enough that it is parked before its last token.
const PACE_MS: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_suspended_and_resumed_from_the_command_line_gives_the_same_tokens() {
    let cluster = Running::start("warn,node=info").await;
    let parked = ask("Tell me how a session is parked.", TOKENS, 4712, PACE_MS);
    let expected = control(&cluster, "eu-3", &parked).await;

    let mut stream = cluster.tenant("eu-1").ask(&parked).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let (holder, wallet) = (stream.served_by.clone(), stream.wallet.clone());
    wallet_command(&cluster, &holder, "suspend", &wallet);
    until_mode(&cluster, &holder, &wallet, "suspended").await;
    let emitted = wallet_command(&cluster, &holder, "show", &wallet)["emitted"].clone();
    let height = cluster.auditor(&holder).final_height().await.expect("the node answers");
    until_height(&cluster, &holder, height + 1).await;
    assert_eq!(wallet_command(&cluster, &holder, "show", &wallet)["emitted"], emitted, "it stands");

    wallet_command(&cluster, &holder, "resume", &wallet);
    until_mode(&cluster, &holder, &wallet, "serving").await;
    assert_eq!(wallet_command(&cluster, &holder, "show", &wallet)["recomputed_tokens"], 0, "nothing is read again");
    stream.read_to_end().await.expect("the stream goes to its end");
    assert_gapless(&[&stream]);
    assert_eq!(stream.ids(), expected);
}

async fn until_mode(cluster: &Cluster, node: &str, wallet: &str, mode: &str) {
    until(&format!("{wallet} is {mode}"), async || wallet_command(cluster, node, "show", wallet)["mode"] == mode).await;
}

/// Runs `batchmind wallet` for one session as the operator of `node` would.
fn wallet_command(cluster: &Cluster, node: &str, command: &str, wallet: &str) -> Value {
    let folder = cluster.folder().join(node);
    let folder = folder.to_str().expect("a path of our own");
    let output = program::run(&["--json", "wallet", command, wallet, "--data-dir", folder]);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}
