//! The engine in a process of its own: it is killed, and its sessions go on with the tokens that they would have had.

use std::fs;

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
        let worker = worker(&killed).expect("the node has a worker");
        kill_process(worker, Signal::KILL).expect("it runs");
        killed.push(worker);
    }
    stream.read_to_end().await.expect("it goes to its end");
    assert_gapless(&[&stream]);
    assert_eq!(stream.ids(), expected, "other tokens than in one process");

    let last = worker(&killed).expect("it was started again");
    cluster.kill("eu-1").await.expect("it ran");
    until("the worker ends with its node", async || !runs(last)).await;
}

/// The worker of the one node that has one, but for those that were killed. Tests have the cluster one after the other.
fn worker(killed: &[Pid]) -> Option<Pid> {
    fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let is_worker = arguments.split(|byte| *byte == 0).any(|argument| argument == b"engine-worker");
            Pid::from_raw(pid).filter(|pid| is_worker && !killed.contains(pid))
        })
        .next()
}

fn runs(pid: Pid) -> bool {
    // A zombie runs no more.
    fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| !stat.contains(") Z "))
}
