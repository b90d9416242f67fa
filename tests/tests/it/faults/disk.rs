//! A disk that is full, and one that does not sync any more: the node stops and says why, and comes back when it can.

use super::{SOME, Storm};
use crate::consortium::{EU, ask, assert_gapless, control};

/// Long enough for some blocks, and short of what a storm writes.
const ROOM: u32 = 200_000;
/// A session that decodes meanwhile: long enough not to end before.
const TOKENS: u32 = 840;
const PACE_MS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_does_not_sync_stops_says_so_and_comes_back() {
    let mut storm = Storm::start().await;
    for fails in [storm.follower().await, storm.leader().await] {
        let said = storm.log(fails).len();
        storm.switch(fails).fail_sync(true);
        assert_stops(&mut storm, fails, said, "N-551", "Input/output error").await;
        assert!(storm.switch(fails).syncs_failed() > 0, "{fails} stopped for another reason");
        storm.load.until_more(SOME, &format!("with {fails} out of order")).await;

        // Nothing has changed, so it does not come up again, and loses nothing by trying.
        let said = storm.log(fails).len();
        assert!(storm.restart(fails).await.is_err(), "{fails} runs on a disk that does not sync");
        assert_stops(&mut storm, fails, said, "N-550", "Input/output error").await;
        storm.switch(fails).fail_sync(false);
        storm.restart(fails).await.expect("it starts on its own files");
        storm.until_even().await;
    }
    storm.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_is_full_stops_says_so_and_comes_back_with_its_sessions() {
    let mut storm = Storm::start().await;
    let leader = leader_with_sessions(&mut storm).await;
    for (full, seed) in [storm.follower().await, leader].into_iter().zip(40..) {
        let request = ask("What goes on where there was no room?", TOKENS, seed, PACE_MS);
        let expected = control(&storm, full, &request).await;
        let mut cut = storm.tenant(full).ask(&request).await.expect("a session");
        assert_eq!(cut.served_by, full, "a node serves its own clients while it has room");
        cut.read_until(5).await.expect("its first tokens");
        let said = storm.log(full).len();
        storm.switch(full).space_left(Some(ROOM));
        assert_stops(&mut storm, full, said, "N-551", "No space left on device").await;
        assert!(storm.switch(full).writes_refused() > 0, "{full} stopped for another reason");
        cut.read_while_open().await;
        assert!(!cut.done, "the session ended before the disk was full; nothing was shown");
        storm.load.until_more(SOME, &format!("with {full} full")).await;

        let said = storm.log(full).len();
        assert!(storm.restart(full).await.is_err(), "{full} runs on a full disk");
        assert_stops(&mut storm, full, said, "N-550", "No space left on device").await;
        storm.switch(full).space_left(None);
        storm.restart(full).await.expect("it starts on its own files");
        storm.until_even().await;
        let last = cut.seen.last().expect("tokens").position;
        let mut rest = storm.tenant(full).resume(&cut.wallet, &cut.resume_secret, last).await.expect("it is there");
        rest.read_to_end().await.expect("it goes to its end");
        assert_gapless(&[&cut, &rest]);
        assert_eq!([cut.ids(), rest.ids()].concat(), expected, "{full} went on with other tokens");
    }
    storm.end().await;
}

/// A leader in the tenant's region: one elsewhere is sent away.
async fn leader_with_sessions(storm: &mut Storm) -> &'static str {
    loop {
        let leader = storm.leader().await;
        if EU.contains(&leader) {
            return leader;
        }
        storm.kill(leader).await.expect("it ran");
        storm.load.until_more(SOME, &format!("without {leader}")).await;
        storm.restart(leader).await.expect("it starts on its own files");
        storm.until_even().await;
    }
}

/// The process ends by itself, not by a signal, and what it says after the first `said` bytes of its log ends with the
/// code and the cause.
async fn assert_stops(storm: &mut Storm, node: &'static str, said: usize, code: &str, cause: &str) {
    let status = tokio::time::timeout(crate::consortium::PATIENCE, storm.ended(node)).await;
    let status = status.unwrap_or_else(|_| panic!("{node} does not stop")).expect("it was not killed");
    let log = storm.log(node);
    let said = log.get(said..).unwrap_or_default();
    let last = said.trim_end().lines().last().unwrap_or_default();
    assert_eq!(status.code(), Some(1), "{node} ended with {status}: {said}");
    assert!(last.starts_with(&format!("error[{code}]")) && last.contains(cause), "{node} says at its end: {last}");
    println!("{node}: {last}");
}
