//! Two of four operators are lost for good. The others go on by a re-genesis, from the command line.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use node::demo::{
    cluster::Cluster,
    setup::{Place, free_addresses},
};
use serde_json::Value;

use crate::{
    consortium::{PATIENCE, Running, ask, assert_no_evidence, until},
    deciding::{consent, decide_by, key, text},
    growing::until_heard,
    joining::setup,
    moves::migrate,
    program::{failed, run, succeeded},
};

const STAY: [&str; 2] = ["eu-1", "eu-2"];
const LOST: [&str; 2] = ["eu-3", "us-1"];
const NEW: &str = "eu-4";
/// Of a session that lies across: slow enough that it does not end before.
const TOKENS: u32 = 600;
const PACE_MS: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_four_operators_go_on_and_whoever_reads_the_ledger_is_told_so() {
    let mut cluster = Running::prepare(setup).await;
    cluster.restart_all().await.expect("four operators start");
    let lasting = ask("Where were we?", TOKENS, 7, PACE_MS);
    let mut stream = cluster.tenant("eu-1").ask(&lasting).await.expect("a session");
    stream.read_until(5).await.expect("its first tokens");
    let wallet = stream.wallet.clone();
    until("the wallet is final", async || cluster.auditor("eu-1").get(&format!("wallets/{wallet}")).await.is_ok())
        .await;
    if stream.served_by != "eu-1" {
        migrate(&cluster, &stream.served_by.clone(), &wallet, "eu-1").await;
    }
    assert_eq!(migrate(&cluster, "eu-1", &wallet, "eu-2").await["completed"], true);
    let before = proven(&cluster, &wallet, "before.bundle").await;
    stream.read_until(stream.seen.len() + 5).await.expect("tokens of the new holder");

    for node in LOST {
        cluster.kill(node).await.expect("it ran");
    }
    // What was certified when the others died may still become final, at one before the other.
    let (mut seen, mut times) = (None, 0);
    until("both stand at the same final block", async || {
        let heights = [height(&cluster, "eu-1").await, height(&cluster, "eu-2").await];
        let stands = heights[0] == heights[1] && seen == heights[0];
        (seen, times) = (heights[0], if stands { times + 1 } else { 0 });
        times >= 20
    })
    .await;
    let named = begun_anew(&mut cluster).await;
    cluster.restart_these(&STAY).await.expect("they start in the next lineage");
    until_heard(&cluster, "eu-1", "Are we two?").await;
    let status = cluster.auditor("eu-2").get("status").await.expect("the node answers");
    assert_eq!((&status["lineage"], &status["voting"]), (&2.into(), &true.into()), "{status}");

    // The session goes on where it was.
    let last = stream.seen.last().expect("tokens").position;
    let mut rest = cluster.tenant("eu-2").resume(&wallet, &stream.resume_secret, last).await.expect("it is there");
    assert_eq!(migrate(&cluster, "eu-2", &wallet, "eu-1").await["completed"], true);
    let read = tokio::time::timeout(PATIENCE, rest.read_to_end()).await;
    read.expect("it goes on").expect("it goes to its end");

    // What happened since is proven to who was told, and to nobody else, by both verifiers.
    let since = proven(&cluster, &wallet, "since.bundle").await;
    let (genesis, told) = (cluster.consortium(), ["--re-genesis", &named]);
    let report = succeeded(&verify(&since, genesis, &told));
    assert_eq!((&report["lineage"], &report["re_geneses"][0]["digest"]), (&2.into(), &named.as_str().into()));
    assert_eq!(report["re_geneses"][0]["lost"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(succeeded(&verify(&before, genesis, &[]))["lineage"], 1);
    for (file, told, expected) in [
        (&since, &told[..], None),
        (&before, &told[..0], None),
        (&since, &told[..0], Some("lineage")),
        (&before, &told[..], Some("lineage")),
    ] {
        assert_eq!(second(file, genesis, told).as_deref(), expected, "in Python, of {file}");
        let output = run(&[&["--json"], &verify(file, genesis, told)[..]].concat());
        let failure: Value = serde_json::from_slice(&output.stderr).unwrap_or_default();
        assert_eq!((failure["check"].as_str(), output.status.success()), (expected, expected.is_none()), "{failure}");
    }
    joined(&mut cluster, &named).await;
    for node in STAY.into_iter().chain(LOST).chain([NEW]) {
        assert_no_evidence(&cluster.folder().join(node));
    }
}

/// Lets the two that stay begin anew, as `docs/operating/re-genesis.md` says. The digest.
async fn begun_anew(cluster: &mut Cluster) -> String {
    for node in STAY {
        cluster.kill(node).await.expect("it ran");
    }
    let cluster = &*cluster;
    let config = |node: &str| text(&cluster.folder().join(format!("{node}.toml")));
    let file = |name: &str| text(&cluster.folder().join(name));
    // With no node running and no key, as step 2 has it.
    let archive = file("eu-1.archive");
    let backed_up = succeeded(&["ledger", "backup", "--config", &config("eu-1"), "--out", &archive]);
    let replayed = succeeded(&["audit", "replay", &archive, "--genesis", cluster.consortium()]);
    assert_eq!((&replayed["verified"], &replayed["height"]), (&true.into(), &backed_up["height"]));
    let (draft, lost) = (file("anew.draft"), LOST.map(|operator| format!("operator={operator}")));
    let reason = "two sites burnt down";
    let drafted = succeeded(&[
        "ledger",
        "re-genesis",
        "draft",
        "--config",
        &config("eu-1"),
        "--lost",
        &lost[0],
        "--lost",
        &lost[1],
        "--reason",
        reason,
        "--out",
        &draft,
    ]);
    let named = drafted["re_genesis"].as_str().expect("a digest").to_owned();
    let shown = succeeded(&["ledger", "re-genesis", "show", &draft]);
    assert_eq!((&shown["re_genesis"], &shown["reason"]), (&named.as_str().into(), &reason.into()));
    let sign = |operator: &str, named: &str, out: &str| -> Vec<String> {
        let key = key(cluster, &format!("{operator}.operator"));
        let words = ["ledger", "re-genesis", "sign", &draft, "--re-genesis", named, "--key", &key, "--out", out];
        words.map(str::to_owned).to_vec()
    };
    let words = |words: &[String]| failed(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(words(&sign("eu-1", &"0".repeat(64), &file("no"))), "N-175", "it is another one");
    assert_eq!(words(&sign("us-1", &named, &file("no"))), "N-176", "it is lost");
    let signed = STAY.map(|operator| {
        succeeded(&["ledger", "re-genesis", "check", &draft, "--config", &config(operator)]);
        let out = file(&format!("anew.{operator}"));
        let command = sign(operator, &named, &out);
        succeeded(&command.iter().map(String::as_str).collect::<Vec<_>>());
        out
    });
    let apply = |node: &str, files: &[&str]| -> Vec<String> {
        let config = config(node);
        let words =
            [&["ledger", "re-genesis", "apply"], files, &["--config", &config, "--re-genesis", &named]].concat();
        words.into_iter().map(str::to_owned).collect()
    };
    assert_eq!(words(&apply("eu-1", &[&signed[0]])), "N-177", "one signature is missing");
    // The disk of one of them is replaced. Of what it held only the vote record is left.
    let (ledger, before) = (cluster.folder().join("eu-2/ledger"), cluster.folder().join("eu-2/ledger.before"));
    fs::rename(&ledger, &before).expect("the node is stopped");
    assert_eq!(words(&apply("eu-2", &[&signed[0], &signed[1]])), "N-180", "there is no ledger");
    succeeded(&["ledger", "restore", &archive, "--config", &config("eu-2")]);
    assert_eq!(words(&apply("eu-2", &[&signed[0], &signed[1]])), "N-184", "there is no vote record");
    fs::copy(before.join("votes"), ledger.join("votes")).expect("our own folders");
    for node in STAY {
        let command = apply(node, &[&signed[0], &signed[1]]);
        let applied = succeeded(&command.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((&applied["lineage"], &applied["votes"]), (&2.into(), &true.into()), "{applied}");
    }
    named
}

/// A third node is let in by the two operators, takes the ledger from them if it is told the digest, and votes.
async fn joined(cluster: &mut Cluster, named: &str) {
    let [peer, api] = free_addresses(2).expect("free ports")[..] else { panic!("two addresses") };
    cluster.add(NEW, &Place { announced: peer, listens: peer, api }).expect("files of our own");
    let action = {
        let (key, url) = (key(cluster, NEW), cluster.api_url(NEW));
        format!("add-node,name={NEW},operator=eu-1,region=eu,key={key},peer={peer},api={url}")
    };
    let agreed = [NEW, "eu-1.operator"].map(|by| consent(cluster, &action, by));
    decide_by(cluster, &STAY, "eu-2", &format!("{action},consent={},by-operator={}", agreed[0], agreed[1]));
    // Who does not know that yet gives it nothing.
    for node in STAY {
        until("it is let in", async || {
            let operators = cluster.auditor(node).get("operators").await.expect("the node answers");
            operators.to_string().contains(NEW)
        })
        .await;
    }
    let config = text(&cluster.folder().join(format!("{NEW}.toml")));
    let join = ["join", "--config", &config, "--url", cluster.api_url("eu-2")];
    // It says of each node why that is not asked any more, and then that no node is left.
    let untold = run(&[&["--json"], &join[..]].concat());
    let said = String::from_utf8_lossy(&untold.stderr);
    assert!(!untold.status.success() && said.contains("N-113") && said.contains(named), "{said}");
    succeeded(&[&join[..], &["--re-genesis", named]].concat());
    cluster.restart(NEW).await.expect("it starts");
    decide_by(cluster, &STAY, "eu-2", &format!("reinstate,node=4,key={}", key(cluster, NEW)));
    until("it votes", async || {
        let status = cluster.auditor(NEW).get("status").await.expect("the node answers");
        status["voting"] == true && status["lineage"] == 2
    })
    .await;
    until_heard(cluster, NEW, "Am I one of you?").await;
}

async fn height(cluster: &Cluster, node: &str) -> Option<u64> {
    cluster.auditor(node).get("status").await.ok()?["final_height"].as_u64()
}

/// The file of the last move's bundle.
async fn proven(cluster: &Cluster, wallet: &str, name: &str) -> String {
    let auditor = cluster.auditor("eu-1");
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

fn verify<'a>(file: &'a str, genesis: &'a str, told: &[&'a str]) -> Vec<&'a str> {
    [&["audit", "verify", file, "--genesis", genesis], told].concat()
}

/// The check at which the verifier in Python refuses a bundle; none if it takes it.
fn second(file: &str, genesis: &str, named: &[&str]) -> Option<String> {
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
