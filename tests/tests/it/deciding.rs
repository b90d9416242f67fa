//! Operators decide something, from the command line.

use std::path::Path;

use node::demo::cluster::Cluster;

use crate::program::succeeded;

/// What a key says to an action that names it.
pub fn consent(cluster: &Cluster, action: &str, by: &str) -> String {
    let (genesis, key) = (text(&cluster.genesis_path()), key(cluster, by));
    let said = succeeded(&["governance", "consent", "--genesis", &genesis, "--action", action, "--key", &key]);
    said["consent"].as_str().expect("a signature").to_owned()
}

/// Lets three of four operators propose and approve an action. The nodes enact it.
pub async fn decide(cluster: &Cluster, action: &str) {
    let genesis = text(&cluster.genesis_path());
    let url = ["--url", cluster.api_url("us-1"), "--api-key-file", &api_key(cluster)].map(str::to_owned);
    let as_operator = |operator: &str| {
        let key = key(cluster, &format!("{operator}.operator"));
        ["--operator", operator, "--key", &key].map(str::to_owned)
    };
    let run = |command: &[&str], operator: &str| {
        let command = command.iter().map(|word| (*word).to_owned());
        let all: Vec<String> = command.chain(as_operator(operator)).chain(url.clone()).collect();
        succeeded(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let proposed = run(&["governance", "propose", "--action", action, "--genesis", &genesis], "eu-1");
    let digest = proposed["proposal"].as_str().expect("a digest");
    for operator in ["eu-2", "us-1"] {
        run(&["governance", "ballot", digest, "--approve"], operator);
    }
}

/// A file with the auditor's key.
pub fn api_key(cluster: &Cluster) -> String {
    let file = cluster.folder().join("auditor.key");
    std::fs::write(&file, cluster.auditor_key()).expect("our own folder");
    text(&file)
}

/// The key file of a node or an operator.
pub fn key(cluster: &Cluster, of: &str) -> String {
    text(&cluster.node_key_path(of))
}

pub fn text(path: &Path) -> String {
    path.to_str().expect("a path of our own").to_owned()
}
