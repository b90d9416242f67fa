//! An operator restores a node from a backup, or loses the vote record: what the node signed since is on no disk of its
//! own any more, so it may not vote as if it had signed nothing.

use std::{fs, path::Path};

use serde_json::Value;

use super::{SOME, Storm};
use crate::consortium::until;

/// What the operator does to the folder of a node that is dead.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// The vote record is gone.
    RecordLost,
    /// The vote record is that of an earlier day, the rest is as it was.
    RecordOlder,
    /// The whole ledger is that of an earlier day.
    AllOlder,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_forgot_its_votes_is_silent_until_its_resumption_is_final() {
    let mut storm = Storm::start().await;
    for (round, damage) in [Damage::RecordLost, Damage::RecordOlder, Damage::AllOlder].into_iter().enumerate() {
        let forgetful = storm.follower().await;
        let ledger = storm.folder().join(forgetful).join("ledger");
        let backup = storm.folder().join(format!("backup-{round}"));
        storm.kill(forgetful).await.expect("it ran");
        copy(&ledger, &backup);
        storm.restart(forgetful).await.expect("it starts on its own files");
        storm.load.until_more(SOME, "after the backup").await;
        storm.until_even().await;

        storm.kill(forgetful).await.expect("it ran");
        match damage {
            Damage::RecordLost => fs::remove_file(ledger.join("votes")).expect("it has a record"),
            Damage::RecordOlder => drop(fs::copy(backup.join("votes"), ledger.join("votes")).expect("both are files")),
            Damage::AllOlder => {
                fs::remove_dir_all(&ledger).expect("nobody runs there");
                copy(&backup, &ledger);
                storm.heights.restored(forgetful);
            }
        }
        let resumed = resumptions(&storm, forgetful).await;
        storm.restart(forgetful).await.expect("it starts as one who follows");
        storm.load.until_more(SOME, &format!("with {forgetful}: {damage:?}")).await;
        until(&format!("{forgetful} says that it resumes: {damage:?}"), async || {
            resumptions(&storm, forgetful).await > resumed
        })
        .await;
        let auditor = storm.auditor(forgetful);
        until(&format!("{forgetful} votes again: {damage:?}"), async || {
            auditor.get("status").await.is_ok_and(|status| status["voting"] == true)
        })
        .await;
        storm.until_even().await;

        // Three of four are needed: with another one dead, finality goes on only if it does vote.
        let leader = storm.leader().await;
        let dead = storm.nodes().find(|node| ![forgetful, leader].contains(node)).expect("two others");
        storm.kill(dead).await.expect("it ran");
        storm.load.until_more(SOME, &format!("by a vote of {forgetful}: {damage:?}")).await;
        storm.restart(dead).await.expect("it starts on its own files");
        storm.until_even().await;
    }
    storm.end().await;
}

/// How many resumptions of `node` are final, as a node that runs has it.
async fn resumptions(storm: &Storm, node: &str) -> usize {
    let (id, _) = storm.consortium.node_by_name(&node.parse().expect("a name")).expect("genesis lists it");
    let auditor = storm.auditor(storm.others(node)[0]);
    let (mut from, mut found) = (0, 0);
    loop {
        let page = auditor.get(&format!("entries?from={from}")).await.expect("it answers");
        let page = page["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
        if page.is_empty() {
            return found;
        }
        from += page.len();
        let is_one = |entry: &&Value| {
            let body = &entry["entry"]["body"];
            body["author"] == id.get() && body["event"].get("ValidatorResumed").is_some()
        };
        found += page.iter().filter(is_one).count();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder of our own");
    for entry in fs::read_dir(from).expect("a folder of our own") {
        let entry = entry.expect("readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("a file of our own");
        }
    }
}
