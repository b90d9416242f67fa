//! The network falls apart and heals: once between network namespaces, once with proxies between the nodes.

use std::{io::Write as _, time::Duration};

use super::{SOME, Storm, namespaces::Namespaces, proxies::Proxies};

/// How long two halves are apart: time for a hundred blocks.
const APART: Duration = Duration::from_secs(4);
/// Blocks that are under way at one moment: the open one and its parent.
const OPEN_MAX: u64 = 2;

/// What stands between the nodes.
pub trait Network {
    /// Only nodes of one group hear each other.
    fn split(&self, groups: &[Vec<&'static str>]);
    /// All hear all.
    fn heal(&self);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_in_namespaces_of_their_own_survive_partitions() {
    let spaces = match Namespaces::open() {
        Ok(spaces) => spaces,
        Err(reason) => {
            // Not by a macro, whose words a passing test keeps for itself.
            let stderr = &mut std::io::stderr();
            writeln!(stderr, "NOT TESTED: partitions between network namespaces, because of this: {reason}")
                .expect("stderr");
            writeln!(stderr, "Only the partitions behind proxies are tested here.").expect("stderr");
            return;
        }
    };
    let storm = Storm::start_in(|| spaces.setup(super::setup()), |node| spaces.launch(node)).await;
    partitions(storm, &spaces).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_behind_proxies_survive_partitions() {
    let proxies = Proxies::default();
    let storm = Storm::start_in(|| proxies.setup(super::setup()), |_| node::demo::setup::Launch::default()).await;
    partitions(storm, &proxies).await;
}

async fn partitions(storm: Storm, network: &impl Network) {
    let follower = storm.follower().await;
    network.split(&[vec![follower], storm.others(follower)]);
    storm.load.until_more(SOME, "without a follower").await;
    network.heal();
    storm.until_even().await;

    let leader = storm.leader().await;
    network.split(&[vec![leader], storm.others(leader)]);
    storm.load.until_more(SOME, "without the leader").await;
    network.heal();
    storm.until_even().await;

    // Half of the nodes are no quorum. Votes that were cast before may still finish what is open, and no more.
    let leader = storm.leader().await;
    let (one, two) = storm.nodes().partition(|node| [leader, storm.others(leader)[0]].contains(node));
    network.split(&[one, two]);
    let before = highest(&storm).await;
    tokio::time::sleep(APART).await;
    let after = highest(&storm).await;
    assert!(after <= before + OPEN_MAX, "half of the nodes made blocks {before} to {after} final");
    network.heal();
    storm.load.until_more(SOME, "after the halves met again").await;
    storm.until_even().await;
    storm.end().await;
}

async fn highest(storm: &Storm) -> u64 {
    let mut highest = 0;
    for node in storm.nodes() {
        highest = highest.max(storm.auditor(node).final_height().await.expect("a client is in no partition"));
    }
    highest
}
