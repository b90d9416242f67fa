//! The final log as C2SP and RFC 9162 have it: tiles and proofs under a checkpoint.

use ::ledger::{
    event::Entry,
    tlog::{ConsistencyProof, LogProof},
    tree::log::{LogTree, leaf_hash, verify_consistency, verify_inclusion},
};
use wallet::units::LogIndex;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_served_in_tiles_that_give_the_root_of_the_checkpoint() {
    let (alone, _, CosignedCheckpoint { checkpoint, .. }) = with_checkpoint().await;
    let size = checkpoint.size;
    let tile = alone.get(&format!("/ledger/v1/log/tile/0/000.p/{size}"), Some(AUDITOR)).await;
    assert_eq!(tile.status(), 200);
    assert_eq!(tile.headers()["content-type"], "application/octet-stream");
    assert_eq!(tile.headers()["cache-control"], "private, no-cache", "a re-genesis may drop it");
    let tag = tile.headers()["etag"].clone();
    let tile = tile.bytes().await.expect("a body");
    let leaves: Vec<Digest> = tile.chunks(32).map(|hash| Digest(hash.try_into().expect("32 bytes"))).collect();
    assert_eq!((leaves.len() as u64, LogTree::from_leaf_hashes(&leaves).root()), (size, checkpoint.root));

    let again = |tag: reqwest::header::HeaderValue| {
        let request = alone.http.get(format!("{}/ledger/v1/log/tile/0/000.p/{size}", alone.url)).bearer_auth(AUDITOR);
        request.header("if-none-match", tag).send()
    };
    let same = again(tag.clone()).await.expect("the node answers");
    assert_eq!((same.status().as_u16(), &same.headers()["etag"]), (304, &tag));
    assert_eq!(again("\"another\"".parse().expect("a header")).await.expect("the node answers").status(), 200);

    let bundle = alone.get(&format!("/ledger/v1/log/tile/entries/000.p/{size}"), Some(AUDITOR)).await;
    let bundle = bundle.bytes().await.expect("a body");
    let (mut rest, mut found) = (&bundle[..], Vec::new());
    while let Some((length, after)) = rest.split_first_chunk() {
        let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
        found.push(leaf_hash(entry));
        rest = after;
    }
    assert_eq!(found, leaves);

    for (path, code) in [
        ("tile/0/000", (404, "N-522")),
        ("tile/1/000.p/1", (404, "N-522")),
        ("tile/entries/000", (404, "N-522")),
        ("tile/0/x001/000.p/1", (404, "N-522")),
        ("tile/0/0", (400, "N-509")),
        ("tile/0/000.p/0", (400, "N-509")),
        ("tile/64/000", (400, "N-509")),
        ("tile/0/%2e%2e/000", (400, "N-509")),
    ] {
        let answer = problem(alone.get(&format!("/ledger/v1/log/{path}"), Some(AUDITOR)).await).await;
        assert_eq!(answer, (code.0, code.1.to_owned()), "{path}");
    }
    for path in ["log/checkpoint", "log/tile/0/000.p/1", "log/inclusion?index=0", "state/governance"] {
        let path = format!("/ledger/v1/{path}");
        assert_eq!(problem(alone.get(&path, None).await).await, (401, "N-501".to_owned()), "{path}");
        assert_eq!(problem(alone.get(&path, Some(TENANT)).await).await, (403, "N-502".to_owned()), "{path}");
    }
    alone.node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_proven_under_the_checkpoint_and_every_tree_to_grow() {
    let (alone, _, cosigned) = with_checkpoint().await;
    let (checkpoint, consortium) = (&cosigned.checkpoint, alone.consortium());
    let size = checkpoint.size;
    let json = async |path: &str| -> Value {
        alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await.json().await.expect("JSON")
    };
    let entries = json("entries").await["entries"].take();
    for at in 0..size {
        let entry = &entries[usize::try_from(at).expect("small")];
        let leaf = serde_json::from_value::<Entry>(entry["entry"].clone()).expect("an entry").leaf_hash();
        let proof = json(&format!("log/inclusion?index={at}&size={size}")).await;
        assert_eq!((&proof["root"], &proof["leaf_hash"]), (&json!(checkpoint.root), &json!(leaf)));
        let index = LogIndex::new(at);
        verify_inclusion(&checkpoint.root, size, index, &leaf, &hashes(&proof["path"])).expect("it is included");

        let proof = json(&format!("log/consistency?old={}&size={size}", at + 1)).await;
        let old = serde_json::from_value(proof["old_root"].clone()).expect("a hash");
        let path = hashes(&proof["path"]);
        verify_consistency(&old, at + 1, &checkpoint.root, size, &path).expect("it only grew");

        let id = entry["id"].as_str().expect("an id");
        let bytes =
            alone.get(&format!("/ledger/v1/entries/{id}/leaf"), Some(AUDITOR)).await.bytes().await.expect("a body");
        assert_eq!(leaf_hash(&bytes), leaf);
        let file = alone.get(&format!("/ledger/v1/entries/{id}/tlog-proof"), Some(AUDITOR)).await;
        assert_eq!(file.headers()["content-type"], "text/plain; charset=utf-8");
        let file = LogProof::parse(&file.bytes().await.expect("a body")).expect("a proof");
        assert_eq!(file.index, index);
        file.verify(&leaf, &consortium, &[]).expect("it is in the log");
    }
    let earlier = cosigned.to_note(consortium.validators(), &consortium.id());
    let file = alone.get(&format!("/ledger/v1/log/consistency-proof?old={size}"), Some(AUDITOR)).await;
    assert_eq!(file.headers()["content-type"], "text/plain; charset=utf-8");
    let file = ConsistencyProof::parse(&file.bytes().await.expect("a body")).expect("a proof");
    let grown = file.verify(&earlier, &consortium, &[]).expect("it only grew");
    assert_eq!((grown.earlier.checkpoint.size, grown.later.checkpoint.size >= size), (size, true));

    let file = alone.get("/ledger/v1/log/consistency-proof?old=0", Some(AUDITOR)).await;
    let file = ConsistencyProof::parse(&file.bytes().await.expect("a body")).expect("what a witness is sent first");
    assert_eq!((file.old, file.path.len()), (0, 0));

    let far = u64::MAX;
    for (path, code) in [
        (format!("log/inclusion?index={size}&size={size}"), (400, "N-505")),
        (format!("log/inclusion?index=0&size={far}"), (404, "N-522")),
        (format!("log/inclusion?index={far}"), (404, "N-522")),
        ("log/inclusion".to_owned(), (400, "N-509")),
        ("log/inclusion?index=-1".to_owned(), (400, "N-509")),
        (format!("log/consistency?old=0&size={size}"), (400, "N-505")),
        (format!("log/consistency?old={}&size={size}", size + 1), (400, "N-505")),
        (format!("log/consistency?old=1&size={far}"), (404, "N-522")),
        (format!("log/consistency?old={far}"), (404, "N-522")),
        (format!("log/consistency-proof?old={far}"), (404, "N-522")),
        ("log/consistency-proof".to_owned(), (400, "N-509")),
        (format!("entries/{}/tlog-proof", Digest::ZERO), (404, "N-515")),
        (format!("entries/{}/leaf", Digest::ZERO), (404, "N-515")),
        ("entries/x/tlog-proof".to_owned(), (400, "N-509")),
    ] {
        let answer = problem(alone.get(&format!("/ledger/v1/{path}"), Some(AUDITOR)).await).await;
        assert_eq!(answer, (code.0, code.1.to_owned()), "{path}");
    }
    alone.node.stop().await;
}
