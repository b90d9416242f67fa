//! SIGSTOP and SIGCONT: a process that sleeps through what the others do, and wakes with its old view of the world.

use rustix::process::{Pid, Signal, kill_process};

use super::{SOME, Storm};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_nodes_wake_up_to_what_became_final_without_them() {
    let storm = Storm::start().await;
    for round in 0..2 {
        let follower = storm.follower().await;
        signal(&storm, follower, Signal::STOP);
        storm.load.until_more(SOME, &format!("with follower {follower} asleep, round {round}")).await;
        signal(&storm, follower, Signal::CONT);
        storm.until_even().await;

        let leader = storm.leader().await;
        signal(&storm, leader, Signal::STOP);
        storm.load.until_more(SOME, &format!("with leader {leader} asleep, round {round}")).await;
        signal(&storm, leader, Signal::CONT);
        storm.until_even().await;
    }
    storm.end().await;
}

/// Sends a signal to a node's process.
pub fn signal(storm: &Storm, node: &str, signal: Signal) {
    let process = storm.process_id(node).and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).expect("it runs");
    kill_process(process, signal).expect("it runs");
}
