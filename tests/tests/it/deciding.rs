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
    decide_by(cluster, &["eu-1", "eu-2", "us-1"], "us-1", action);
}

/// Lets the first of `operators` propose an action, and as many others as it takes approve it, at the node `at`.
///
/// A ballot more would come when the nodes enact the action already, and be refused or not by chance.
pub fn decide_by(cluster: &Cluster, operators: &[&str], at: &str, action: &str) {
    let (proposer, others) =
        operators[..ledger::governance::quorum(operators.len())].split_first().expect("somebody decides");
    let proposal = propose(cluster, proposer, at, action);
    others.iter().for_each(|operator| drop(succeeded(&words(&ballot(cluster, operator, at, &proposal, "--approve")))));
}

/// Lets an operator propose an action at the node `at`. The proposal's digest.
pub fn propose(cluster: &Cluster, operator: &str, at: &str, action: &str) -> String {
    let genesis = text(&cluster.genesis_path());
    let command = ["governance", "propose", "--action", action, "--genesis", &genesis, "--operator", operator];
    let proposed = succeeded(&words(&signed(cluster, &command, operator, at)));
    proposed["proposal"].as_str().expect("a digest").to_owned()
}

/// The command with which an operator votes at the node `at`.
pub fn ballot(cluster: &Cluster, operator: &str, at: &str, proposal: &str, word: &str) -> Vec<String> {
    signed(cluster, &["governance", "ballot", proposal, word, "--operator", operator], operator, at)
}

/// A command with the operator's key, for the node `at`.
pub fn signed(cluster: &Cluster, command: &[&str], operator: &str, at: &str) -> Vec<String> {
    let key = key(cluster, &format!("{operator}.operator"));
    asked(cluster, &[command, &["--key", &key]].concat(), at)
}

/// A command for the node `at`.
pub fn asked(cluster: &Cluster, command: &[&str], at: &str) -> Vec<String> {
    let node = ["--url", cluster.api_url(at), "--api-key-file", &api_key(cluster)].map(str::to_owned);
    command.iter().map(|word| (*word).to_owned()).chain(node).collect()
}

/// A command as the program takes it.
pub fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
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
