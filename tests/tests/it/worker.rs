//! The engine in a process of its own: it is killed, and its sessions go on with the tokens that they would have had.

use std::fs;

use node::demo::cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};

use crate::consortium::{Running, ask, assert_gapless, control, until};

const TOKENS: u32 = 200;
const PACE_MS: u64 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_outlives_its_engine_s_process() {
    let mut cluster = Running::start("warn,node=info").await;
    let request = ask("Who does the work?", TOKENS, 11, PACE_MS);
    let expected = control(&cluster, "eu-2", &request).await;

    let file = cluster.folder().join("eu-1.toml");
    let config = fs::read_to_string(&file).expect("its configuration");
    fs::write(&file, config.replace("[engine]\n", "[engine]\nplace = \"worker\"\n")).expect("writable");
    cluster.kill("eu-1").await.expect("it ran");
    cluster.restart("eu-1").await.expect("it starts with a worker");

    let mut stream = cluster.tenant("eu-1").ask(&request).await.expect("a session");
    let mut killed = Vec::new();
    for round in 1..=3 {
        stream.read_until(round * 40).await.expect("tokens");
        let worker = worker_of(&cluster, "eu-1", &killed).await;
        kill_process(worker, Signal::KILL).expect("it runs");
        killed.push(worker);
    }
    stream.read_to_end().await.expect("it goes to its end");
    assert_gapless(&[&stream]);
    assert_eq!(stream.ids(), expected, "other tokens than in one process");

    let last = worker_of(&cluster, "eu-1", &killed).await;
    cluster.kill("eu-1").await.expect("it ran");
    until("the worker ends with its node", async || !runs(last)).await;
}

/// The worker of a node, once it has one that was not killed.
async fn worker_of(cluster: &Cluster, node: &str, killed: &[Pid]) -> Pid {
    let parent = cluster.process_id(node).expect("it runs").to_string();
    let mut found = None;
    until("the node has a worker", async || {
        found = processes().into_iter().find(|pid| is_worker_of(*pid, &parent) && !killed.contains(pid));
        found.is_some()
    })
    .await;
    found.expect("just found")
}

fn processes() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn is_worker_of(pid: Pid, parent: &str) -> bool {
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", pid.as_raw_nonzero())).unwrap_or_default();
    let is_worker = read("cmdline").split('\0').any(|argument| argument == "engine-worker");
    // Behind the name, which ends with the last bracket: the state, then the parent.
    let is_child = read("stat").rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)) == Some(parent);
    is_worker && is_child
}

fn runs(pid: Pid) -> bool {
    // A zombie runs no more.
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| !stat.contains(") Z "))
}
